"""What became of every record, counted by reason.

Counting is an append to a deque, which needs no lock: it may happen inside a garbage
collection, or in a signal handler that interrupted another count. The sums are made when
somebody asks.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping

from . import _notices
from .errors import TelemetryError

_FOLD_AT = 4096  # marks waiting to be summed; bounds the memory of who never asks


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """One moment of this process: `accepted + adopted` is the sum of the next four.

    Attributes:
        accepted: Records that took a place in the spool or in memory.
        adopted: Records taken over from processes that are gone.
        delivered: Records that a server acknowledged.
        pending: Records that wait, or are on their way.
        rejected: Records that a server refused, by reason; set aside on disk.
        dropped: Records that were accepted and then lost, by reason.
        skipped: Records that were never accepted, by reason: sampled out, refused.
        noticed: What else was counted, by reason: `without_user`, `late` and the like.
        retries: Attempts at delivery that must be made again.
        last_error: What the last failed attempt met; None after a success.
        oldest_pending_seconds: How long the oldest pending record has waited.
        bytes_on_disk: What this process's share of the spool takes.
    """

    accepted: int = 0
    adopted: int = 0
    delivered: int = 0
    pending: int = 0
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    noticed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    retries: int = 0
    last_error: str | None = None
    oldest_pending_seconds: float | None = None
    bytes_on_disk: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether nothing has vanished: the law of conservation, for this process."""
        gone = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.accepted + self.adopted == self.delivered + self.pending + gone


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FlushReport:
    """How a flush ended; true when everything accepted before it is acknowledged."""

    complete: bool
    delivered: int
    pending: int
    last_error: str | None = None

    def __bool__(self) -> bool:
        return self.complete


class Ledger:
    """Counts by group and reason, made without a lock."""

    def __init__(self) -> None:
        self.strict = False
        self._marks: deque[tuple[str, str]] = deque()
        self._sums: dict[str, Counter[str]] = {}
        self._folding = threading.Lock()

    def skip(self, reason: str) -> None:
        """Count a record that was never accepted; not a fault, so never raised."""
        self._mark("skipped", reason)

    def note(self, reason: str) -> None:
        """Count something worth knowing that is nobody's fault."""
        self._mark("noticed", reason)

    def fault(
        self, reason: str, message: str | Callable[[], str], *, group: str = "noticed"
    ) -> None:
        """Count what should not have happened, and say it once.

        Args:
            message: With the value, the place and the remedy; a callable is asked only
                when the message is needed, as finding the place takes time.

        Raises:
            TelemetryError: strict mode is on.
        """
        self._mark(group, reason)
        if not self.strict and _notices.was_said(reason):
            return
        said = message if isinstance(message, str) else message()
        if self.strict:
            raise TelemetryError(reason, said)
        _notices.say_once(reason, f"your code is running fine, with less telemetry: {said}")

    def counts(self, group: str) -> dict[str, int]:
        """Return the sums of one group, by reason."""
        with self._folding:
            self._fold()
            return dict(self._sums.get(group, ()))

    def reset(self) -> None:
        """Start from zero with a new lock: a forked child has done nothing yet."""
        self._marks = deque()
        self._sums = {}
        self._folding = threading.Lock()

    def _mark(self, group: str, reason: str) -> None:
        self._marks.append((group, reason))
        if len(self._marks) > _FOLD_AT and self._folding.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._folding.release()

    def _fold(self) -> None:
        for _ in range(len(self._marks)):
            group, reason = self._marks.popleft()
            self._sums.setdefault(group, Counter())[reason] += 1


ledger = Ledger()
