"""Run tasks on a cron or at an interval."""
