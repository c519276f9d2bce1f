"""The specification: each test states one fact."""
