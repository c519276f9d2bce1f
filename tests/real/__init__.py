"""Real clients against servers that speak their provider's HTTP API."""
