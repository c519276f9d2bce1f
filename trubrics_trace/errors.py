"""What can go wrong, drawn as a tree.

    TrubricsTraceError
    ├── ConfigurationError (also a ValueError)    a setting or an argument cannot be used
    ├── TelemetryError                            strict mode only: what production counts
    └── SpoolError                                the command line met a spool it cannot use

A running app meets the first alone, and only where it configures or decorates. Nothing
that happens to a record is ever raised into the app, unless it asked for strict mode.
"""

from __future__ import annotations

from asyncio import CancelledError

__all__ = ["ConfigurationError", "SpoolError", "TelemetryError", "TrubricsTraceError"]


class TrubricsTraceError(Exception):
    """Any error of trubrics-trace.

    Example:
        >>> from trubrics_trace import configure
        >>> from trubrics_trace.errors import TrubricsTraceError
        >>> try:
        ...     configure(batch_size=1_000)
        ... except TrubricsTraceError as error:
        ...     print(type(error).__name__)
        ConfigurationError
    """


class ConfigurationError(TrubricsTraceError, ValueError):
    """A setting or argument that cannot be used, with its value and a remedy.

    Example:
        >>> from trubrics_trace import configure
        >>> from trubrics_trace.errors import ConfigurationError
        >>> try:
        ...     configure(sample_rate=2)
        ... except ConfigurationError as error:
        ...     print(error)
        sample_rate=2 cannot be used; it must be from 0 to 1
    """


class TelemetryError(TrubricsTraceError):
    """What production counts and survives, raised because strict mode is on."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason


class SpoolError(TrubricsTraceError):
    """A spool that a command was pointed at and cannot use.

    Example:
        >>> from trubrics_trace.cli import main
        >>> main(["status", "--spool-dir", ":memory:"])  # says a SpoolError on stderr
        2
    """


# What passes through every guard of ours: the user's own wish to stop, and strict mode.
PASSING = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    CancelledError,
    TelemetryError,
)
