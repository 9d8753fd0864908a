"""Consume runs, and look into the queues."""
