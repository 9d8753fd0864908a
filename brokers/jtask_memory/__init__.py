"""The broker contract inside one process."""
