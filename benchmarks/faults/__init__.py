"""Programs that show in milliseconds and minutes what a test may not wait for."""
