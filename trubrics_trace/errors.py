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
    """Any error of trubrics-trace."""


class ConfigurationError(TrubricsTraceError, ValueError):
    """A setting or argument that cannot be used, with its value and a remedy."""


class TelemetryError(TrubricsTraceError):
    """What production counts and survives, raised because strict mode is on."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason


class SpoolError(TrubricsTraceError):
    """A spool that a command was pointed at and cannot use."""


# What passes through every guard of ours: the user's own wish to stop, and strict mode.
PASSING = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    CancelledError,
    TelemetryError,
)
