"""Apps as a user would write them; each is run in a process of its own."""
