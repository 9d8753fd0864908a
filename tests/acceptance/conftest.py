"""The fixtures of `processes`, for tests of what a user does, and a collector for their traces."""

from otlp_receiver import receiver
from processes import eventually_fixture, is_alive_fixture, place

__all__ = ["eventually_fixture", "is_alive_fixture", "place", "receiver"]
