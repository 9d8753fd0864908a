"""Keep what failed for good, look through it and replay it."""
