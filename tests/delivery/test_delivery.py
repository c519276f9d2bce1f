"""Every destination of this process: made at first need, flushed, closed, opened again."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.delivery.parts import MIB, die, line, spool_in, wait_until
from tests.delivery.servers import answer, serve_raw, unused_url
from tests.delivery.test_ingestion import bodies_of
from tests.delivery.test_sender import kill
from trubrics_trace import aflush, configure, flush, shutdown, stats, track_event
from trubrics_trace._configuration import settings_from
from trubrics_trace._settings import LOCAL, Destination, fingerprint
from trubrics_trace._stats import Stats
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._delivery import Deliveries, Delivery, limits_of
from trubrics_trace.delivery._delivery import deliveries as runtime_deliveries
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.testing import IngestionServer

KEY = "test-key"
OK = answer("200 OK", b"{}")


@pytest.fixture
def deliveries(tmp_path: Path) -> Iterator[Deliveries]:
    """Return a set of destinations that is the test's own."""
    made = Deliveries()
    yield made
    made.close(5.0)


def track(count: int = 1, user_id: str | None = "alice") -> None:
    """Track so many events."""
    for number in range(count):
        track_event(f"event {number}", user_id=user_id)


def pending_in(root: Path) -> dict[str, int]:
    """Return how many records wait below a root, by destination."""
    return {census.label: census.pending for census in take_census(root)}


def leave(directory: Path, count: int) -> None:
    """Leave so many records as a process leaves them that is killed."""
    spool = spool_in(directory)
    for number in range(count):
        spool.put(line(number))
    die(spool)


def ids_in(requests: list[bytes]) -> Counter[str]:
    """Return how often each record came."""
    events = [event for posted in bodies_of(requests).values() for event in posted]
    return Counter(event["properties"]["record_id"] for event in events)


def test_made_once(deliveries: Deliveries, tmp_path: Path) -> None:
    """A destination has one delivery, however often it is asked for."""
    settings = settings_from({"spool_dir": tmp_path}, {})
    assert deliveries.to(LOCAL, settings) is deliveries.to(LOCAL, settings)
    assert 1 == len(deliveries.all())


def test_made_once_by_many(deliveries: Deliveries, tmp_path: Path) -> None:
    """Threads that need a destination at once share one delivery."""
    settings = settings_from({"spool_dir": tmp_path}, {})
    made: set[Delivery] = set()
    threads = [
        threading.Thread(target=lambda: made.add(deliveries.to(LOCAL, settings)))
        for _ in range(8)
    ]
    deliveries.hold()  # as before a fork: nobody is in the middle of making one
    for thread in threads:
        thread.start()
    wait_until(lambda: all(is_making(thread) for thread in threads))
    assert [] == deliveries.all()
    deliveries.release()
    for thread in threads:
        thread.join()
    assert deliveries.all() == list(made)


def is_making(thread: threading.Thread) -> bool:
    """Whether a thread is about to make a delivery."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "to"


def test_forked_child(deliveries: Deliveries, tmp_path: Path) -> None:
    """A forked child has none of its parent's destinations, and has done nothing."""
    settings = settings_from({"spool_dir": tmp_path, "api_key": KEY}, {})
    delivery = deliveries.to(LOCAL, settings)
    delivery.spool.put(line(1))
    deliveries.hold()
    deliveries.release()
    deliveries.release()  # once too often, where it is installed while a fork begins
    assert 1 == deliveries.stats().accepted
    deliveries.drop_in_child()
    assert ([], Stats()) == (deliveries.all(), deliveries.stats())
    assert delivery is not deliveries.to(LOCAL, settings)


def test_nothing_before_the_first_record(tmp_path: Path) -> None:
    """Configuring makes no file, no thread and no request."""
    configure(api_key=KEY, host=unused_url(), spool_dir=tmp_path / "spool")
    assert not (tmp_path / "spool").exists()
    assert flush()


def test_delivered(trubrics_server: IngestionServer) -> None:
    """What was accepted is delivered by a flush, each record once."""
    configure(api_key=KEY, host=trubrics_server.url)
    track(250)
    assert flush()
    assert {1} == set(trubrics_server.record_ids.values())
    assert 250 == len(trubrics_server.record_ids)


def test_one_connection_and_no_empty_request() -> None:
    """Everything goes over one connection, and no request is empty."""
    with serve_raw(answer("200 OK", b"{}")) as server:
        configure(api_key=KEY, host=server.url)
        for _ in range(3):
            track(2)
            assert flush()
        shutdown()
    assert 1 == server.connections
    assert not any(request.endswith(b"\r\n\r\n[]") for request in server.requests)


