"""What makes a record fit to leave: sampled, asked about, redacted, logged, spooled."""
