"""Call functions of the user's when a run enters a state."""