def test_without_credentials(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without credentials records stay on this machine, and that is said once."""
    track(3)
    report = flush()
    assert (False, True) == (report.complete, report.pending >= 3)
    assert {"local": 3} == pending_in(tmp_path / "spool")
    said = [message for message in caplog.messages if "no credentials" in message]
    assert 1 == len(said)
    assert "" == capfd.readouterr().out


def test_nobody_may_stay_here(
    trubrics_server: IngestionServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With an empty name for nobody, nobody's records stay on this machine, unsaid."""
    configure(
        api_key=KEY, host=trubrics_server.url, anonymous_user="", spool_dir=tmp_path / "s"
    )
    track(1)
    track(2, user_id=None)
    flush(timeout=0.2)
    wait_until(lambda: len(trubrics_server.events) == 1)
    assert 2 == pending_in(tmp_path / "s")["local"]
    assert "no credentials" not in caplog.text


def test_shutdown_and_a_later_record(trubrics_server: IngestionServer) -> None:
    """A record that comes after the shutdown opens delivery again."""
    configure(api_key=KEY, host=trubrics_server.url)
    track()
    assert shutdown()
    track()
    assert flush()
    assert [1, 1] == sorted(trubrics_server.record_ids.values())


def test_what_is_left_at_shutdown(trubrics_server: IngestionServer, tmp_path: Path) -> None:
    """What had not arrived at the shutdown is sent when delivery is opened again."""
    configure(api_key=KEY, host=trubrics_server.url)
    trubrics_server.answer_next(503, {})
    track(2)
    assert not shutdown(0.0)
    assert [2] == list(pending_in(tmp_path / "spool").values())
    track()
    assert flush()
    assert [1, 1, 1] == sorted(trubrics_server.record_ids.values())
    assert stats().is_balanced


def test_wait_that_was_asked_for(trubrics_server: IngestionServer) -> None:
    """A `Retry-After` outlives shutdown and `configure`, and holds for that key alone."""
    trubrics_server.answer_next(429, {}, headers={"Retry-After": "3600"})
    configure(api_key="slowed down", host=trubrics_server.url, account="acme")
    track()
    wait_until(lambda: stats().retries == 1)
    assert not shutdown(0.0)
    track()
    assert not flush(0.1)
    configure(api_key="slowed down", host=trubrics_server.url, account="acme")
    track()
    assert not flush(0.1)
    assert {429: 1} == trubrics_server.requests
    configure(api_key=KEY, host=trubrics_server.url, account="acme")
    track()
    assert flush()
    assert [1] * 4 == list(trubrics_server.record_ids.values())


def test_key_that_is_mended(trubrics_server: IngestionServer) -> None:
    """A refused key is tried at once where somebody configures it again, else not."""
    trubrics_server.answer_next(401, {})
    configure(api_key=KEY, host=trubrics_server.url)
    track()
    wait_until(lambda: stats().retries == 1)
    assert not flush(0.1)
    assert {401: 1} == trubrics_server.requests
    configure(api_key=KEY, host=trubrics_server.url)
    track()
    assert flush()
    assert [1, 1] == list(trubrics_server.record_ids.values())


def test_retries_are_counted(trubrics_server: IngestionServer) -> None:
    """Each attempt that must be made again is counted, whatever was closed since."""
    configure(api_key=KEY, host=trubrics_server.url)
    trubrics_server.answer_next(503, {}, times=2)
    track()
    wait_until(lambda: flush(0.1).complete)
    shutdown()
    track()
    assert flush()
    assert (2, None) == (stats().retries, stats().last_error)


def test_configured_while_a_batch_is_on_its_way() -> None:
    """A sender that is made anew sends nothing of what the one before has under way."""
    gate = threading.Event()
    with serve_raw(OK, before_each=gate.wait) as server:
        configure(api_key=KEY, host=server.url)
        track(3)
        wait_until(lambda: server.requests)
        configure(api_key=KEY, host=server.url)  # waits for that batch, not for ever
        track(3)
        assert not flush(0.1)
        assert 1 == len(server.requests)
        gate.set()
        assert flush(30.0)
    assert [1] * 6 == list(ids_in(server.requests).values())
    assert (6, 0) == (stats().delivered, stats().pending)


def test_configured_under_traffic() -> None:
    """However often `configure` is called under traffic, each record arrives once."""
    rhythm = threading.Event()  # never set
    with serve_raw(OK, before_each=lambda: rhythm.wait(0.05)) as server:
        configure(api_key=KEY, host=server.url)
        with traffic() as tracked:
            for batch_size in range(10, 20):
                configure(api_key=KEY, host=server.url, batch_size=batch_size)
        track()
        assert flush(60.0)
    assert {1} == set(ids_in(server.requests).values())
    now = stats()
    assert (len(tracked) + 1, True, 0) == (now.delivered, now.is_balanced, now.pending)


@contextmanager
def traffic() -> Iterator[Sized]:
    """Let four threads track during the block; return what tells how much that was."""
    rhythm, tracked = threading.Event(), deque[None]()

    def work() -> None:
        while not rhythm.wait(0.002):
            track()
            tracked.append(None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield tracked
    finally:
        rhythm.set()
        for thread in threads:
            thread.join()


def test_another_destination(trubrics_server: IngestionServer) -> None:
    """What waits for one destination is never sent to the next."""
    configure(api_key="wrong-key", host=trubrics_server.url)
    track(2)
    assert not flush(0.2)
    configure(api_key=KEY, host=trubrics_server.url)
    track(1)
    report = flush()
    assert (False, 2) == (report.complete, report.pending)
    assert 1 == len(trubrics_server.events)


def test_same_account_with_a_new_key(
    trubrics_server: IngestionServer, tmp_path: Path
) -> None:
    """Where the account is named, a new key sends what waits for the old one."""
    configure(api_key="old-key", host=trubrics_server.url, account="acme")
    track(2)
    assert not flush(0.2)
    configure(api_key=KEY, host=trubrics_server.url, account="acme")
    track(1)
    assert flush()
    assert 3 == len(trubrics_server.events)
    assert 0 == sum(pending_in(tmp_path / "spool").values())


def test_flush_is_bounded() -> None:
    """A flush that cannot succeed ends in time, and says what is left and why."""
    configure(api_key=KEY, host=unused_url())
    track(2)
    report = flush(timeout=0.3)
    assert (False, 0) == (report.complete, report.delivered)
    assert "no answer: ConnectionError" == report.last_error


def test_aflush_leaves_the_loop_alone(trubrics_server: IngestionServer) -> None:
    """While `aflush` waits the event loop goes on."""
    configure(api_key=KEY, host=trubrics_server.url)
    trubrics_server.answer_next(503, {})
    track(2)
    turns: list[float] = []

    async def count_turns() -> None:
        while True:
            turns.append(time.monotonic())
            await asyncio.sleep(0)

    async def both() -> bool:
        counting = asyncio.ensure_future(count_turns())
        report = await aflush()
        counting.cancel()
        return bool(report)

    assert asyncio.run(both())
    assert len(turns) > 2


@pytest.mark.parametrize(
    "body",
    [b'"oops"', b"[]", b"null", b"<html>", b"", b"\xff", b"[" * 10_000],
)
def test_error_bodies(trubrics_server: IngestionServer, body: bytes) -> None:
    """No body of an error ends the sender: the next attempt delivers."""
    configure(api_key=KEY, host=trubrics_server.url)
    trubrics_server.answer_next(500, body)
    trubrics_server.answer_next(200, body)
    track()
    wait_until(lambda: flush(0.1).complete)
    assert [1] == list(trubrics_server.record_ids.values())


def test_counts_of_this_process(trubrics_server: IngestionServer) -> None:
    """The sums are over every destination, open or closed, and in balance."""
    before = stats()
    track(2)
    configure(api_key=KEY, host=trubrics_server.url)
    track(3)
    flush()
    after = stats()
    assert (5, 3) == (after.accepted - before.accepted, after.delivered - before.delivered)
    assert 2 == after.pending - before.pending
    assert after.is_balanced


def test_local_is_bounded_tighter() -> None:
    """What nothing carries away takes at most 64 MiB for a week, and is kept for a week."""
    settings = settings_from({}, {})
    other = Destination("ingestion", "http://h", "a")
    week = 7 * 24 * 3600.0
    assert Limits(64 * MIB, week, week) == limits_of(LOCAL, settings)
    assert Limits(256 * MIB, 30 * 24 * 3600.0, 0.0) == limits_of(other, settings)


def test_local_is_bounded_as_was_said() -> None:
    """Settings that are tighter still, or ask to keep longer, hold without credentials."""
    said = {"spool_max_bytes": MIB, "spool_max_age": 60, "keep_delivered": 3600}
    settings = settings_from(said, {})
    assert Limits(MIB, 60.0, 3600.0) == limits_of(LOCAL, settings)


def test_limits_that_change(tmp_path: Path) -> None:
    """Limits that `configure` changes hold for a spool that is there already."""
    configure(spool_max_bytes=16 * MIB)
    for number in range(64):
        track_event("x" * 32_000, user_id=f"user {number}")
    configure(spool_max_bytes=MIB)
    for number in range(32):
        track_event("x" * 32_000, user_id=f"user {number}")
    [census] = take_census(tmp_path / "spool")
    assert census.bytes_on_disk <= MIB
    assert (96, True) == (census.stored, census.is_balanced)
    assert ["spool_full"] == list(census.dropped)


def test_local_is_tidied(tmp_path: Path) -> None:
    """Without credentials what dead processes left too long ago is let go of, counted."""
    assert make_private(tmp_path / "spool")
    place = tmp_path / "spool" / "local"
    leave(place, 3)
    for segment in place.glob("*.jsonl"):
        os.utime(segment, (0.0, 0.0))
    track()
    wait_until(lambda: take_census(tmp_path / "spool")[0].dropped == {"expired": 3})
    assert {"local": 1} == pending_in(tmp_path / "spool")
    assert 1 == stats().pending


def test_stranded(trubrics_server: IngestionServer, tmp_path: Path) -> None:
    """What waits for destinations that nobody names now is counted, and not sent."""
    track()
    leave(tmp_path / "spool" / "another", 2)
    leave(tmp_path / "spool" / "local", 1)
    assert 2 == stats().stranded
    configure(api_key=KEY, host=trubrics_server.url)
    track()
    assert (False, 1) == (flush().complete, len(trubrics_server.events))
    assert (2, 1) == (stats().stranded, len(trubrics_server.events))
    leave(tmp_path / "spool" / "a third", 1)
    assert 3 == stats().stranded


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_sender_that_dies(trubrics_server: IngestionServer) -> None:
    """A sender whose thread died is started again by the next record."""
    configure(api_key=KEY, host=trubrics_server.url)
    track()
    assert flush()
    [delivery] = runtime_deliveries.all()
    assert delivery.sender is not None
    kill(delivery.sender)
    track()
    wait_until(lambda: len(trubrics_server.events) == 2)


def test_place_that_is_mended(tmp_path: Path) -> None:
    """Where no place would do records wait in memory, until one does."""
    (tmp_path / "file").write_text("")
    configure(spool_dir=tmp_path / "file" / "spool")
    track()
    [delivery] = runtime_deliveries.all()
    assert delivery.spool.directory is None
    (tmp_path / "file").unlink()
    track()
    shutdown()
    assert [2] == [census.pending for census in take_census(tmp_path / "file" / "spool")]


def test_records_of_a_destination_of_before(trubrics_server: IngestionServer) -> None:
    """A flush is not complete while something waits for a destination of before."""
    configure(api_key=KEY, host=unused_url())
    track()
    configure(api_key=KEY, host=trubrics_server.url)
    track()
    report = flush()
    assert (False, 1, 1) == (report.complete, report.delivered, report.pending)


def test_wait_of_a_refused_key(trubrics_server: IngestionServer) -> None:
    """A refused key that was told to wait for longer than a minute waits so long."""
    for said, least, most in (("7200", 3600.0, 7200.0), ("1", 30.0, 60.0)):
        key = f"told to wait {said}"
        trubrics_server.answer_next(403, {}, headers={"Retry-After": said})
        configure(api_key=key, host=trubrics_server.url)
        track()
        wait_until(lambda: 403 in trubrics_server.requests)
        [backoff] = [
            backoff
            for (_, secret), backoff in runtime_deliveries._backoffs.items()
            if secret == fingerprint(key)
        ]
        wait_until(lambda: backoff.failures)  # noqa: B023
        assert least < backoff.seconds_left <= most


def test_aflush_beside_a_stranded_backlog(
    trubrics_server: IngestionServer, tmp_path: Path
) -> None:
    """A flush looks at nobody else's files: what cannot be read there is in no way."""
    stranded = tmp_path / "spool" / "another" / "00000000000000000001-1-aa.000001.jsonl"
    assert make_private(stranded.parent)
    os.mkfifo(stranded)  # who opened it to read would wait for ever
    configure(api_key=KEY, host=trubrics_server.url)
    track()
    assert asyncio.run(aflush()).complete
    assert flush().complete
