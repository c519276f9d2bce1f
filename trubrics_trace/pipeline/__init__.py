"""How a record leaves: sampled, asked about, redacted, logged, spooled."""
