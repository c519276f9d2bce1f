"""What a spool has to tell people, kept until its lock is free.

A logger has locks of its own, and an app's handler may record in turn.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable

from .._ledger import GUARD_SECONDS, ledger
from ._directory import MEMORY


class Tidings:
    """Messages about one place, said in order. Safe under threads.

    Attributes:
        waiting: Those that are yet to be said.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self.waiting: deque[Callable[[], None]] = deque()

    def refused(self, error: OSError) -> None:
        """Tell that the disk takes no record, unless none was to take it."""
        if self._place == MEMORY:
            return
        self.waiting.append(
            lambda: ledger.fault(
                "spool_refused",
                "records are kept in memory, and lost with the process, because the disk "
                f"refused {self._place} ({error.strerror or error}); mend it, or point "
                "TRUBRICS_TRACE_SPOOL_DIR elsewhere",
            )
        )

    def slow(self, took: float) -> None:
        """Tell that a write took so many seconds."""
        self.waiting.append(
            lambda: ledger.fault(
                "spool_slow",
                f"records of the next minute are kept in memory, because {self._place} "
                f"took {took:.2f} s for a write; point TRUBRICS_TRACE_SPOOL_DIR to a "
                "faster disk",
            )
        )

    def dropped(self, reason: str, count: int) -> None:
        """Tell that the oldest were let go of; at most once a minute."""
        self.waiting.append(
            lambda: ledger.say(
                f"dropped {reason}",
                f"{count:,} of the oldest records were dropped ({reason}), because nothing "
                f"takes what waits in {self._place}; `trubrics-trace status` says why",
                again_after=GUARD_SECONDS,
            )
        )

    def say(self) -> None:
        """Say what waits to be said.

        Raises:
            TelemetryError: Strict mode is on.
        """
        while (say := self._next()) is not None:
            say()

    def _next(self) -> Callable[[], None] | None:
        with contextlib.suppress(IndexError):  # not asked first: another may take the last
            return self.waiting.popleft()
        return None
