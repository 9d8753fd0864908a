"""What travels between processes, as docs/wire-format.md describes it."""
