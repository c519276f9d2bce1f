"""Records, on disk before they leave: segments, owners, acknowledgements.

Rule 1: a process appends to files of its own, and holds a lock that dies with it.
Rule 2: whoever finds a lock that nobody holds adopts what its owner left behind.
Rule 3: nothing is deleted before it is settled: delivered, set aside, or dropped by a
cap; and every record is counted in exactly one place at every moment.
Rule 4: where the disk refuses or is slow, bounded memory serves until it does better.
Rule 5: what is on its way is lent to one sender, and nobody else has it meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import _clock
from .._ledger import ledger
from .._stats import Stats
from ._aside import set_aside
from ._contents import Contents
from ._limits import Limits
from ._marks import Mark
from ._patience import MOST_SECONDS, Patience
from ._progress import DELIVERED, ERASED, rejected
from ._segment import Entry
from ._shares import MOST_SHARES, Shares, expire, take_over
from ._tally import Tally
from ._tidings import Tidings

_TEND_SECONDS = 1.0
_MOST_LATE = 10_000
_MOST_CAUGHT_UP = 100  # by one call of the app: a part of a millisecond


class Spool:
    """One destination's records, as far as this process answers for them.

    Safe under threads. A forked child forgets its parent's, and makes its own. Where a
    function finds the directory, it is asked again as long as no place on disk will do.
    """

    def __init__(
        self,
        directory: Path | Callable[[], Path | None] | None,
        limits: Limits,
        *,
        place: str = "",
        clock: Callable[[], float] = _clock.monotonic,
        wall: Callable[[], float] = _clock.steady_seconds,
    ) -> None:
        self._clock, self._wall = clock, wall
        self._lock = threading.RLock()  # a signal handler may come between, and record
        self._adopting = threading.Lock()
        self._contents = Contents(directory, limits, self._drop)
        self._late: deque[bytes] = deque()  # put while the disk held the lock
        self._tally = Tally()
        self._tidings = Tidings(str(self.directory or place))
        self._patience = Patience(clock)
        self._tend_at = 0.0
        self._lent: int | None = None  # how many are on their way; None: no lease is out
        self._is_closing, self._is_counted = False, True  # not while something is put
        self._closes = self._recounts = 0

    @property
    def shares(self) -> Shares:
        """What stands on disk, and its limits."""
        return self._contents.shares

    @property
    def directory(self) -> Path | None:
        """Where it lies; None while no place on disk will do."""
        return self.shares.directory

    def put(self, line: bytes) -> None:
        """Keep one record: on return it survives the process, or is counted."""
        self._patience.note_work(now := self._clock())
        is_hurried = now < self._patience.until and len(self._late) < _MOST_LATE
        wait = 0.0 if is_hurried else MOST_SECONDS  # most often it is free at once
        if self._lock.acquire(blocking=False) or self._lock.acquire(timeout=wait):
            try:
                if self._late or not self._is_counted:
                    self._catch_up(_MOST_CAUGHT_UP)
                self._put(line)
            finally:
                self._lock.release()
            if self._tidings.waiting:
                self._tidings.say()
        elif len(self._late) < _MOST_LATE:
            self._late.append(line)
            ledger.note("slow_disk")
        else:
            ledger.skip("disk_hangs")

    @contextlib.contextmanager
    def lease(self, count: int, max_bytes: int) -> Iterator[list[Entry] | None]:
        """Lend the oldest records that wait, for the block: one, then what fits.

        None where another has a lease.
        """
        with self._lock:
            self._catch_up()
            entries = self._contents.lend(count, max_bytes) if self._lent is None else None
            if entries is not None:
                self._lent = len(entries)
        try:
            yield entries
        finally:
            if entries is not None:
                with self._lock:
                    self._lent = None
                    self._contents.take_back()
                    if self._is_closing:
                        self._close()

    def settle_delivered(self, entries: list[Entry]) -> None:
        """Note that the destination has these, and keep that note."""
        with self._lock:
            self._tally.deliver(self._settle(entries, DELIVERED))

    def settle_rejected(self, entry: Entry, reason: str) -> None:
        """Set a record aside that the destination refuses, or that is none."""
        most = self.shares.limits.aside_bytes
        if not set_aside(self.directory, entry.line, reason, most):
            ledger.note("rejected_not_kept")
        with self._lock:
            self._tally.reject(reason, self._settle([entry], rejected(reason)))

    def settle_erased(self, entry: Entry) -> None:
        """Note that a record is dropped, for its user was erased."""
        with self._lock:
            self._tally.drop("erased", self._settle([entry], ERASED))

    def adopt(self) -> int:
        """Take over what dead processes left; how many records that is.

        Less those that others took over from us since a `close`.
        """
        if not self._adopting.acquire(blocking=False):  # what another finds is not gone
            return 0
        try:
            return self._adopt()
        finally:
            self._adopting.release()

    def _adopt(self) -> int:
        closes, held = self._closes, self._held_names()
        room = MOST_SHARES - len(held)
        found = take_over(self.directory, held, room)
        with self._lock:
            if closes != self._closes:  # what was left meanwhile was not looked for
                for owned, _ in found:
                    owned.close()
                return 0  # the next round looks again
            adopted = self._contents.adopt(found, is_all=len(found) < room)
            self._tally.adopt(adopted)
            self.shares.expire(self._wall())
            self.shares.sweep()
        self._tidings.say()
        return adopted

    def tidy(self) -> None:
        """Let go of what dead processes left too long ago, where nobody adopts it."""
        if self.directory is not None and self.directory.is_dir():
            expire(self.directory, self._held_names(), self.shares.limits, self._wall())

    def _held_names(self) -> set[str]:
        with self._lock:
            return self.shares.held_names()

    def tend(self) -> None:
        """Bring to the disk what is in memory, however slow the disk is."""
        with self._lock:
            self._patience.note_work(began := self._clock())
            self._catch_up()
            if self._tend(began) and self._patience.lost_since(began) is None:
                self._patience.begin_again()

    def sync(self) -> None:
        """Have what was put kept also where the machine loses its power."""
        self.shares.sync()  # without the lock: it may take long, and changes nothing

    @property
    def pending(self) -> int:
        """How many records wait, or are on their way."""
        return self._tally.pending + len(self._late)

    @property
    def waiting(self) -> int:
        """How many records wait, and are not on their way."""
        return self.pending - (self._lent or 0)

    @property
    def is_leased(self) -> bool:
        """Whether somebody has a lease."""
        return self._lent is not None

    @property
    def wants_tending(self) -> bool:
        """Whether records wait in memory for somebody with more patience."""
        is_slow = self._clock() < self._patience.until
        return bool(self._late or (is_slow and self._contents.is_in_memory))

    @property
    def has_left(self) -> bool:
        """Whether there may be more to `adopt`, of a `close` or of the dead."""
        return self._contents.has_left

    def mark(self) -> Mark:
        """Return what waits now, to be asked of `is_past`."""
        with self._lock:
            self._catch_up()
            return self._contents.mark()

    def is_past(self, mark: Mark) -> bool:
        """Whether nothing of the mark, nor what was adopted since, waits now."""
        with self._lock:
            return self._contents.is_past(mark)

    def stats(self) -> Stats:
        """Return one moment of the spool, in which the law holds."""
        with self._lock:
            self._catch_up()
            return self._tally.stats(
                oldest_pending_seconds=self._contents.oldest_seconds(self._clock()),
                bytes_on_disk=self._contents.bytes_on_disk,
            )

    def say(self, **said: object) -> None:
        """Tell the command line something of this process."""
        with self._lock:
            for owned in self.shares.all()[-1:]:
                owned.say(**said)

    def close(self, timeout: float = math.inf) -> None:
        """Let go of every file, once what is lent was given back.

        First what is in memory goes to the disk, as far as it does in so many seconds. A
        later `put` opens new files, and a later `adopt` finds what was left.
        """
        deadline = self._clock() + timeout
        with self._lock:
            self._catch_up()
            while self._contents.bring_back(lambda: self._clock() > deadline):
                if self._clock() > deadline:
                    break
            self._is_closing = True
            if self._lent is None:
                self._close()

    def revoke(self) -> None:
        """Close also what is lent: who has it ends with the process."""
        with self._lock:
            if self._is_closing:
                self._contents.take_back()
                self._contents.bring_back(lambda: False)
                self._close()

    # What follows is called with the lock held.

    def _put(self, line: bytes) -> None:
        recounts, self._is_counted, self._is_closing = self._recounts, False, False
        now = self._clock()
        is_slow = now < self._patience.until
        if now >= self._tend_at and not is_slow:
            self._tend(now)
        if is_slow and not self._contents.is_memory_full:
            ledger.note("slow_disk")
            self._contents.keep_in_memory(line)
        else:
            try:
                self.shares.append(line).note_time(now)
            except OSError as error:
                ledger.note("in_memory")
                self._tidings.refused(error)
                self._contents.keep_in_memory(line)
            if (took := self._patience.lost_since(now)) is not None:
                self._tidings.slow(took)
        self._tally.accept()
        if recounts != self._recounts:  # a signal handler has recorded in between
            self._recount()
        self._is_counted = True

    def _catch_up(self, most: float = math.inf) -> None:
        """Take what came while the lock was held, or in an interrupted put."""
        if not self._is_counted:
            self._recount()
        taken = 0
        while self._late and taken < most:
            self._put(self._late.popleft())
            taken += 1

    def _recount(self) -> None:
        self._recounts += 1
        self.shares.catch_up()
        self._tally.recount(self._contents.waiting)
        self._is_counted = True

    def _drop(self, reason: str, count: int) -> None:
        self._tally.drop(reason, count)
        if count:
            self._tidings.dropped(reason, count)

    def _settle(self, entries: list[Entry], how: str) -> int:
        settled = self._contents.settle(entries, how)
        if self._lent is not None:
            self._lent = max(0, self._lent - settled)
        return settled

    def _tend(self, now: float) -> int:
        self._tend_at = now + _TEND_SECONDS
        return self._contents.bring_back(lambda: self._clock() - now > MOST_SECONDS)

    def _close(self) -> None:
        self._is_closing = False
        self._closes += 1
        self._contents.close()
