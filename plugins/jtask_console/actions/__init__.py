"""What people do with the console: each action, and the record of who did what when."""
