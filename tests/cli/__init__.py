"""The command line: what waits on this machine, and sending it."""
