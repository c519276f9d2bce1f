"""How long a disk may hold up a call of the app, and what happens then.

For a minute the app's threads leave it alone: their records wait in memory, and the
sender's thread brings them to the disk. If that goes quickly, it was a moment's hitch, and
the minute is over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

MOST_SECONDS = 0.05
_SLOW_SECONDS = 60.0


class Patience:
    """Leaves a disk alone for a minute after a write that took too long.

    Attributes:
        until: When the disk may be tried again; mostly that is in the past.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        work_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        self._work_clock = work_clock
        self.until = 0.0
        self._worked = self._worked_at = -math.inf

    def begin_again(self) -> None:
        """Give the disk another chance at once."""
        self.until = 0.0

    def note_work(self, now: float) -> None:
        """Note, before a write, what this process has worked so far.

        Not before each: to ask is an invitation to the system to let others run, which on
        a busy machine takes milliseconds. What a thread worked in so short a time
        before a write excuses none that is too long.
        """
        if now - self._worked_at >= MOST_SECONDS:
            self._worked, self._worked_at = self._work_clock(), now

    def lost_since(self, began: float) -> float | None:
        """Return what a write since `began` took, if too long; else None.

        Not if this process was at work for half of that time: then it was other threads
        that held us up.
        """
        now = self._clock()
        took = now - began
        if took <= MOST_SECONDS:
            return None
        if self._work_clock() - self._worked > (now - self._worked_at) / 2:
            return None
        self.until = began + _SLOW_SECONDS
        return took
