"""Try failed runs again."""
