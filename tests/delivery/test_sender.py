"""The one thread that carries batches: when it sends, waits, splits and gives up."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.parts import Clock, Transport, die, line, spool_in, wait_until
from tests.delivery.test_backoff import no_jitter, whole_jitter
from trubrics_trace import EventRecord, Record, configure, stats
from trubrics_trace._frozen import FrozenDict
from trubrics_trace._stats import FlushReport
from trubrics_trace.delivery._aside import read_aside
from trubrics_trace.delivery._backoff import Backoff
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._flushes import Flush
from trubrics_trace.delivery._sender import Sender
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.delivery._transport import Delivered, Outcome, Rejected, Retry
from trubrics_trace.errors import TelemetryError
from trubrics_trace.pipeline._line import line_of

NEVER_SECONDS = 3600.0

MakeSender = Callable[..., Sender]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """Return a spool that ends with the test."""
    made = spool_in(tmp_path / "destination")
    yield made
    made.close()


@pytest.fixture
def sender_of(spool: Spool) -> Iterator[MakeSender]:
    """Make senders that send when they are told to, and end with the test."""
    made: list[Sender] = []

    def make(transport: Transport, **options: Any) -> Sender:
        chosen = {"flush_interval": NEVER_SECONDS, "batch_size": 100, **options}
        chosen.setdefault("backoff", Backoff(jitter=no_jitter))
        made.append(Sender(spool, transport, label="test", **chosen))
        return made[-1]

    yield make
    for sender in made:
        sender.stop(5.0)


def fill(spool: Spool, count: int) -> None:
    """Spool so many records."""
    for number in range(count):
        spool.put(line(number))


def flushed(sender: Sender) -> FlushReport:
    """Flush, and wait until it is done."""
    flush = Flush(sender)
    wait_until(lambda: flush.is_over)
    return flush.report()


def refusing(guilty: set[str], *, is_told: bool) -> Callable[[Sequence[Record]], Outcome]:
    """Return a destination's verdict: it refuses these records, and tells which or not."""

    def verdict(records: Sequence[Record]) -> Outcome:
        found = {at for at, one in enumerate(records) if one.record_id in guilty}
        if not found:
            return Delivered()
        return Rejected("HTTP 422", frozenset(found if is_told else ()))

    return verdict


def test_batches_are_full(spool: Spool, sender_of: MakeSender) -> None:
    """Records leave in batches that are as full as they may be, oldest first."""
    transport = Transport()
    fill(spool, 250)
    assert flushed(sender_of(transport)).complete
    assert [100, 100, 50] == [len(batch) for batch in transport.batches]
    assert transport.sent == [str(number) for number in range(250)]


def test_batch_is_bounded_by_the_transport(spool: Spool, sender_of: MakeSender) -> None:
    """No batch is larger than the transport allows."""
    transport = Transport()
    transport.max_batch = 2
    fill(spool, 3)
    flushed(sender_of(transport))
    assert [["0", "1"], ["2"]] == transport.batches


def test_batch_is_bounded_in_bytes(spool: Spool, sender_of: MakeSender) -> None:
    """A batch holds at most a million bytes of records, or one record."""
    transport = Transport()
    for number in range(3):
        spool.put(line(number, prompt="x" * 600_000))
    flushed(sender_of(transport))
    assert [["0"], ["1"], ["2"]] == transport.batches


def test_each_address_has_its_batch(spool: Spool, sender_of: MakeSender) -> None:
    """What goes to different addresses leaves in different batches, and none is empty."""
    transport = Transport()
    spool.put(line("prompt"))
    spool.put(line_of(EventRecord(record_id="event", event_name="Signed up")))
    flushed(sender_of(transport))
    assert {
        "prompt": ["prompt"],
        "event": ["event"],
    } == dict(zip(transport.routes, transport.batches, strict=True))


