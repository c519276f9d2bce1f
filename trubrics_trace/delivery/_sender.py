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
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from .. import _clock
from .._ledger import GUARD_SECONDS, ledger
from .._notices import place_of_error
from .._record import record_from_line, record_to_send
from .._settings import OnError
from .._threads import start_thread
from ..errors import TelemetryError
from ..pipeline._guard import attempt
from ._backoff import Backoff
from ._batches import Sent, batches_of
from ._erased import read_erased
from ._segment import Entry
from ._spool import Spool
from ._transport import THREAD_NAME, Delivered, Outcome, Rejected, Retry, Transport
from ._trial import Trial

_MAX_BATCH_BYTES = 1_000_000  # nginx's default limit of a body is 1 MiB
_LEAST_BATCH_BYTES = 65_536
_ADOPT_EVERY_SECONDS = 30.0
_SYNC_EVERY_SECONDS = 5.0
_POLL_SECONDS = 0.05  # while another has a batch on its way, or there is more to adopt
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
        backoff: Backoff | None = None,
        clock: Callable[[], float] = _clock.monotonic,
    ) -> None:
        self.spool = spool
        self._transport = transport
        self._label = label
        self._flush_interval = flush_interval
        self._batch_size = min(batch_size, transport.max_batch)
        self._batch_bytes = _MAX_BATCH_BYTES
        self._on_error = on_error
        self._backoff = backoff or Backoff(clock)
        self._clock = clock
        self._wakes: SimpleQueue[None] = SimpleQueue()  # reentrant: safe in a collection
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_stopping = False
        self._adopt_at = self._sync_at = 0.0
        self.has_no_thread = False
        self._met: TelemetryError | None = None
        self._said: dict[str, object] = {}
        self._has_found_nothing = False  # though something is counted: a disk that fails

    def start(self) -> None:
        """Start the thread unless it runs; if none can, records stay on disk.

        One that was stopped stays so: the spool may have another sender by now.
        """
        # Not waited for: a signal handler may flush in the middle of it.
        if self.is_running or not self._starting.acquire(blocking=False):
            return
        try:
            if not (self._is_stopping or self.is_running):
                name = f"{THREAD_NAME} {self._label}"
                self._thread = start_thread(self._run, name=name)
                self.has_no_thread = False
        except RuntimeError:  # the interpreter is ending, or has no threads
            self.has_no_thread = True
            ledger.say(
                "no_thread",
                "no thread can start here, so records stay on disk; the next "
                "process sends them, or `trubrics-trace flush`",
            )
        finally:
            self._starting.release()

    @property
    def is_running(self) -> bool:
        """Whether its thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def wake_if_due(self) -> None:
        """After each record, let the thread send now if a whole batch waits."""
        is_due = (self._is_full and not self.is_failing) or self.spool.wants_tending
        if is_due and self._wakes.empty():
            self._wakes.put(None)

    def hurry(self) -> None:
        """Send now what waits: for a flush.

        A backoff ends early for it, but not a wait that the destination asked for.
        """
        self._forget_failure()  # it is tried again now, and may do better
        self._backoff.hurry()
        self.start()
        self._wakes.put(None)

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed: then a wait at exit would be in vain."""
        return self._backoff.failures > 0

    @property
    def last_error(self) -> str | None:
        """What the last attempt met; None after a success."""
        return self._backoff.last_error

    @property
    def _is_full(self) -> bool:
        return self.spool.waiting >= self._batch_size

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
        wait = self._backoff.seconds_left if self.is_failing else self._flush_interval
        if self.spool.is_leased or (self.spool.has_left and not self.is_failing):
            wait = _POLL_SECONDS
        elif self._is_full and not (self.is_failing or self._has_found_nothing):
            return
        with contextlib.suppress(Empty):
            self._wakes.get(timeout=min(wait, _MAX_WAIT_SECONDS))
            while True:
                self._wakes.get_nowait()

    def _round(self) -> None:
        """Send what waits now; what comes meanwhile waits until it fills a batch."""
        # A sender of before may have closed the spool under this one.
        if self._clock() >= self._adopt_at or self.spool.has_left:
            self.spool.adopt()
        if self._clock() >= self._adopt_at:
            self._adopt_at = self._clock() + _ADOPT_EVERY_SECONDS
            self.spool.tidy()
        self.spool.tend()
        if self._clock() >= self._sync_at:
            self._sync_at = self._clock() + _SYNC_EVERY_SECONDS
            self.spool.sync()
        mark = self.spool.mark()
        while not (self._is_stopping or self._backoff.seconds_left):
            # Twice what fits: prompts and events go to two addresses, in batches as full
            # as can be.
            lease = self.spool.lease(2 * self._batch_size, 2 * self._batch_bytes)
            with lease as entries:
                self._has_found_nothing = entries == []
                if self._has_found_nothing:
                    self._backoff.succeed()  # what failed was let go, or others have it
                if not entries or not self._send_leased(entries):
                    break
            if self.spool.is_past(mark):
                break
        self._say_how_it_goes()

    def _send_leased(self, entries: list[Entry]) -> bool:
        """Send what was leased, in batches by route; whether all were settled."""
        by_route: dict[str, list[Sent]] = {}
        erased = read_erased(self.spool.directory)
        for entry in entries:
            record = record_to_send(entry.line)
            if erased.takes(entry, record):
                self.spool.settle_erased(entry)
            elif record is None:
                self.spool.settle_rejected(entry, "corrupt")
            else:
                route = self._transport.route_of(record)
                by_route.setdefault(route, []).append((entry, record))
        return all(
            self._send(route, batch)
            for route, sent in by_route.items()
            for batch in batches_of(sent, self._batch_size, self._batch_bytes)
        )

    def _send(self, route: str, batch: Sequence[Sent]) -> bool:
        """Send a batch, judged where it is refused; whether all of it was settled."""
        outcome = self._ask(route, batch)
        if not isinstance(outcome, Rejected):
            return isinstance(outcome, Delivered)
        if outcome.is_size and len(batch) > 1:
            size = sum(len(entry.line) for entry, _ in batch)
            self._batch_bytes = max(_LEAST_BATCH_BYTES, size // 2)
        trial = Trial[Sent](functools.partial(self._ask, route), self._reject)
        is_settled = trial.judge(batch, outcome)
        if trial.is_undecided:
            self._fail(Retry(outcome.why))
        return is_settled

    def _ask(self, route: str, batch: Sequence[Sent]) -> Outcome:
        """Send a batch, and settle it if it was delivered."""
        if self._is_stopping:  # another sender may go on where this one ends
            return Retry("the sender was stopped")
        outcome = self._transport.send(route, [record for _, record in batch])
        if isinstance(outcome, Retry):
            self._fail(outcome)
        elif isinstance(outcome, Delivered):
            self._succeed()
            self.spool.settle_delivered([entry for entry, _ in batch])
        elif outcome.is_certain:
            self._backoff.succeed()  # it answers, and knows what it does not want
        return outcome

    def _reject(self, sent: Sent, why: str) -> None:
        entry, record = sent
        self.spool.settle_rejected(entry, why)
        ledger.say(
            "rejected",
            f"{self._label} refused a record ({why}), which is set aside; "
            "`trubrics-trace rejected list` shows it",
        )
        if self._on_error is not None:
            with self._told_by_flush():
                refused = [record_from_line(entry.line) or record]  # what is frozen
                attempt("on_error_failed", self._on_error, ValueError(why), refused)

    def _succeed(self) -> None:
        self._backoff.succeed()
        self._forget_failure()

    def _forget_failure(self) -> None:
        met = self._met
        if met is not None and met.reason == "not_delivered":
            self._met = None

    def _fail(self, outcome: Retry) -> None:
        self._backoff.fail(
            outcome.why,
            outcome.after_seconds,
            is_refused=outcome.is_refused_key,
            is_heard=outcome.is_heard,
        )
        if ledger.strict:
            self._met = TelemetryError("not_delivered", outcome.why)
        if outcome.is_refused_key:
            ledger.say(
                f"refused_key {self._label}",
                f"Trubrics refuses the credentials of {self._label} ({outcome.why}); "
                "set those that it accepts, every record is kept for them",
            )

    def _say_how_it_goes(self) -> None:
        """Tell the command line, where there is something new."""
        said: dict[str, object] = {
            "retries": self._backoff.retries,
            "last_error": self._backoff.last_error,
            "skipped": ledger.counts("skipped"),
        }
        if said != self._said:
            self._said = said
            self.spool.say(**said)
