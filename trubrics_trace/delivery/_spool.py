"""Records, on disk before they leave: segments, owners, acknowledgements.

Rule 1: a process appends to files of its own, and holds a lock that dies with it.
Rule 2: whoever finds a lock that nobody holds adopts what its owner left behind.
Rule 3: nothing is deleted before it is settled: delivered, set aside, or dropped by a
cap; and every record is counted in exactly one place at every moment.
Rule 4: where the disk refuses, memory serves, bounded; and the disk is tried again.

A directory of one destination holds `OWNER.lock`, `OWNER.NUMBER.jsonl` with its `.ack`,
and `rejected.jsonl`.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from .. import _clock
from .._ledger import ledger
from .._stats import Stats
from ._owner import Owned, new_owner, orphans, release
from ._segment import Entry, Segment, is_settled

_SEGMENT_BYTES = 8 * 1024 * 1024  # a full one is sealed, and deleted when settled
_LEAST_SEGMENTS = 4  # of a small cap: dropping the oldest must not drop them all
_MEMORY_RECORDS = 10_000  # some 20 MB at 2 KB each; beyond it the oldest is dropped
_PRIVATE_FILE = 0o600


class Spool:
    """One destination's records, as far as this process answers for them.

    Safe under threads. After a fork the child calls `let_go` and makes its own.
    `directory` None means that no place on disk would do.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        max_bytes: int,
        keep_delivered: float = 0.0,
        place: str = "",
    ) -> None:
        self.directory = directory
        self._place = place
        self._max_bytes = max_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // _LEAST_SEGMENTS)
        self._keep_delivered = keep_delivered
        self._lock = threading.RLock()  # a signal handler may come between, and record
        self._own: Owned | None = None
        self._adopted: list[Owned] = []
        self._closes = 0
        self._left = 0  # pending on disk when it was closed, and counted as pending still
        self._number = 0
        self._memory: deque[bytes] = deque()
        self._accepted = 0
        self._adopted_count = 0
        self._delivered = 0
        self._rejected: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._waiting_since: float | None = None

    def put(self, line: bytes) -> None:
        """Keep one record: on return it survives the process, or is counted."""
        refusal: OSError | None = None
        with self._lock:
            try:
                self._segment_for(len(line)).append(line)
            except OSError as error:
                self._keep_in_memory(line)
                refusal = error
            self._accepted += 1
            if self._waiting_since is None:
                self._waiting_since = _clock.monotonic()
        if refusal is not None:  # said outside: a logger has locks of its own
            _say_refused(refusal, self.directory or self._place)

    def lease(self, count: int, max_bytes: int) -> list[Entry]:
        """Return the oldest records that wait: at least one, then as many as fit."""
        leased: list[Entry] = []
        size = 0
        with self._lock:
            for entry in self._unsettled():
                size += len(entry.line)
                if leased and size > max_bytes:
                    break
                leased.append(entry)
                if len(leased) == count:
                    break
        return leased

    def settle_delivered(self, entries: list[Entry]) -> None:
        """Note that the destination has these, and keep that note."""
        with self._lock:
            self._delivered += self._settle(entries, "delivered")

    def settle_rejected(self, entry: Entry, reason: str) -> None:
        """Set a record aside that the destination refuses, with the reason."""
        with self._lock:
            self._set_aside(entry.line, reason)
            self._rejected[reason] += self._settle([entry], "rejected")

    def settle_dropped(self, entries: list[Entry], reason: str) -> None:
        """Let go of records that cannot be sent at all, counted."""
        with self._lock:
            self._dropped[reason] += self._settle(entries, "dropped")

    def adopt(self) -> int:
        """Take over what dead processes left in this directory.

        Returns:
            How many records, less those that others took over from us since a `close`.
        """
        if self.directory is None or not self.directory.is_dir():
            return 0
        self._expire_kept(self.directory)
        closes = self._closes
        found = list(orphans(self.directory, self._held_names()))
        with self._lock:
            if closes != self._closes:  # what was left meanwhile was not looked for
                for owned, _ in found:
                    owned.close()
                return 0  # `has_left` is still true: the next round looks again
            # What was left here at a close is counted already: found again, it is no
            # news; not found, it was taken over from us.
            adopted = sum(waiting for _, waiting in found) - self._left
            self._left = 0
            self._adopted_count += adopted
            self._adopted.extend(owned for owned, _ in found)
            if self._waiting_since is None and found:
                self._waiting_since = _clock.monotonic()
            self._sweep()
        return adopted

    @property
    def pending(self) -> int:
        """How many records wait, or are on their way."""
        return self._accepted + self._adopted_count - self.settled

    @property
    def settled(self) -> int:
        """How many records do not wait any more, whatever became of them."""
        return self._delivered + self._rejected.total() + self._dropped.total()

    @property
    def has_left(self) -> bool:
        """Whether a `close` left records that `adopt` has not looked for since."""
        return self._left > 0

    @property
    def adopted(self) -> int:
        """How many records were taken over from processes that are gone."""
        return self._adopted_count

    def stats(self) -> Stats:
        """Return one moment of the spool, in which the law holds."""
        with self._lock:
            since = self._waiting_since if self.pending else None  # a lower bound
            return Stats(
                accepted=self._accepted,
                adopted=self._adopted_count,
                delivered=self._delivered,
                pending=self.pending,
                rejected=dict(+self._rejected),  # the reasons that took one
                dropped=dict(+self._dropped),
                oldest_pending_seconds=(
                    None if since is None else _clock.monotonic() - since
                ),
                bytes_on_disk=sum(segment.size for segment in self._segments()),
            )

    def close(self) -> None:
        """Let go of every file; delete those with nothing left in them.

        A later `put` opens new ones, and a later `adopt` finds what was left.
        """
        with self._lock:
            self._closes += 1
            self._left = self.pending - len(self._memory)
            for one in self._owned():
                self._delete_settled(one, all_of_them=True)
                release(one)
            self._own, self._adopted, self._number = None, [], 0

    def let_go(self) -> None:
        """In a forked child: close what the parent holds, and touch nothing of it."""
        for one in self._owned():
            one.close()

    def _segment_for(self, size: int) -> Segment:
        if self._own is None:
            if self.directory is None:
                message = "no directory for the spool"
                raise OSError(message)
            self._own = new_owner(self.directory)
        segments = self._own.segments
        if not segments or segments[-1].size + size > self._segment_bytes:
            self._make_room(max(size, self._segment_bytes))
            self._number += 1
            name = f"{self._own.name}.{self._number:06d}.jsonl"
            segments.append(Segment(self._own.lock_path.with_name(name), create=True))
        return segments[-1]

    def _make_room(self, wanted: int) -> None:
        """Before a new segment, drop the oldest whole ones that exceed the cap."""
        size = sum(segment.size for segment in self._segments())
        for segment in list(self._segments()):
            if size + wanted <= self._max_bytes:
                return
            size -= segment.size
            self.settle_dropped(list(segment.unsettled()), "spool_full")
            segment.delete()  # also where delivered ones are kept: it is room that is asked

    def _keep_in_memory(self, line: bytes) -> None:
        ledger.note("in_memory")
        self._memory.append(line)
        if len(self._memory) > _MEMORY_RECORDS:
            self._memory.popleft()
            self._dropped["memory_full"] += 1

    def _segments(self) -> Iterator[Segment]:
        for owned in self._owned():
            yield from owned.segments

    def _owned(self) -> list[Owned]:
        return [*self._adopted, *([self._own] if self._own else [])]

    def _unsettled(self) -> Iterator[Entry]:
        for segment in self._segments():
            yield from segment.unsettled()
        for line in self._memory:
            yield Entry(None, 0, line)

    def _settle(self, entries: list[Entry], how: str) -> int:
        """Settle what still waits of these; how many that were."""
        settled = 0
        touched: dict[int, Segment] = {}
        for entry in entries:
            if entry.segment is None:
                with contextlib.suppress(ValueError):  # meanwhile dropped: memory full
                    self._memory.remove(entry.line)
                    settled += 1
            elif entry.segment.settle(entry, how):
                touched[id(entry.segment)] = entry.segment
                settled += 1
        for segment in touched.values():
            with contextlib.suppress(OSError):  # a full disk: then it is sent once more
                segment.acknowledge()
        self._waiting_since = _clock.monotonic()
        self._sweep()
        return settled

    def _sweep(self) -> None:
        """Delete what is settled, and let go of owners that have nothing left."""
        if self._own is not None:
            self._delete_settled(self._own)
        for owned in list(self._adopted):
            self._delete_settled(owned, all_of_them=True)
            if not owned.segments:
                self._adopted.remove(owned)
                release(owned)

    def _delete_settled(self, owned: Owned, *, all_of_them: bool = False) -> None:
        while owned.segments and owned.segments[0].is_settled:
            if len(owned.segments) == 1 and not all_of_them:
                return  # the one that is being written to
            segment = owned.segments.popleft()
            if self._keep_delivered and segment.size:
                segment.close()
            else:
                with contextlib.suppress(OSError):
                    segment.delete()

    def _expire_kept(self, directory: Path) -> None:
        """Delete delivered segments that were kept to be read, for long enough."""
        oldest = time.time() - self._keep_delivered
        for ack_path in directory.glob("*.ack"):
            path = ack_path.with_suffix(".jsonl")
            lock_path = directory / f"{path.name.split('.')[0]}.lock"
            with contextlib.suppress(OSError):
                is_kept = not lock_path.exists() and is_settled(path)
                if is_kept and ack_path.stat().st_mtime < oldest:
                    path.unlink()
                    ack_path.unlink()

    def _set_aside(self, line: bytes, reason: str) -> None:
        if self.directory is None:
            return
        told = line.decode(errors="replace")
        kept = {"reason": reason, "at": _clock.utc_now(), "record": told}
        try:
            file = os.open(
                self.directory / "rejected.jsonl",
                os.O_WRONLY | os.O_APPEND | os.O_CREAT,
                _PRIVATE_FILE,
            )
            with os.fdopen(file, "ab", buffering=0) as aside:
                aside.write(json.dumps(kept).encode() + b"\n")
        except OSError:
            ledger.note("rejected_not_kept")

    def _held_names(self) -> set[str]:
        with self._lock:
            return {one.name for one in self._owned()}


def _say_refused(error: OSError, place: Path | str) -> None:
    ledger.fault(
        "spool_refused",
        "records are kept in memory, and lost with the process, because the disk "
        f"refused {place} ({error.strerror or error}); mend it, or point "
        "TRUBRICS_TRACE_SPOOL_DIR elsewhere",
    )
