"""Tell an orchestrator whether a worker lives and consumes."""
