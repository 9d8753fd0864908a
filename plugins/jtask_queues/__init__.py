"""Look at queues, pause, resume and purge them."""
