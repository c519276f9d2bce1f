"""All that a spool holds: on disk, and for want of one in memory."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import _clock
from ._heritage import Heritage
from ._limits import Limits
from ._marks import Mark, Marks
from ._memory import Memory
from ._owner import Owned
from ._segment import Entry, began_at
from ._shares import OnDrop, Shares

_MOST_BROUGHT = 200  # records at a time, back to the disk: about a millisecond


class Contents:
    """Records, each in one place, oldest first. The spool has the lock.

    Attributes:
        shares: What stands on disk.
    """

    def __init__(
        self,
        directory: Path | Callable[[], Path | None] | None,
        limits: Limits,
        on_drop: OnDrop,
    ) -> None:
        self.shares = Shares(directory, limits, on_drop)
        self._lent_numbers = 0  # up to this one, lines in memory are on their way
        self._is_lent = False
        self._memory = Memory()
        self._heritage = Heritage()
        self._marks = Marks()
        self._on_drop = on_drop

    @property
    def waiting(self) -> int:
        """How many records wait, counted where they are."""
        on_disk = sum(owned.waiting for owned in self.shares.all())
        return on_disk + len(self._memory) + self._heritage.waiting

    @property
    def is_memory_full(self) -> bool:
        """Whether another line in memory might cost the oldest its place."""
        return self._memory.is_full

    @property
    def is_in_memory(self) -> bool:
        """Whether something is in memory that would better be on disk."""
        return bool(self._memory)

    @property
    def has_left(self) -> bool:
        """Whether there may be more to adopt, of a close or of the dead."""
        return bool(self._heritage)

    @property
    def bytes_on_disk(self) -> int:
        """What the segments take."""
        return sum(segment.size for segment in self.shares.segments())

    def keep_in_memory(self, line: bytes) -> None:
        """Keep a line where no disk takes it."""
        if gone := self._memory.put(line):
            self._on_drop("memory_full", gone)

    def oldest(self, count: int, max_bytes: int) -> Iterator[Entry]:
        """Yield the oldest lines that wait: one, then what fits."""
        size = 0
        waiting = itertools.chain(self.shares.unsettled(), self._memory.entries())
        for number, entry in enumerate(itertools.islice(waiting, count)):
            size += len(entry.line)
            if number and size > max_bytes:
                return
            yield entry

    def lend(self, count: int, max_bytes: int) -> list[Entry]:
        """Return the oldest, which stay where they are until they are taken back."""
        lent = list(self.oldest(count, max_bytes))
        in_memory = (entry.start for entry in lent if entry.segment is None)
        self._is_lent, self._lent_numbers = True, max(in_memory, default=0)
        return lent

    def take_back(self) -> None:
        """Let what was lent be moved again."""
        self._is_lent, self._lent_numbers = False, 0

    def oldest_seconds(self, now: float) -> float | None:
        """Return how long the record that comes next has waited, if one does.

        By the clock that nobody sets, to the second; by its date where another wrote it.
        """
        for entry in self.oldest(1, 0):
            put_at = entry.segment.put_at(entry.start) if entry.segment else None
            if put_at is not None:
                return now - put_at
            began = began_at(entry.line)
            return None if began is None else _clock.seconds_since(began)
        return None

    def settle(self, entries: list[Entry], how: str) -> int:
        """Settle what still waits of these; how many that were."""
        settled = 0
        for segment, group in itertools.groupby(entries, lambda entry: entry.segment):
            if segment is not None:
                settled += segment.settle(group, how)
            else:  # meanwhile dropped, maybe: memory full
                settled += sum(self._memory.take(one.start) is not None for one in group)
        self.shares.sweep()
        return settled

    def bring_back(self, is_late: Callable[[], bool]) -> int:
        """Bring to the disk what is not there, or not for long; how much of it.

        But for what is lent: that is settled where it was found.
        """
        brought = 0
        with contextlib.suppress(OSError):
            self.shares.set_gone_aside()
            gone = () if self._is_lent else self.shares.gone()
            free = (
                entry
                for entry in self._memory.entries()
                if entry.start > self._lent_numbers
            )
            stray = itertools.chain(gone, free)
            for entry in list(itertools.islice(stray, _MOST_BROUGHT)):
                self._marks.cover(self.shares.append(entry.line))
                if entry.segment is None:
                    self._memory.take(entry.start)
                else:
                    entry.segment.forget(entry)
                brought += 1
                if is_late():
                    break
        return brought

    def adopt(self, found: list[tuple[Owned, int]], *, is_all: bool) -> int:
        """Answer for what dead processes left; how many records of it are news."""
        for owned, _ in found:
            self.shares.adopt(owned)
            for segment in owned.segments:
                self._marks.cover(segment)
        return self._heritage.find(found, is_all=is_all)

    def mark(self) -> Mark:
        """Return what waits now, to be asked of `is_past`."""
        return self._marks.make(self.shares.segments(), self._memory)

    def is_past(self, mark: Mark) -> bool:
        """Whether nothing of the mark, nor what was adopted since, waits now."""
        is_past = mark.is_past(self.shares.segments(), self._memory)
        return is_past and not self._heritage

    def close(self) -> None:
        """Let go of every file; what is left on disk is remembered."""
        self.shares.drop_gone()
        letting_go = self.shares.let_go()
        self._heritage.leave(letting_go)
        self.shares.close(letting_go)
