"""The files that this process answers for: its own and adopted ones."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ._limits import (
    Limits,
    bytes_of_segments,
    delete_kept,
    expire_kept,
    kept_segments,
)
from ._owner import Owned, new_owner, orphans, recover
from ._segment import Entry, Segment
from ._totals import Totals, compact, read_totals, remember

MOST_SHARES = 64  # to hold at a time: the app needs open files, too

_MOST_LOOKS = 16  # at shares of the dead, while a call of the app waits

# Is told of records that were let go of: why, and how many.
OnDrop = Callable[[str, int], None]


class Shares:
    """One directory's segments, as far as they are ours, oldest first.

    Not thread-safe: the spool that holds it has the lock.
    """

    def __init__(
        self,
        directory: Path | Callable[[], Path | None] | None,
        limits: Limits,
        on_drop: OnDrop,
    ) -> None:
        self._find = directory if callable(directory) else lambda: directory
        self.directory = self._find()
        self.limits = limits
        self._on_drop = on_drop
        self._own: Owned | None = None
        self._adopted: list[Owned] = []

    def append(self, line: bytes) -> Segment:
        """Write a line to our own share, and return where it stands.

        Raises:
            OSError: The disk refuses, or there is no directory.
        """
        if self._own is None:
            self._begin()
        own = self._own
        if own is None:
            message = "no private directory can be made"
            raise OSError(message)
        segments = own.segments
        try:
            if not segments or segments[-1].size + len(line) > self.limits.segment_bytes:
                if own.is_gone:
                    self.set_gone_aside()
                    return self.append(line)
                # A process's first: what it adopts it may be about to deliver.
                wanted = self.limits.segment_bytes if own.made else 0
                self._make_room(own, max(len(line), wanted))
                own.new_segment()
            segments[-1].append(line)
        except OSError:
            if own is self._own:
                raise
            return self.append(line)  # a signal handler has shut us down in between
        return segments[-1]

    def _begin(self) -> None:
        self.directory = self.directory or self._find()
        if self.directory is not None:
            own = new_owner(self.directory)
            if self._own is None:
                self._own = own
            else:  # a signal handler has recorded in between
                own.release()

    def catch_up(self) -> None:
        """Take note of what stands in our own files, as far as they can be read."""
        for segment in self._own.segments if self._own else ():
            with contextlib.suppress(OSError):
                segment.catch_up()

    def adopt(self, owned: Owned) -> None:
        """Answer for a share that was taken over."""
        self._adopted.append(owned)

    def all(self) -> list[Owned]:
        """Return each share: the adopted ones, then our own."""
        return [*self._adopted, *([self._own] if self._own else [])]

    def segments(self) -> Iterator[Segment]:
        """Yield each segment."""
        for owned in self.all():
            yield from tuple(owned.segments)  # a signal handler may record, and add one

    def unsettled(self) -> Iterator[Entry]:
        """Yield each line that waits, oldest first, as far as it can be read."""
        for segment in list(self.segments()):
            with contextlib.suppress(OSError):
                yield from segment.unsettled()

    def set_gone_aside(self) -> None:
        """Where our share was deleted under us, begin another with the next line.

        What waits in it can still be read, and sent, as long as we live.
        """
        own = self._own
        if own is not None and own.is_gone:
            self._adopted.append(own)
            self._own = None

    def gone(self) -> Iterator[Entry]:
        """Yield each line that waits in a segment that was deleted under us."""
        for segment in self.segments():
            if not segment.is_settled and segment.is_gone:
                yield from segment.unsettled()

    def expire(self, now: float) -> None:
        """Drop segments to which nothing was written for too long."""
        for owned in self.all():
            while _is_too_old(owned, now - self.limits.max_age):
                self._on_drop("expired", _let_go(owned, "expired"))

    def drop_gone(self) -> None:
        """Give up what was deleted under us, and found no other place."""
        for owned in self.all():
            for segment in tuple(owned.segments):
                if segment.is_gone:
                    owned.segments.remove(segment)
                    owned.segments.appendleft(segment)
                    self._on_drop("spool_deleted", _let_go(owned, "spool_deleted"))

    def sync(self) -> None:
        """Have the newest lines kept also where the machine loses its power."""
        own = self._own
        with contextlib.suppress(OSError, IndexError):  # it is let go of meanwhile
            if own is not None:
                os.utime(own.lock_path)  # who sweeps old files is to see that it lives
                own.segments[-1].sync()

    def sweep(self) -> None:
        """Delete what is settled, and let go of shares that have nothing left."""
        if self._own is not None:
            self._retire_settled(self._own)
        for owned in list(self._adopted):
            self._retire_settled(owned, all_of_them=True)
            if not owned.segments:
                self._adopted.remove(owned)
                owned.release()

    def let_go(self) -> list[Owned]:
        """Answer for nothing any more; return what is to be closed.

        A signal handler that records meanwhile begins a share of its own.
        """
        closing, self._own, self._adopted = self.all(), None, []
        return closing

    def close(self, closing: list[Owned] | None = None) -> None:
        """Let go of these files, by default all; what is settled is deleted."""
        for owned in self.let_go() if closing is None else closing:
            self._retire_settled(owned, all_of_them=True)
            owned.release()

    def held_names(self) -> set[str]:
        """Return the names of the owners whose shares we hold."""
        return {owned.name for owned in self.all()}

    def _make_room(self, own: Owned, wanted: int) -> None:
        """Before a new segment, let go of the oldest that exceed the cap."""
        directory = own.lock_path.parent
        limit = self.limits.max_bytes - wanted
        size = bytes_of_segments(directory)
        if size <= limit:
            return
        for path in kept_segments(directory, read_totals(directory).segments):
            if size <= limit:
                return
            size -= delete_kept(path)
        for owned in self._adopted:
            size = self._shrink(owned, size, limit)
        orphaned = each_orphan(directory, self.held_names())
        for owned in itertools.islice(orphaned, _MOST_LOOKS):
            while owned.segments and size > limit and _is_recovered(owned):
                size -= owned.segments[0].size
                _let_go(owned, "spool_full")
            if size <= limit:
                return
        self._shrink(own, size, limit)

    def _shrink(self, owned: Owned, size: int, limit: int) -> int:
        """Let go of a share's oldest segments; what the directory then takes.

        Not of those that were deleted under us: that frees nothing.
        """
        while owned.segments and size > limit and not owned.segments[0].is_gone:
            size -= owned.segments[0].size
            self._on_drop("spool_full", _let_go(owned, "spool_full"))
        return size

    def _retire_settled(self, owned: Owned, *, all_of_them: bool = False) -> None:
        while owned.segments and owned.segments[0].is_settled:
            if len(owned.segments) == 1 and not all_of_them:
                return  # the one that is being written to
            is_kept = self.limits.keep_delivered and owned.segments[0].stored
            _let_go(owned, "", is_kept=bool(is_kept))


def take_over(
    directory: Path | None, held: Collection[str], most: int = MOST_SHARES
) -> list[tuple[Owned, int]]:
    """Return what dead processes left, now ours, and how much of it waits."""
    taken: list[tuple[Owned, int]] = []
    if directory is None or most <= 0:
        return taken
    for owned in orphans(directory, held):
        with contextlib.suppress(OSError):  # it is held no more: another time
            taken.append((owned, recover(owned)))
        if len(taken) == most:
            break
    return taken


def expire(directory: Path, held: Collection[str], limits: Limits, now: float) -> None:
    """Let go of what is too old, and of what was kept for long enough."""
    let_go = read_totals(directory).segments
    expire_kept(directory, let_go, now - limits.keep_delivered)
    oldest = now - limits.max_age
    # A look first: to lock and open each of thousands takes seconds.
    for owned in each_orphan(directory, held) if _has_older(directory, oldest) else ():
        while _is_too_old(owned, oldest) and _is_recovered(owned):
            _let_go(owned, "expired")
    with contextlib.suppress(OSError):  # a full disk: another time
        compact(directory)


def each_orphan(directory: Path, held: Collection[str]) -> Iterator[Owned]:
    """Yield each gone owner's share, lent for a look."""
    for owned in orphans(directory, held):
        try:
            yield owned
        finally:
            owned.release()


