"""The way from the spool to the wire."""
