"""What carries a record from this process to its destination, and loses none."""
