"""Every destination of this process: made at first need, flushed, closed, opened again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.parts import wait_until
from tests.delivery.servers import answer, serve_raw, unused_url
from trubrics_trace import aflush, configure, flush, shutdown, stats, track_event
from trubrics_trace._configuration import settings_from
from trubrics_trace._settings import LOCAL, Destination
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._delivery import Deliveries, spool_at
from trubrics_trace.testing import IngestionServer

KEY = "test-key"


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


def test_made_once(deliveries: Deliveries, tmp_path: Path) -> None:
    """A destination has one delivery, however often it is asked for."""
    settings = settings_from({"spool_dir": tmp_path}, {})
    assert deliveries.to(LOCAL, settings) is deliveries.to(LOCAL, settings)
    assert 1 == len(deliveries.all())


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
    trubrics_server.answer_next(503, {}, headers={"Retry-After": "60"})
    track(2)
    assert not shutdown(0.2)
    assert [2] == list(pending_in(tmp_path / "spool").values())
    track()
    assert flush()
    assert [1, 1, 1] == sorted(trubrics_server.record_ids.values())
    assert stats().is_balanced


def test_another_destination(trubrics_server: IngestionServer) -> None:
    """What waits for one destination is never sent to the next."""
    configure(api_key="wrong-key", host=trubrics_server.url)
    track(2)
    assert not flush(0.2)
    configure(api_key=KEY, host=trubrics_server.url)
    track(1)
    assert flush()
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


def test_local_is_bounded_tighter(tmp_path: Path) -> None:
    """What nothing carries away takes at most 64 MiB, and is kept for a week."""
    settings = settings_from({}, {})
    local = spool_at(tmp_path, LOCAL, settings)
    other = spool_at(tmp_path, Destination("ingestion", "http://h", "a"), settings)
    assert (local._max_bytes, local._keep_delivered) == (64 * 2**20, 7 * 24 * 3600.0)
    assert (other._max_bytes, other._keep_delivered) == (256 * 2**20, 0.0)


def test_no_place_at_all() -> None:
    """Where there is no root the spool has no directory, and records wait in memory."""
    assert spool_at(None, LOCAL, settings_from({}, {})).directory is None
