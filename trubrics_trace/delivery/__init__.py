"""What carries records from a process to a destination, and loses none."""
