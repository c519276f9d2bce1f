"""Records in memory, for want of a disk: bounded, the oldest goes first."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator

from ._segment import Entry

_MOST_RECORDS = 10_000
_MOST_BYTES = 32 * 1024 * 1024


class Memory:
    """Lines by number, oldest first. Not thread-safe: the spool has the lock."""

    def __init__(self) -> None:
        self._lines: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0
        self._numbers = itertools.count(1)  # a signal handler may come between, and record
        self.last = 0  # the number of the newest line that ever came

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def first(self) -> int:
        """The number of the oldest line, or of the next one where there is none."""
        return next(iter(self._lines), self.last + 1)

    @property
    def is_full(self) -> bool:
        """Whether another line might cost the oldest its place."""
        return len(self._lines) >= _MOST_RECORDS or self._bytes >= _MOST_BYTES // 2

    def put(self, line: bytes) -> int:
        """Keep a line; how many of the oldest had to go for it."""
        number = next(self._numbers)
        self.last = max(self.last, number)
        self._lines[number] = line
        self._bytes += len(line)
        gone = 0
        while len(self._lines) > 1 and (
            len(self._lines) > _MOST_RECORDS or self._bytes > _MOST_BYTES
        ):
            self.take(self.first)
            gone += 1
        return gone

    def take(self, number: int) -> bytes | None:
        """Return a line and forget it; None if it is not here any more."""
        line = self._lines.pop(number, None)
        self._bytes -= len(line or b"")
        return line

    def entries(self) -> Iterator[Entry]:
        """Yield each line, oldest first."""
        for number, line in self._lines.items():
            yield Entry(None, number, line)
