"""One thread that carries batches: backoff, fork, exit.

Rule 1: the thread is the only one that sends, and the spool is its only source.
Rule 2: a batch waits for its answer; what has no clear answer is sent again, with the
same `record_id`.
Rule 3: an attempt that failed is followed by a wait with full jitter, at most a minute,
never shorter than the destination asked for.
Rule 4: whatever goes wrong in here is counted, and the thread goes on.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from .. import _clock
from .._ledger import GUARD_SECONDS, ledger
from .._notices import place_of_error
from .._record import Record, record_from_dict
from .._settings import OnError
from .._stats import FlushReport, Stats
from ..errors import TelemetryError
from ..pipeline._guard import attempt
from ._segment import Entry
from ._spool import Spool
from ._transport import Delivered, Retry, Transport

_MAX_BACKOFF_SECONDS = 60.0  # as AWS's "full jitter" has a cap, and as people wait
_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BATCH_BYTES = 1_000_000  # nginx's default limit of a body is 1 MiB
_ADOPT_EVERY_SECONDS = 30.0
_MAX_WAIT_SECONDS = 3600.0  # what a lock can wait for is bounded; the thread looks again


class Sender:
    """Carries one spool to one destination, until it is stopped.

    Safe under threads. A forked child drops it and makes its own.
    """

    def __init__(
        self,
        spool: Spool,
        transport: Transport,
        *,
        label: str,
        flush_interval: float,
        batch_size: int,
        on_error: OnError | None = None,
        clock: Callable[[], float] = _clock.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._spool = spool
        self._transport = transport
        self._label = label
        self._flush_interval = flush_interval
        self._batch_size = min(batch_size, transport.max_batch)
        self._on_error = on_error
        self._clock = clock
        self._jitter = jitter
        self._wakes: SimpleQueue[None] = SimpleQueue()  # reentrant: safe in a collection
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_stopping = False
        self._failures = 0
        self._not_before = 0.0  # the end of a backoff
        self._asked_until = 0.0  # what of it the destination asked for
        self._adopt_at = 0.0
        self.retries = 0
        self.last_error: str | None = None
        self._met: TelemetryError | None = None

    def start(self) -> None:
        """Start the thread unless it runs; if none can, records stay on disk.

        One that was stopped stays so: the spool may have another sender by now.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        with self._starting:
            if self._is_stopping or (self._thread is not None and self._thread.is_alive()):
                return
            thread = threading.Thread(
                target=self._run, name=f"trubrics-trace {self._label}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or has no threads
                ledger.say(
                    "no_thread",
                    "no thread can start here, so records stay on disk; the next "
                    "process sends them, or `trubrics-trace flush`",
                )
                return
            self._thread = thread

    def wake_if_full(self) -> None:
        """After each record, let the thread send now if a whole batch waits."""
        is_full = self._failures == 0 and self._spool.pending >= self._batch_size
        if is_full and self._wakes.empty():
            self._wakes.put(None)

    def begin_flush(self) -> Flush:
        """Send now what was taken before; the answer tells when it is done.

        A backoff ends early for it, but not a wait that the destination asked for.
        """
        met = self._met
        if met is not None and met.reason == "not_delivered":
            self._met = None  # it is tried again now, and may do better
        flush = Flush(self._spool, self)  # first: what is lost from now on, it tells
        self.start()
        self._not_before = min(self._not_before, self._asked_until)
        self._wakes.put(None)
        return flush

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed: then a wait at exit would be in vain."""
        return self._failures > 0

    def stop(self, timeout: float) -> None:
        """Let the thread end after its batch; wait at most `timeout` seconds."""
        self._is_stopping = True
        self._wakes.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, timeout))
        self._transport.close()

    def _run(self) -> None:
        while not self._is_stopping:
            self._guarded(self._round)
            if not self._is_stopping:
                self._wait()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except TelemetryError as error:
            self._met = error
        except BaseException as error:  # nobody's wish to stop is said in this thread
            self._fail(Retry(f"{type(error).__name__} in the sender"))
            with self._told_by_flush():
                ledger.fault(
                    "sender_failed",
                    f"the sender met a {type(error).__name__} at {place_of_error(error)}; "
                    "it keeps every record and tries again, please report this",
                    again_after=GUARD_SECONDS,
                )

    @contextlib.contextmanager
    def _told_by_flush(self) -> Iterator[None]:
        """Let a flush raise what strict mode raises: nobody could catch it here."""
        try:
            yield
        except TelemetryError as error:
            self._met = error

    @property
    def has_met_something(self) -> bool:
        """Whether strict mode has something to raise."""
        return self._met is not None

    def raise_what_was_met(self) -> None:
        """Raise, once, what strict mode would not have passed over. For a flush."""
        met, self._met = self._met, None
        if met is not None:
            raise met

    def _wait(self) -> None:
        """Wait for a whole batch, a flush or the interval; in a backoff, its end."""
        now = self._clock()
        wait = self._flush_interval
        if self._failures:
            wait = max(0.0, self._not_before - now)
        try:
            self._wakes.get(timeout=min(wait, _MAX_WAIT_SECONDS))
        except Empty:
            return
        while not self._wakes.empty():
            self._wakes.get()

    def _round(self) -> None:
        """Send batches until nothing waits, or an attempt failed."""
        # A sender of before may have closed the spool under this one.
        if self._clock() >= self._adopt_at or self._spool.has_left:
            self._adopt_at = self._clock() + _ADOPT_EVERY_SECONDS
            self._spool.adopt()
        while not self._is_stopping and self._clock() >= self._not_before:
            entries = self._spool.lease(self._batch_size, _MAX_BATCH_BYTES)
            if not entries:
                self._failures = 0  # what failed was let go, or others have it
                return
            if not self._send_leased(entries):
                return

    def _send_leased(self, entries: list[Entry]) -> bool:
        """Send each route's share of what was leased; whether all was settled."""
        by_route: dict[str, list[tuple[Entry, Record]]] = {}
        for entry in entries:
            record = _record_in(entry)
            if record is None:
                self._spool.settle_dropped([entry], "corrupt")
            else:
                route = self._transport.route_of(record)
                by_route.setdefault(route, []).append((entry, record))
        return all(self._send(route, batch) for route, batch in by_route.items())

    def _send(self, route: str, batch: list[tuple[Entry, Record]]) -> bool:
        """Send a batch, split where it is refused; whether all of it was settled."""
        outcome = self._transport.send(route, [record for _, record in batch])
        if isinstance(outcome, Delivered):
            self._succeed()
            self._spool.settle_delivered([entry for entry, _ in batch])
            return True
        if isinstance(outcome, Retry):
            self._fail(outcome)
            return False
        self._failures = 0  # it answers, and knows what it does not want
        if len(batch) == 1:
            self._reject(*batch[0], outcome.why)
            return True
        innocent = [one for at, one in enumerate(batch) if at not in outcome.guilty]
        if 0 < len(innocent) < len(batch):
            for at in sorted(outcome.guilty.intersection(range(len(batch)))):
                self._reject(*batch[at], outcome.why)
            return self._send(route, innocent)
        half = len(batch) // 2
        return self._send(route, batch[:half]) and self._send(route, batch[half:])

    def _reject(self, entry: Entry, record: Record, why: str) -> None:
        self._spool.settle_rejected(entry, why)
        ledger.say(
            "rejected",
            f"{self._label} refused a record ({why}), which is set aside; "
            "`trubrics-trace status` counts them",
        )
        if self._on_error is not None:
            with self._told_by_flush():
                attempt("on_error_failed", self._on_error, ValueError(why), [record])

    def _succeed(self) -> None:
        self._failures = 0
        self._not_before = 0.0
        self.last_error = None
        if self._met is not None and self._met.reason == "not_delivered":
            self._met = None

    def _fail(self, outcome: Retry) -> None:
        self._failures += 1
        self.retries += 1
        self.last_error = outcome.why
        if ledger.strict:
            self._met = TelemetryError("not_delivered", outcome.why)
        ceiling = min(
            _MAX_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** min(self._failures, 10)
        )
        now = self._clock()
        self._asked_until = now + outcome.after_seconds
        self._not_before = max(self._asked_until, now + self._jitter(0.0, ceiling))
        if outcome.is_refused_key:
            ledger.say(
                f"refused_key {self._label}",
                f"Trubrics refuses the credentials of {self._label} ({outcome.why}); "
                "set those that it accepts, every record is kept for them",
            )


class Flush:
    """What was taken before a moment, on its way; asked until it has arrived."""

    def __init__(self, spool: Spool, sender: Sender) -> None:
        self._spool = spool
        self._sender = sender
        self._before = spool.stats()

    @property
    def is_done(self) -> bool:
        """Whether everything taken before, or adopted since, waits no more."""
        if self._sender.has_met_something:
            return True
        return self._before.accepted + self._spool.adopted <= self._spool.settled

    def report(self) -> FlushReport:
        """Return how it stands now."""
        self._sender.raise_what_was_met()
        is_done, after = self.is_done, self._spool.stats()
        return FlushReport(
            complete=is_done and _lost(after) == _lost(self._before),
            delivered=after.delivered - self._before.delivered,
            pending=after.pending,
            last_error=self._sender.last_error,
        )


def _lost(stats: Stats) -> int:
    return sum(stats.rejected.values()) + sum(stats.dropped.values())


def _record_in(entry: Entry) -> Record | None:
    try:
        return record_from_dict(json.loads(entry.line))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
