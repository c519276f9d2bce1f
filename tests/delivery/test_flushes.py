"""A flush: true when all that was taken before it has arrived, and over in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.delivery.parts import Clock, Transport, die, line, spool_in, wait_until
from tests.delivery.servers import unused_url
from tests.delivery.test_backoff import no_jitter
from tests.delivery.test_sender import no_threads
from trubrics_trace import aflush, configure, flush, shutdown, stats, track_event
from trubrics_trace._stats import FlushReport
from trubrics_trace.delivery._backoff import Backoff
from trubrics_trace.delivery._flushes import Flush
from trubrics_trace.delivery._sender import Sender
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.delivery._transport import Delivered, Outcome, Rejected, Retry
from trubrics_trace.errors import TelemetryError
from trubrics_trace.testing import IngestionServer

NEVER_SECONDS = 3600.0
KEY = "test-key"

SenderTo = Callable[[Transport], Sender]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """Return a spool with two records, that ends with the test."""
    made = spool_in(tmp_path / "destination")
    for number in range(2):
        made.put(line(number))
    yield made
    made.close()


@pytest.fixture
def sender_to(spool: Spool) -> Iterator[SenderTo]:
    """Make senders whose clock stands still, and that end with the test."""
    made: list[Sender] = []

    def make(transport: Transport) -> Sender:
        clock = Clock()
        sender = Sender(
            spool,
            transport,
            label="test",
            flush_interval=NEVER_SECONDS,
            batch_size=100,
            backoff=Backoff(clock, no_jitter),
            clock=clock,
        )
        made.append(sender)
        return sender

    yield make
    for sender in made:
        sender.stop(5.0)


def report_of(flush: Flush) -> FlushReport:
    """Return how a flush ended."""
    wait_until(lambda: flush.is_over)
    return flush.report()


def test_everything_arrives(sender_to: SenderTo) -> None:
    """A flush whose records have all arrived is complete, and tells how many."""
    expected = FlushReport(complete=True, delivered=2, pending=0)
    assert expected == report_of(Flush(sender_to(Transport())))


def test_nothing_to_do(sender_to: SenderTo) -> None:
    """Where nothing waits a flush is done, and no request is made."""
    transport = Transport()
    sender = sender_to(transport)
    report_of(Flush(sender))
    assert FlushReport(complete=True, delivered=0, pending=0) == report_of(Flush(sender))
    assert 1 == len(transport.batches)


def test_what_is_left(sender_to: SenderTo) -> None:
    """A flush that is not done yet says how many wait, and why."""
    sender = sender_to(Transport([Retry("HTTP 500", 60.0)]))
    flush = Flush(sender)
    wait_until(lambda: sender.is_failing)
    assert (False, False) == (flush.is_done, flush.is_over)
    expected = FlushReport(complete=False, delivered=0, pending=2, last_error="HTTP 500")
    assert expected == flush.report()


def test_later_records(spool: Spool, sender_to: SenderTo) -> None:
    """A flush is done when what came before it has arrived, whatever comes after."""
    transport = Transport([Delivered(), Retry("HTTP 500", 60.0)])
    transport.gate.clear()
    flush = Flush(sender_to(transport))
    wait_until(lambda: transport.batches)
    spool.put(line("later"))
    transport.gate.set()
    assert report_of(flush).complete
    wait_until(lambda: transport.sent[:3] == ["0", "1", "later"])


def test_records_of_the_dead(spool: Spool, sender_to: SenderTo, tmp_path: Path) -> None:
    """What is adopted while a flush waits belongs to it, and arrives with it."""
    transport = Transport()
    transport.gate.clear()
    dead = spool_in(tmp_path / "destination")
    dead.put(line("of the dead"))
    die(dead)
    flush = Flush(sender_to(transport))
    wait_until(lambda: spool.stats().adopted)
    assert not flush.is_done
    transport.gate.set()
    assert (True, 3) == (report_of(flush).complete, report_of(flush).delivered)


@pytest.mark.parametrize("outcome", [Rejected("HTTP 422", frozenset({0}))])
def test_record_that_is_refused(sender_to: SenderTo, outcome: Outcome) -> None:
    """A flush one of whose records was refused is over, and not complete."""
    report = report_of(Flush(sender_to(Transport([outcome]))))
    assert FlushReport(complete=False, delivered=1, pending=0) == report


def test_what_strict_mode_met(spool: Spool, sender_to: SenderTo) -> None:
    """In strict mode a flush raises what the sender met, once; the records still wait."""
    configure(strict=True)
    flush = Flush(sender_to(Transport([Retry("HTTP 500", 60.0)])))
    with pytest.raises(TelemetryError, match="not_delivered: HTTP 500"):
        report_of(flush)
    assert (False, 2) == (flush.report().complete, spool.pending)


def test_no_thread_can_start(sender_to: SenderTo) -> None:
    """Where no thread can start a flush is over at once: nobody would do it."""
    with no_threads():
        flush = Flush(sender_to(Transport()))
        assert (False, True) == (flush.is_done, flush.is_over)
    assert FlushReport(complete=False, delivered=0, pending=2) == flush.report()


def test_whole_process_without_threads(trubrics_server: IngestionServer) -> None:
    """Where no thread can start, neither flush nor shutdown waits for one."""
    configure(api_key=KEY, host=trubrics_server.url)
    with no_threads():
        track_event("Signed up", user_id="alice")
        reports = [flush(NEVER_SECONDS), asyncio.run(aflush(NEVER_SECONDS))]
        reports.append(shutdown(NEVER_SECONDS))
    assert [(False, 1)] * 3 == [(one.complete, one.pending) for one in reports]
    assert {} == trubrics_server.requests
    configure(api_key=KEY, host=trubrics_server.url)
    track_event("Signed up again", user_id="alice")
    assert flush()
    assert 2 == len(trubrics_server.events)


def test_without_credentials() -> None:
    """Without credentials a flush is true only where nothing waits, and is over at once."""
    assert flush(NEVER_SECONDS)
    track_event("Signed up", user_id="alice")
    expected = FlushReport(complete=False, delivered=0, pending=1)
    assert [expected, expected] == [flush(NEVER_SECONDS), shutdown(NEVER_SECONDS)]
    assert expected == flush(NEVER_SECONDS)  # nothing is open, and it still waits


def test_several_destinations(trubrics_server: IngestionServer) -> None:
    """A flush is of every destination: complete if each is, with what they sum up to."""
    configure(api_key=KEY, host=trubrics_server.url, anonymous_user="")
    track_event("Signed up", user_id="alice")
    track_event("Looked around", user_id=None)  # which stays on this machine
    wait_until(lambda: trubrics_server.events)
    report = flush()
    assert (False, 1, None) == (report.complete, report.pending, report.last_error)


def test_end_of_the_time() -> None:
    """A flush that cannot succeed ends in time, and says what is left and why."""
    configure(api_key=KEY, host=unused_url())
    track_event("Signed up", user_id="alice")
    wait_until(lambda: stats().retries)
    report = flush(timeout=0.3)
    error = "no answer: ConnectionError"
    assert FlushReport(complete=False, delivered=0, pending=1, last_error=error) == report