def _has_older(directory: Path, oldest: float) -> bool:
    with os.scandir(directory) as files:
        for file in files:
            with contextlib.suppress(OSError):  # delivered meanwhile, and deleted
                if (
                    file.name.endswith((".jsonl", ".lock"))
                    and file.stat().st_mtime < oldest
                ):
                    return True
    return False


def _is_too_old(owned: Owned, oldest: float) -> bool:
    return bool(owned.segments) and owned.segments[0].written_at < oldest


def _is_recovered(owned: Owned) -> bool:
    """Count what a share holds; whether it can be read."""
    try:
        recover(owned)
    except OSError:
        return False
    return True


def _let_go(owned: Owned, reason: str, *, is_kept: bool = False) -> int:
    """Remember what became of a share's oldest segment, and delete it.

    Returns:
        How many of its records still waited, and are dropped for this reason.
    """
    segment = owned.segments.popleft()
    dropped, progress = segment.waiting, segment.progress
    with contextlib.suppress(OSError):  # a full disk: the law holds without it, too
        if not segment.is_gone and segment.stored:
            remember(
                segment.path.parent,
                Totals(
                    segment.stored,
                    progress.delivered,
                    progress.rejected,
                    progress.dropped + Counter({reason: dropped}),
                    {segment.path.name},
                ),
            )
    segment.close()
    if not is_kept:
        with contextlib.suppress(OSError):  # its directory was deleted, too
            segment.delete()
    return dropped