def test_whole_batch_is_sent_at_once(spool: Spool, sender_of: MakeSender) -> None:
    """A whole batch is sent when it is there, without waiting for the interval."""
    transport = Transport()
    sender = sender_of(transport, batch_size=5)
    sender.start()
    for number in range(9):  # the thread may begin with the first few of them
        spool.put(line(number))
        sender.wake_if_due()
    wait_until(lambda: spool.stats().delivered >= 5)


def test_interval(spool: Spool, sender_of: MakeSender) -> None:
    """A batch that is not full is sent when the interval is over."""
    transport = Transport()
    sender_of(transport, flush_interval=0.01).start()
    spool.put(line(0))
    wait_until(lambda: spool.stats().delivered == 1)


def test_named_records_are_rejected(spool: Spool, sender_of: MakeSender) -> None:
    """Records that the destination names are rejected; the rest goes in one request."""
    transport = Transport(verdict=refusing({"3", "7"}, is_told=True))
    fill(spool, 10)
    report = flushed(sender_of(transport))
    assert [10, 8] == [len(batch) for batch in transport.batches]
    assert {"HTTP 422": 2} == spool.stats().rejected
    assert (False, 8) == (report.complete, report.delivered)


def test_rejected_record_reaches_the_app(
    spool: Spool, sender_of: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """`on_error` is given the refused record, frozen, and people are told once."""
    seen: list[tuple[str, list[str]]] = []

    def on_error(error: BaseException, records: list[Record]) -> None:
        assert [FrozenDict] == [type(record.metadata) for record in records]
        seen.append((str(error), [record.record_id for record in records]))

    fill(spool, 3)
    transport = Transport(verdict=refusing({"0", "2"}, is_told=True))
    flushed(sender_of(transport, on_error=on_error))
    wait_until(lambda: len(seen) == 2)
    assert [("HTTP 422", ["0"]), ("HTTP 422", ["2"])] == seen
    assert 1 == len([said for said in caplog.messages if "set aside" in said])


def test_on_error_that_raises(spool: Spool, sender_of: MakeSender) -> None:
    """An `on_error` that raises costs no record, and the thread goes on."""

    def on_error(error: BaseException, records: list[Record]) -> None:
        raise LookupError

    fill(spool, 3)
    transport = Transport(verdict=refusing({"1"}, is_told=True))
    flushed(sender_of(transport, on_error=on_error))
    assert (2, {"HTTP 422": 1}) == (spool.stats().delivered, spool.stats().rejected)


def test_transport_that_raises(
    spool: Spool, sender_of: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """A transport that raises is counted and said once; no record is lost by it."""
    before = stats().noticed.get("sender_failed", 0)
    fill(spool, 2)
    transport = Transport([LookupError("secret"), LookupError("secret")])
    assert flushed(sender_of(transport)).complete
    assert stats().noticed["sender_failed"] == before + 2
    assert 1 == len([said for said in caplog.messages if "LookupError" in said])
    assert "secret" not in caplog.text


def test_what_dead_processes_left_is_sent(
    spool: Spool, sender_of: MakeSender, tmp_path: Path
) -> None:
    """The sender first adopts what dead processes left, and sends it."""
    dead = spool_in(tmp_path / "destination")
    dead.put(line("left behind"))
    die(dead)
    transport = Transport()
    sender_of(transport).start()
    wait_until(lambda: spool.stats().delivered == 1)
    assert ["left behind"] == transport.sent


def test_stop_ends_the_thread(spool: Spool, sender_of: MakeSender) -> None:
    """A stopped sender has no thread, and its transport is closed."""
    transport = Transport()
    before = threading.active_count()
    sender = sender_of(transport)
    fill(spool, 1)
    flushed(sender)
    sender.stop(5.0)
    assert threading.active_count() == before
    assert not transport.is_open


def test_stopped_sender_stays_so(spool: Spool, sender_of: MakeSender) -> None:
    """A stopped sender does not start again: the spool may have another by now."""
    sender = sender_of(Transport())
    sender.start()
    sender.stop(5.0)
    before = threading.active_count()
    sender.start()
    assert threading.active_count() == before


def test_fault_of_strict_mode(spool: Spool, sender_of: MakeSender) -> None:
    """What strict mode raises in the thread, the next flush raises; the thread goes on."""
    fill(spool, 2)
    sender = sender_of(Transport([TelemetryError("planted")]))
    with pytest.raises(TelemetryError, match="planted"):
        flushed(sender)
    assert flushed(sender).complete


def test_nobody_ends_the_thread(spool: Spool, sender_of: MakeSender) -> None:
    """Who exits in the sender's thread, as a callback may, does not end it."""
    fill(spool, 1)
    sender = sender_of(Transport([SystemExit()]))
    assert flushed(sender).complete
    assert 1 == stats().noticed["sender_failed"]


def test_one_thread_for_many_callers(spool: Spool, sender_of: MakeSender) -> None:
    """However many threads start the sender at once, it has one thread, with a name."""
    sender = sender_of(Transport())
    callers = [threading.Thread(target=sender.start) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    names = [thread.name for thread in threading.enumerate()]
    assert 1 == names.count("trubrics-trace test")


def test_partial_batch_waits_for_full_ones(spool: Spool, sender_of: MakeSender) -> None:
    """A batch that is not full is not sent while there is a full one before it."""
    transport = Transport()
    fill(spool, 5)
    transport.gate.clear()
    flush = Flush(sender_of(transport, batch_size=4))
    wait_until(lambda: transport.batches)
    for number in (5, 6, 7):
        spool.put(line(number))
    transport.gate.set()
    wait_until(lambda: flush.is_done)
    assert [["0", "1", "2", "3"], ["4", "5", "6", "7"]] == transport.batches


def test_two_addresses_with_full_batches(spool: Spool, sender_of: MakeSender) -> None:
    """Where the records of two addresses alternate, each has batches that are full."""
    transport = Transport()
    for number in range(12):
        spool.put(line(f"prompt {number}"))
        spool.put(line_of(EventRecord(record_id=f"event {number}", event_name="Clicked")))
    assert flushed(sender_of(transport, batch_size=4)).complete
    assert [4] * 6 == [len(batch) for batch in transport.batches]
    assert ["prompt"] * 3 + ["event"] * 3 == sorted(transport.routes, reverse=True)
    assert 24 == len(set(transport.sent))


def test_two_senders_share_nothing(spool: Spool, sender_of: MakeSender) -> None:
    """Two senders on one spool never have the same record under way, and send each once."""
    under_way: set[str] = set()
    clashes: list[str] = []
    rhythm = threading.Event()  # never set

    def verdict(records: Sequence[Record]) -> Outcome:
        ids = {record.record_id for record in records}
        clashes.extend(under_way & ids)
        under_way.update(ids)
        rhythm.wait(0.002)
        under_way.difference_update(ids)
        return Delivered()

    transports = [Transport(verdict=verdict) for _ in range(2)]
    senders = [sender_of(transport, batch_size=5) for transport in transports]
    fill(spool, 100)
    flushes = [Flush(sender) for sender in senders]
    wait_until(lambda: all(flush.is_done for flush in flushes))
    assert [] == clashes
    sent = transports[0].sent + transports[1].sent
    assert sorted(map(str, range(100))) == sorted(sent)


def test_sender_waits_for_another(spool: Spool, sender_of: MakeSender) -> None:
    """While one sender has a batch on its way another sends nothing, and then the rest."""
    first, second = Transport(), Transport()
    first.gate.clear()
    fill(spool, 2)
    ending = sender_of(first)
    ending.start()
    wait_until(lambda: first.batches)
    spool.put(line("later"))
    flush = Flush(sender_of(second))
    ending.stop(0.0)
    assert [] == second.batches
    first.gate.set()
    wait_until(lambda: flush.is_done)
    assert (["0", "1"], ["later"]) == (first.sent, second.sent)
    assert (3, 0) == (spool.stats().delivered, spool.stats().pending)


def test_failed_batch_is_sent_again(spool: Spool, sender_of: MakeSender) -> None:
    """A batch without a clear answer is sent again, as it was, before any other."""
    transport = Transport([Retry("HTTP 503")])
    fill(spool, 3)
    flushed(sender_of(transport, batch_size=2))
    assert [["0", "1"], ["0", "1"], ["2"]] == transport.batches


def test_short_backoff_is_not_an_interval(spool: Spool, sender_of: MakeSender) -> None:
    """After a failure the backoff alone decides when to try again, not the interval."""
    fill(spool, 1)
    sender_of(Transport([Retry("HTTP 503")])).start()
    wait_until(lambda: spool.stats().delivered == 1)


def test_flush_ends_a_backoff(spool: Spool, sender_of: MakeSender) -> None:
    """A flush does not wait for the end of a backoff."""
    backoff = Backoff(Clock(), whole_jitter)
    fill(spool, 1)
    sender = sender_of(Transport([Retry("HTTP 500")]), backoff=backoff)
    sender.start()
    wait_until(lambda: backoff.failures == 1)
    assert flushed(sender).complete


def test_whole_batch_does_not_end_a_backoff(spool: Spool, sender_of: MakeSender) -> None:
    """Records that come in a backoff fill no batch that would be sent before its end."""
    clock = Clock()
    backoff = Backoff(clock, whole_jitter)
    transport = Transport([Retry("HTTP 500")])
    fill(spool, 1)
    sender = sender_of(transport, backoff=backoff, clock=clock, batch_size=2)
    sender.start()
    wait_until(lambda: backoff.failures == 1)
    for number in range(10):
        spool.put(line(f"later {number}"))
        sender.wake_if_due()
    assert [["0"]] == transport.batches


def test_retry_after_is_a_minimum(spool: Spool, sender_of: MakeSender) -> None:
    """Nothing is sent before the destination's own wait is over, not even by a flush."""
    clock = Clock()
    backoff = Backoff(clock, no_jitter)
    transport = Transport([Retry("HTTP 429", 20.0)], clock=clock)
    fill(spool, 1)
    sender = sender_of(transport, clock=clock, backoff=backoff)
    sender.start()
    wait_until(lambda: backoff.failures == 1)
    for passed in (10.0, 9.9, 0.1):
        clock.now += passed
        asked = clock.asked
        flush = Flush(sender)
        wait_until(lambda asked=asked: clock.asked >= asked + 2)  # type: ignore[misc]
    wait_until(lambda: flush.is_done)
    assert [1000.0, 1020.0] == transport.times


def test_refused_key_is_tried_once_a_minute(
    spool: Spool, sender_of: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused key loses nothing, is said once, and is delivered with once accepted."""
    clock = Clock()
    backoff = Backoff(clock, no_jitter)
    refused = Retry("HTTP 401", 60.0, is_refused_key=True)
    transport = Transport([refused] * 3, clock=clock)
    fill(spool, 2)
    sender = sender_of(transport, clock=clock, backoff=backoff)
    sender.start()
    for minute in range(1, 4):
        wait_until(lambda minute=minute: backoff.failures == minute)  # type: ignore[misc]
        clock.now += 60.0
        flush = Flush(sender)
    wait_until(lambda: flush.is_done)
    assert [1000.0, 1060.0, 1120.0, 1180.0] == transport.times
    assert 2 == spool.stats().delivered
    said = [message for message in caplog.messages if "refuses the credentials" in message]
    assert 1 == len(said)


def test_failing(spool: Spool, sender_of: MakeSender) -> None:
    """After a failed attempt the sender is failing, with its error; after a success not."""
    fill(spool, 1)
    backoff = Backoff(Clock(), whole_jitter)
    sender = sender_of(Transport([Retry("HTTP 500")]), backoff=backoff)
    sender.start()
    wait_until(lambda: backoff.failures == 1)
    assert (True, "HTTP 500") == (sender.is_failing, sender.last_error)
    flushed(sender)
    assert (False, None) == (sender.is_failing, sender.last_error)


def test_nothing_left_to_fail(spool: Spool, sender_of: MakeSender) -> None:
    """Where what failed is there no more, the sender fails no more."""
    fill(spool, 1)
    backoff = Backoff(Clock(), whole_jitter)
    sender = sender_of(Transport([Retry("HTTP 500")]), backoff=backoff)
    sender.start()
    wait_until(lambda: backoff.failures == 1)
    with spool.lease(1, 1) as entries:
        assert entries is not None
        spool.settle_delivered(entries)
    sender.hurry()
    wait_until(lambda: not sender.is_failing)
    assert sender.last_error is None


def test_unnamed_record_is_found(spool: Spool, sender_of: MakeSender) -> None:
    """A record that is refused without being named is found soon, and it alone."""
    transport = Transport(verdict=refusing({"61"}, is_told=False))
    fill(spool, 100)
    flushed(sender_of(transport))
    now = spool.stats()
    assert (99, {"HTTP 422": 1}) == (now.delivered, now.rejected)
    assert len(transport.batches) <= 1 + 8


def test_refusal_that_may_be_the_senders(spool: Spool, sender_of: MakeSender) -> None:
    """What refuses everything condemns nothing: it is tried again, when the time comes."""
    clock = Clock()
    backoff = Backoff(clock, whole_jitter)
    uncertain = Rejected("HTTP 400", is_certain=False)
    is_refusing = True
    transport = Transport(verdict=lambda _: uncertain if is_refusing else Delivered())
    fill(spool, 10)
    sender = sender_of(transport, backoff=backoff, clock=clock)
    sender.start()
    wait_until(lambda: backoff.failures == 1)
    assert ("HTTP 400", {}, 10) == (
        sender.last_error,
        spool.stats().rejected,
        spool.stats().pending,
    )
    is_refusing = False
    assert flushed(sender).complete
    assert 10 == spool.stats().delivered


def test_batch_that_is_too_large(spool: Spool, sender_of: MakeSender) -> None:
    """After a batch that was too large, those that follow are half as large."""

    def verdict(records: Sequence[Record]) -> Outcome:
        is_large = len(records) > 50
        return Rejected("HTTP 413", is_size=True) if is_large else Delivered()

    transport = Transport(verdict=verdict)
    for number in range(100, 500):
        spool.put(line(number, prompt="x" * 5_000))
    assert flushed(sender_of(transport)).complete
    sizes = [len(batch) for batch in transport.batches]
    assert [100, 50, 50] == sizes[:3]
    assert sizes.count(100) <= 2  # that one, and what was leased with it
    assert 400 == sum(size for size in sizes if size < 100)


@pytest.mark.parametrize(
    "corrupt",
    [
        b"no json\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"null\n",
        b'{"kind":"unknown","record_id":"1"}\n',
        b'{"kind":["prompt"],"record_id":"1"}\n',
        b'{"kind":"prompt"}\n',
        b"[" * 100_000 + b"\n",
        b"\n",
    ],
)
def test_corrupt_line(
    spool: Spool, sender_of: MakeSender, tmp_path: Path, corrupt: bytes
) -> None:
    """A line that is no record is set aside as corrupt, and is in nobody's way."""
    fill(spool, 1)
    spool.put(corrupt)
    spool.put(line(2))
    transport = Transport()
    report = flushed(sender_of(transport))
    assert ["0", "2"] == transport.sent
    assert {"corrupt": 1} == spool.stats().rejected
    assert (False, 2) == (report.complete, report.delivered)
    [aside] = read_aside(tmp_path / "destination")
    assert ("corrupt", corrupt) == (aside.reason, aside.line)


@pytest.mark.parametrize("garbage", [b"\0" * 4096, b"\xff" * 10, line("cut short")[:60]])
def test_record_behind_garbage(spool: Spool, sender_of: MakeSender, garbage: bytes) -> None:
    """Where the end of a line was lost, the whole record behind it is still delivered."""
    transport = Transport()
    spool.put(garbage + line("whole", prompt="café"))
    assert flushed(sender_of(transport)).complete
    assert ["whole"] == transport.sent


def test_spool_that_was_closed_meanwhile(spool: Spool, sender_of: MakeSender) -> None:
    """Where the spool was closed under a sender, what that left is still sent."""
    fill(spool, 2)
    backoff = Backoff(Clock(), whole_jitter)
    sender = sender_of(Transport([Retry("HTTP 503")]), backoff=backoff, clock=Clock())
    sender.start()
    wait_until(lambda: backoff.failures == 1)
    spool.close()
    assert flushed(sender).complete
    assert (2, 0) == (spool.stats().delivered, spool.stats().pending)


def test_stop_does_not_wait_beyond_its_time(spool: Spool, sender_of: MakeSender) -> None:
    """Stopping waits for the batch in flight, but no longer than it is given."""
    transport = Transport()
    transport.gate.clear()
    fill(spool, 1)
    sender = sender_of(transport)
    sender.start()
    wait_until(lambda: transport.batches)
    sender.stop(0.0)
    assert 1 == spool.stats().pending
    transport.gate.set()
    wait_until(lambda: spool.stats().delivered == 1)


def test_stop_ends_a_trial(spool: Spool, sender_of: MakeSender) -> None:
    """A sender that is stopped while it looks for who is guilty asks no more."""
    transport = Transport(verdict=refusing({"3"}, is_told=False))
    transport.gate.clear()
    fill(spool, 8)
    sender = sender_of(transport)
    sender.start()
    wait_until(lambda: transport.batches)
    sender.stop(0.0)
    transport.gate.set()
    wait_until(lambda: not sender.is_running)
    now = spool.stats()
    assert (1, 8, {}) == (len(transport.batches), now.pending, now.rejected)


def test_stopped_before_it_began(sender_of: MakeSender) -> None:
    """A sender that never started is stopped, and its transport is closed."""
    transport = Transport()
    sender_of(transport).stop(5.0)
    assert not transport.is_open


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_dies(spool: Spool, sender_of: MakeSender) -> None:
    """A thread that dies while it waits is replaced when it is started for a record."""
    transport = Transport()
    sender = sender_of(transport)
    fill(spool, 1)
    flushed(sender)
    kill(sender)
    spool.put(line("after"))
    sender.start()
    wait_until(lambda: transport.sent == ["0", "after"])
    assert sender.is_running


def kill(sender: Sender) -> None:
    """End a sender's thread as no code of its own would."""
    thread = sender._thread
    assert thread is not None
    ident = ctypes.c_ulong(thread.ident or 0)
    while sender.is_running:
        failed = failures_of_senders()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
        sender._wakes.put(None)
        # Once more, if it came within a round, whose guard lives on.
        wait_until(lambda: not thread.is_alive() or failures_of_senders() > failed)  # noqa: B023


def failures_of_senders() -> int:
    """Return how often a sender's guard has met something."""
    return stats().noticed.get("sender_failed", 0)


def test_no_thread_can_start(
    spool: Spool, sender_of: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no thread can start, records stay, that is said once, and it is tried again."""
    sender = sender_of(Transport())
    fill(spool, 1)
    with no_threads():
        for _ in range(2):
            sender.start()
    assert (True, False, 1) == (sender.has_no_thread, sender.is_running, spool.pending)
    assert 1 == len([said for said in caplog.messages if "no thread can start" in said])
    assert flushed(sender).complete
    assert not sender.has_no_thread


@contextmanager
def no_threads() -> Iterator[None]:
    """Let no thread start in the block: none has that much of an address space."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_flush_tries_anew_in_strict_mode(spool: Spool, sender_of: MakeSender) -> None:
    """What failed before a flush is tried again by it, and not raised where it arrives."""
    configure(strict=True)
    fill(spool, 1)
    backoff = Backoff(Clock(), whole_jitter)
    sender = sender_of(Transport([Retry("HTTP 503")]), backoff=backoff)
    sender.start()
    wait_until(lambda: sender.has_met_something)
    assert flushed(sender).complete


def test_failure_that_is_over_in_strict_mode(spool: Spool, sender_of: MakeSender) -> None:
    """What failed and then arrived by itself is not raised any more."""
    configure(strict=True)
    fill(spool, 1)
    sender = sender_of(Transport([Retry("HTTP 503")]))
    sender.start()
    wait_until(lambda: spool.stats().delivered == 1)
    wait_until(lambda: not sender.has_met_something)


def test_on_error_that_raises_in_strict_mode(spool: Spool, sender_of: MakeSender) -> None:
    """What `on_error` raises in strict mode, a flush raises; nothing is sent twice."""
    configure(strict=True)

    def on_error(error: BaseException, records: list[Record]) -> None:
        raise LookupError

    fill(spool, 3)
    transport = Transport(verdict=refusing({"1"}, is_told=True))
    with pytest.raises(TelemetryError, match="LookupError"):
        flushed(sender_of(transport, on_error=on_error))
    wait_until(lambda: spool.stats().delivered == 2)
    assert [["0", "1", "2"], ["0", "2"]] == transport.batches


def test_command_line_is_told(spool: Spool, sender_of: MakeSender, tmp_path: Path) -> None:
    """What a sender last met, and how often, stands where `status` reads it."""
    fill(spool, 1)
    backoff = Backoff(Clock(), whole_jitter)
    sender = sender_of(Transport([Retry("HTTP 503")]), backoff=backoff)
    sender.start()

    def told() -> list[tuple[object, object]]:
        [census] = take_census(tmp_path)
        return [(one.get("retries"), one.get("last_error")) for one in census.processes]

    wait_until(lambda: backoff.failures == 1)
    wait_until(lambda: told() == [(1, "HTTP 503")])
    assert flushed(sender)
    wait_until(lambda: told() == [(1, None)])


def test_batch_that_filled_meanwhile(spool: Spool, sender_of: MakeSender) -> None:
    """A whole batch that came while another was on its way is sent without being told."""
    transport = Transport()
    transport.gate.clear()
    fill(spool, 2)
    sender_of(transport, batch_size=2).start()
    wait_until(lambda: transport.batches)
    for number in (2, 3):
        spool.put(line(number))
    transport.gate.set()
    wait_until(lambda: transport.sent == ["0", "1", "2", "3"])


def test_more_to_adopt_than_at_once(
    spool: Spool, sender_of: MakeSender, tmp_path: Path
) -> None:
    """What many dead processes left is sent by one flush, without an interval."""
    for number in range(150):
        other = spool_in(tmp_path / "destination")
        other.put(line(number))
        die(other)
    transport = Transport()
    assert 64 == spool.adopt()
    assert flushed(sender_of(transport)).complete
    assert 150 == len(set(transport.sent))


def test_start_in_the_middle_of_a_start(spool: Spool, sender_of: MakeSender) -> None:
    """A signal's handler may flush in the middle of a start: one thread comes of it."""
    at = calls = 0
    while calls >= at:
        at, calls = at + 1, 0
        sender = sender_of(Transport())

        def come_between(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")
            if event in ("call", "c_call") and calls == at:  # noqa: B023
                sender.hurry()  # noqa: B023

        before = threading.active_count()
        sys.setprofile(come_between)
        sender.start()
        sys.setprofile(None)
        assert (True, before + 1) == (sender.is_running, threading.active_count())
        sender.stop(30.0)
    assert at > 10
