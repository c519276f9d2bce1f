"""The one thread that carries batches: when it sends, waits, splits and gives up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.parts import Clock, Transport, line, spool_in, wait_until
from trubrics_trace import EventRecord, Record, configure, stats
from trubrics_trace._stats import FlushReport
from trubrics_trace.delivery._sender import Sender
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.delivery._transport import Delivered, Outcome, Rejected, Retry
from trubrics_trace.errors import TelemetryError
from trubrics_trace.pipeline._pipeline import line_of

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
        made.append(Sender(spool, transport, label="test", **chosen))
        return made[-1]

    yield make
    for sender in made:
        sender.stop(5.0)


def no_jitter(lowest: float, highest: float) -> float:
    """Return the shortest of the waits that are allowed: none."""
    return lowest


def whole_jitter(lowest: float, highest: float) -> float:
    """Return the longest of the waits that are allowed."""
    return highest


def fill(spool: Spool, count: int) -> None:
    """Spool so many records."""
    for number in range(count):
        spool.put(line(number))


def flushed(sender: Sender) -> FlushReport:
    """Flush, and wait until it is done."""
    flush = sender.begin_flush()
    wait_until(lambda: flush.is_done)
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


def test_nothing_is_sent_of_nothing(sender_of: MakeSender) -> None:
    """Where nothing waits a flush is done, and no request is made."""
    transport = Transport()
    assert flushed(sender_of(transport)) == FlushReport(
        complete=True, delivered=0, pending=0
    )
    assert [] == transport.batches


def test_whole_batch_is_sent_at_once(spool: Spool, sender_of: MakeSender) -> None:
    """A whole batch is sent when it is there, without waiting for the interval."""
    transport = Transport()
    sender = sender_of(transport, batch_size=5)
    sender.start()
    for number in range(9):  # the thread may begin with the first few of them
        spool.put(line(number))
        sender.wake_if_full()
    wait_until(lambda: spool.stats().delivered >= 5)


def test_interval(spool: Spool, sender_of: MakeSender) -> None:
    """A batch that is not full is sent when the interval is over."""
    transport = Transport()
    sender_of(transport, flush_interval=0.01).start()
    spool.put(line(0))
    wait_until(lambda: spool.stats().delivered == 1)


def test_backoff_doubles_up_to_a_minute(spool: Spool, sender_of: MakeSender) -> None:
    """The ceiling of the wait doubles with each failure, up to a minute."""
    ceilings: list[float] = []

    def jitter(lowest: float, highest: float) -> float:
        ceilings.append(highest)
        return lowest

    fill(spool, 1)
    sender = sender_of(Transport([Retry("HTTP 500")] * 9), jitter=jitter)
    flushed(sender)
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0] == ceilings
    assert 9 == sender.retries


def test_failed_batch_is_sent_again(spool: Spool, sender_of: MakeSender) -> None:
    """A batch without a clear answer is sent again, as it was, before any other."""
    transport = Transport([Retry("HTTP 503")])
    fill(spool, 3)
    flushed(sender_of(transport, batch_size=2, jitter=no_jitter))
    assert [["0", "1"], ["0", "1"], ["2"]] == transport.batches


def test_short_backoff_is_not_an_interval(spool: Spool, sender_of: MakeSender) -> None:
    """After a failure the backoff alone decides when to try again, not the interval."""
    fill(spool, 1)
    sender_of(Transport([Retry("HTTP 503")]), jitter=no_jitter).start()
    wait_until(lambda: spool.stats().delivered == 1)


def test_flush_ends_a_backoff(spool: Spool, sender_of: MakeSender) -> None:
    """A flush does not wait for the end of a backoff."""
    clock = Clock()
    fill(spool, 1)
    sender = sender_of(Transport([Retry("HTTP 500")]), clock=clock, jitter=whole_jitter)
    sender.start()
    wait_until(lambda: sender.retries == 1)
    assert flushed(sender).complete


def test_retry_after_is_a_minimum(spool: Spool, sender_of: MakeSender) -> None:
    """Nothing is sent before the destination's own wait is over, not even by a flush."""
    clock = Clock()
    transport = Transport([Retry("HTTP 429", 20.0)], clock=clock)
    fill(spool, 1)
    sender = sender_of(transport, clock=clock, jitter=no_jitter)
    sender.start()
    wait_until(lambda: sender.retries == 1)
    for passed in (10.0, 9.9, 0.1):
        clock.now += passed
        asked = clock.asked
        flush = sender.begin_flush()
        wait_until(lambda asked=asked: clock.asked >= asked + 2)  # type: ignore[misc]
    wait_until(lambda: flush.is_done)
    assert [1000.0, 1020.0] == transport.times


