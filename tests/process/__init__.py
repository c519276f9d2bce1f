"""What only a process of its own can prove."""
