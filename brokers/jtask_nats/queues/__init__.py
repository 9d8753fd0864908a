"""Runs on their queues: enqueue, pull, hold under a lease, pause."""
