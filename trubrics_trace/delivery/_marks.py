"""What waited at one moment, followed until none of it waits."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from ._memory import Memory
from ._segment import Segment


class Mark:
    """What waits now: up to each segment's size, and memory's last number."""

    def __init__(self, segments: Iterable[Segment], memory: Memory) -> None:
        self._memory = memory.last
        self._sizes = {segment: segment.size for segment in segments}

    def cover(self, segment: Segment) -> None:
        """Take in all that a segment holds now."""
        self._sizes[segment] = segment.size

    def is_past(self, segments: Iterable[Segment], memory: Memory) -> bool:
        """Whether nothing of it waits."""
        return memory.first > self._memory and all(
            segment.progress.offset >= self._sizes.get(segment, 0) for segment in segments
        )


class Marks:
    """Those that somebody still asks about. The spool has the lock."""

    def __init__(self) -> None:
        self._marks: weakref.WeakSet[Mark] = weakref.WeakSet()

    def make(self, segments: Iterable[Segment], memory: Memory) -> Mark:
        """Return a mark of what waits now."""
        mark = Mark(segments, memory)
        self._marks.add(mark)
        return mark

    def cover(self, segment: Segment) -> None:
        """Let each follow what has moved to a segment, or was adopted with it.

        So a flush may wait for a few that came later, and never for one too few.
        """
        for mark in self._marks:
            mark.cover(segment)
