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

    def lost_since(self, began: float) -> float | None:
        """Return what a write since `began` took, if too long; else None."""
        took = self._clock() - began
        if took <= MOST_SECONDS or self._is_machine_busy(took):
            return None
        self._until = began + _SLOW_SECONDS
        return took

    def _is_machine_busy(self, took: float) -> bool:
        """Whether it was not the disk: then giving way once takes long, too."""
        before = self._clock()
        time.sleep(0)
        return self._clock() - before > took / 4
