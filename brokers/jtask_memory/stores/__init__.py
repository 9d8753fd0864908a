"""What is kept beside the queues: outcomes, events, blobs, counters, records, dead letters."""