def test_refused_key_is_tried_once_a_minute(
    spool: Spool, sender_of: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused key loses nothing, is said once, and is delivered with once accepted."""
    clock = Clock()
    refused = Retry("HTTP 401", 60.0, is_refused_key=True)
    transport = Transport([refused] * 3, clock=clock)
    fill(spool, 2)
    sender = sender_of(transport, clock=clock, jitter=no_jitter)
    sender.start()
    for minute in range(1, 4):
        wait_until(lambda minute=minute: sender.retries == minute)  # type: ignore[misc]
        clock.now += 60.0
        flush = sender.begin_flush()
    wait_until(lambda: flush.is_done)
    assert [1000.0, 1060.0, 1120.0, 1180.0] == transport.times
    assert 2 == spool.stats().delivered
    said = [message for message in caplog.messages if "refuses the credentials" in message]
    assert 1 == len(said)


def test_failing(spool: Spool, sender_of: MakeSender) -> None:
    """After a failed attempt the sender is failing, with its error; after a success not."""
    fill(spool, 1)
    sender = sender_of(Transport([Retry("HTTP 500")]), clock=Clock(), jitter=whole_jitter)
    sender.start()
    wait_until(lambda: sender.retries == 1)
    assert (True, "HTTP 500") == (sender.is_failing, sender.last_error)
    flushed(sender)
    assert (False, None) == (sender.is_failing, sender.last_error)


def test_named_records_are_rejected(spool: Spool, sender_of: MakeSender) -> None:
    """Records that the destination names are rejected; the rest goes in one request."""
    transport = Transport(verdict=refusing({"3", "7"}, is_told=True))
    fill(spool, 10)
    report = flushed(sender_of(transport))
    assert [10, 8] == [len(batch) for batch in transport.batches]
    assert {"HTTP 422": 2} == spool.stats().rejected
    assert (False, 8) == (report.complete, report.delivered)


def test_unnamed_record_is_found(spool: Spool, sender_of: MakeSender) -> None:
    """A record that is refused without being named is found by halves, and it alone."""
    transport = Transport(verdict=refusing({"61"}, is_told=False))
    fill(spool, 100)
    flushed(sender_of(transport))
    now = spool.stats()
    assert (99, {"HTTP 422": 1}) == (now.delivered, now.rejected)
    assert len(transport.batches) <= 1 + 2 * 7


@pytest.mark.parametrize("positions", [{-1}, {5}, {-1, 99}])
def test_position_of_no_record(
    spool: Spool, sender_of: MakeSender, positions: set[int]
) -> None:
    """A position that the batch does not have makes nobody guilty."""
    fill(spool, 4)
    flushed(sender_of(Transport([Rejected("HTTP 422", frozenset(positions))])))
    assert (4, {}) == (spool.stats().delivered, spool.stats().rejected)


def test_everybody_named(spool: Spool, sender_of: MakeSender) -> None:
    """Where each record is named, each is asked about by itself before it is rejected."""
    transport = Transport([Rejected("HTTP 422", frozenset({0, 1}))])
    fill(spool, 2)
    flushed(sender_of(transport))
    assert [["0", "1"], ["0"], ["1"]] == transport.batches
    assert 2 == spool.stats().delivered


def test_rejected_record_reaches_the_app(
    spool: Spool, sender_of: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """`on_error` is given the refused record, and people are told once."""
    seen: list[tuple[str, list[str]]] = []

    def on_error(error: BaseException, records: list[Record]) -> None:
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
    flushed(sender_of(transport, on_error=on_error, jitter=no_jitter))
    assert (2, {"HTTP 422": 1}) == (spool.stats().delivered, spool.stats().rejected)


def test_transport_that_raises(
    spool: Spool, sender_of: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """A transport that raises is counted and said once; no record is lost by it."""
    before = stats().noticed.get("sender_failed", 0)
    fill(spool, 2)
    transport = Transport([LookupError("secret"), LookupError("secret")])
    assert flushed(sender_of(transport, jitter=no_jitter)).complete
    assert stats().noticed["sender_failed"] == before + 2
    assert 1 == len([said for said in caplog.messages if "LookupError" in said])
    assert "secret" not in caplog.text


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
def test_corrupt_line(spool: Spool, sender_of: MakeSender, corrupt: bytes) -> None:
    """A line that is no record is dropped as corrupt, and is in nobody's way."""
    fill(spool, 1)
    spool.put(corrupt)
    spool.put(line(2))
    transport = Transport()
    report = flushed(sender_of(transport))
    assert ["0", "2"] == transport.sent
    assert {"corrupt": 1} == spool.stats().dropped
    assert (False, 2) == (report.complete, report.delivered)


def test_what_dead_processes_left_is_sent(
    spool: Spool, sender_of: MakeSender, tmp_path: Path
) -> None:
    """The sender first adopts what dead processes left, and sends it."""
    dead = spool_in(tmp_path / "destination")
    dead.put(line("left behind"))
    dead.let_go()
    transport = Transport()
    sender_of(transport).start()
    wait_until(lambda: spool.stats().delivered == 1)
    assert ["left behind"] == transport.sent


def test_spool_that_was_closed_meanwhile(spool: Spool, sender_of: MakeSender) -> None:
    """Where the spool was closed under a sender, what that left is still sent."""
    transport = Transport([Retry("HTTP 503")])
    fill(spool, 2)
    sender = sender_of(transport, clock=Clock(), jitter=whole_jitter)
    sender.start()
    wait_until(lambda: sender.retries == 1)
    spool.close()
    assert flushed(sender).complete
    assert (2, 0) == (spool.stats().delivered, spool.stats().pending)


def test_flush_tells_what_is_left(spool: Spool, sender_of: MakeSender) -> None:
    """A flush that is not done yet says how many wait, and why."""
    fill(spool, 2)
    sender = sender_of(
        Transport([Retry("HTTP 500", 60.0)]), clock=Clock(), jitter=no_jitter
    )
    flush = sender.begin_flush()
    wait_until(lambda: sender.retries == 1)
    assert not flush.is_done
    assert flush.report() == FlushReport(
        complete=False, delivered=0, pending=2, last_error="HTTP 500"
    )


def test_flush_does_not_wait_for_later_records(spool: Spool, sender_of: MakeSender) -> None:
    """A flush is done when what came before it has arrived, whatever comes after."""
    transport = Transport([Delivered(), Retry("HTTP 500", 60.0)])
    fill(spool, 2)
    transport.gate.clear()
    flush = sender_of(transport, clock=Clock(), jitter=no_jitter).begin_flush()
    wait_until(lambda: transport.batches)
    spool.put(line("later"))
    transport.gate.set()
    wait_until(lambda: flush.is_done)
    assert flush.report().complete
    wait_until(lambda: transport.sent == ["0", "1", "later"])


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
    sender = sender_of(Transport([SystemExit()]), jitter=no_jitter)
    assert flushed(sender).complete
    assert 1 == stats().noticed["sender_failed"]


def test_flush_tries_anew_in_strict_mode(spool: Spool, sender_of: MakeSender) -> None:
    """What failed before a flush is tried again by it, and not raised where it arrives."""
    configure(strict=True)
    fill(spool, 1)
    sender = sender_of(Transport([Retry("HTTP 503")]), jitter=whole_jitter)
    sender.start()
    wait_until(lambda: sender.has_met_something)
    assert flushed(sender).complete


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
