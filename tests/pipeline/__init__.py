"""What makes a record fit to leave."""
