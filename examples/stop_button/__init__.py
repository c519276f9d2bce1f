"""A chat page with a stop button, and how it is tested."""
