"""End attempts that take too long."""
