"""How long a disk may hold up a call of the app, and what happens then.

For a minute the app's threads leave it alone: their records wait in memory, and the
sender's thread brings them to the disk. If that goes quickly, it was a moment's hitch, and
the minute is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MOST_SECONDS = 0.05
_SLOW_SECONDS = 60.0


class Patience:
    """Leaves a disk alone for a minute after a write that took too long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = 0.0

    def is_out(self, now: float) -> bool:
        """Whether the disk is to be left alone now."""
        return now < self._until

    def begin_again(self) -> None:
        """Give the disk another chance at once."""
        self._until = 0.0

    def lost_since(self, began: float, worked: float) -> float | None:
        """Return what a write since `began` took, if too long; else None.

        Not if this process was at work for half of that time, `worked` being its CPU
        seconds at the beginning: then it was other threads that held us up.
        """
        took = self._clock() - began
        if took <= MOST_SECONDS or time.process_time() - worked > took / 2:
            return None
        self._until = began + _SLOW_SECONDS
        return took
