"""The fixtures of `processes`, for tests of what goes wrong."""

from nats_cluster import start_cluster
from processes import eventually_fixture, is_alive_fixture, place

__all__ = ["eventually_fixture", "is_alive_fixture", "place", "start_cluster"]
