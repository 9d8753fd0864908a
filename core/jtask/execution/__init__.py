"""One attempt of a run: the same for a direct call and for a worker."""
