"""What became of a segment's records: an append-only note beside it.

Beside `NAME.jsonl`, whose every line is a record, stands `NAME.ack`. Each of its lines says
`START END COUNT HOW`: that so many records between two offsets are settled, and how:
`delivered`, or `rejected` or `dropped` with a reason. A torn last line says nothing, so the
records it spoke of are settled again: at least once, and `record_id` tells the two apart.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import Counter
from pathlib import Path

DELIVERED = "delivered"
ERASED = "dropped erased"
_REJECTED = "rejected "
_DROPPED = "dropped "


def rejected(reason: str) -> str:
    """Return what a note says of a record that was refused for this reason."""
    return _REJECTED + " ".join(reason.split())


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring records that were settled together, in the same way."""

    start: int
    end: int
    count: int
    how: str

    def to_bytes(self) -> bytes:
        """Return the run as a line of the note."""
        said = f"{self.start} {self.end} {self.count} {self.how}\n"
        return said.encode(errors="replace")

    @classmethod
    def from_bytes(cls, line: bytes) -> Run | None:
        """Return what the line says, or None if that is nothing that holds."""
        try:
            start, end, count, how = line.decode(errors="replace").split(" ", 3)
            run = cls(int(start), int(end), int(count), how)
        except ValueError:
            return None
        is_known = how == DELIVERED or how.startswith((_REJECTED, _DROPPED))
        return run if 0 <= run.start < run.end and run.count > 0 and is_known else None


class Progress:
    """How far a segment is settled, and what became of what is.

    Attributes:
        offset: Every record before it is settled.
        delivered: How many the destination acknowledged.
        rejected: How many it refused, by reason.
        dropped: How many were let go of one by one, by reason.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.delivered = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._beyond: list[Run] = []  # what was settled out of turn, sorted

    @property
    def settled(self) -> int:
        """How many records are settled."""
        return self.delivered + self.rejected.total() + self.dropped.total()

    @property
    def beyond(self) -> int:
        """How many settled records stand behind one that waits."""
        return sum(run.count for run in self._beyond)

    def has(self, start: int) -> bool:
        """Whether the record at this offset is settled."""
        if start < self.offset or not self._beyond:  # most often
            return start < self.offset
        at = bisect.bisect_right(self._beyond, start, key=_start) - 1
        return at >= 0 and start < self._beyond[at].end

    def note(self, run: Run) -> None:
        """Take a run in; what is settled already is settled once."""
        if self.has(run.start):
            return
        if run.how == DELIVERED:
            self.delivered += run.count
        elif run.how.startswith(_DROPPED):
            self.dropped[run.how.removeprefix(_DROPPED)] += run.count
        else:
            self.rejected[run.how.removeprefix(_REJECTED)] += run.count
        bisect.insort(self._beyond, run, key=_start)
        while self._beyond and self._beyond[0].start <= self.offset:
            self.offset = max(self.offset, self._beyond.pop(0).end)


def _start(run: Run) -> int:
    return run.start


def read_progress(path: Path) -> tuple[Progress, int]:
    """Return how far a segment is settled, and the bytes of what says so.

    Raises:
        OSError: The note is there and cannot be read; nothing may be sent on a guess.
    """
    progress = Progress()
    try:
        content = path.with_suffix(".ack").read_bytes()
    except FileNotFoundError:
        return progress, 0
    whole = content[: content.rfind(b"\n") + 1]
    for line in whole.split(b"\n"):
        run = Run.from_bytes(line)
        if run is not None:
            progress.note(run)
    return progress, len(whole)
