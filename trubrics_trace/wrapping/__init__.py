"""A scope around a callable, and around what it returns: the only door of wrapt."""
