"""What a task is: its function, its options, its key; facts only."""
