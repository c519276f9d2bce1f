"""A scope around a callable and what it returns: the only door of wrapt."""
