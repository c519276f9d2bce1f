"""The decorator: a scope around a callable that nobody notices."""
