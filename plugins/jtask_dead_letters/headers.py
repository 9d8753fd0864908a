"""What the dead letters plugin sends along with a run."""

REPLAY_OF = "jtask-replay-of"
"""The header of a replay: the run whose letter it comes from."""
