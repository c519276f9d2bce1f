"""The doors, under real servers."""
