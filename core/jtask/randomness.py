"""Chance for what must not happen everywhere at once."""

from secrets import SystemRandom

RANDOM = SystemRandom()
"""Not Python's shared generator: a program that seeds that one gets the sequence that it expects,
although jtask draws beside it. It has no state, which a forked child would share."""
