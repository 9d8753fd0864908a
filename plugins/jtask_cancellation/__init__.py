"""Cancel runs that a worker executes."""
