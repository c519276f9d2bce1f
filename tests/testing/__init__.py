"""The hands of a test: a server to send to, and an assertion to make."""
