"""Whatever a server answers, each record arrives once, and the guilty one alone is out."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.parts import wait_until
from tests.process.faults import (
    Break,
    Event,
    FaultyServer,
    Verdict,
    serve_faulty,
    settled_in,
)
from trubrics_trace import (
    EventRecord,
    Record,
    configure,
    flush,
    shutdown,
    stats,
    track_event,
)

BATCH = 100
PATIENCE_SECONDS = 30.0
HTML = b"<html><body>The page is not here.</body></html>"
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "text": (b'"oops"', {}),
    "list": (b"[]", {}),
    "null": (b"null", {}),
    "html": (HTML, {"Content-Type": "text/html"}),
    "nothing": (b"", {}),
    "truncated gzip": (gzip.compress(HTML)[:-12], {"Content-Encoding": "gzip"}),
}

each_body = pytest.mark.parametrize(("body", "headers"), BODIES.values(), ids=BODIES)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """Yield a server with faults, to which records go."""
    with serve_faulty() as made:
        configure(api_key=made.api_key, host=made.url)
        yield made


@pytest.fixture
def rejected(server: FaultyServer) -> list[str]:
    """Return the list to which the name of each record is added that is set aside."""
    names: list[str] = []

    def note(error: BaseException, records: list[Record]) -> None:
        names.extend(one.event_name for one in records if isinstance(one, EventRecord))

    configure(api_key=server.api_key, host=server.url, on_error=note)
    return names


def names_of(events: list[Event]) -> list[str]:
    """Return the names of these events, sorted."""
    return sorted(event["event"] for event in events)


def track(count: int, *also: str) -> list[str]:
    """Track so many events, and these; return all their names, sorted."""
    names = [f"event {number:03d}" for number in range(count)]
    names[count // 3 : count // 3] = also
    for name in names:
        track_event(name, user_id="alice")
    return sorted(names)


def wait_for_delivery() -> None:
    """Flush until a flush is true: nothing waits any more."""
    wait_until(lambda: flush(0.05), PATIENCE_SECONDS)


def assert_balanced(tmp_path: Path, server: FaultyServer) -> None:
    """Nothing waits or failed, and the law holds: here, and on disk."""
    now = stats()
    assert (0, True) == (now.pending, now.is_balanced)
    assert "sender_failed" not in now.noticed
    shutdown()
    gone = sum(now.rejected.values())
    assert len(server.record_ids) + gone == settled_in(tmp_path / "spool")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_status_that_passes(server: FaultyServer, tmp_path: Path, status: int) -> None:
    """A server that is not itself for a while gets each record once it is, and once."""
    server.answer_next(status, {"detail": "not now"}, times=3)
    names = track(120)
    wait_for_delivery()
    assert names == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert 3 == server.requests[status]
    assert_balanced(tmp_path, server)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(server: FaultyServer, tmp_path: Path, status: int) -> None:
    """Nobody is in more of a hurry than `Retry-After` allows: no flush, and no record."""
    server.answer_next(status, headers={"Retry-After": "1"})
    names = track(BATCH)
    wait_until(lambda: server.requests[status] == 1, PATIENCE_SECONDS)
    names += track(2 * BATCH)
    wait_for_delivery()
    refused, *others = server.arrivals
    assert others[0] >= refused + 1.0
    assert sorted(names) == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert_balanced(tmp_path, server)


@pytest.mark.parametrize("how", ["unread", "within", "after"])
def test_reset(server: FaultyServer, tmp_path: Path, how: Break) -> None:
    """A connection that breaks loses nothing; it doubles a batch that was stored, at most.

    What comes twice comes with the same `record_id`.
    """
    server.breaks.extend([how] * 3)
    names = track(BATCH + 50)
    wait_for_delivery()
    assert names == sorted(set(names_of(server.events)))
    assert len(names) == len(server.record_ids)
    assert server.duplicates <= (0 if how == "unread" else 3 * BATCH)
    assert_balanced(tmp_path, server)


@each_body
@pytest.mark.parametrize("status", [500, 422, 200])
def test_body_that_says_nothing(
    server: FaultyServer, tmp_path: Path, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """An answer that is no JSON object is no success, and no verdict: it is asked again."""
    server.answer_next(status, body, headers=headers, times=2)
    names = track(20)
    wait_for_delivery()
    assert names == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert {} == stats().rejected
    assert_balanced(tmp_path, server)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(server: FaultyServer, tmp_path: Path, status: int) -> None:
    """Another origin is sent nothing, neither key nor record; the right one all of it."""
    with serve_faulty() as other:
        place = {"Location": f"{other.url}/publish_events"}
        server.answer_next(status, {"status": "success"}, headers=place, times=2)
        names = track(20)
        wait_for_delivery()
        assert (0, []) == (other.connections, other.seen)
    assert names == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert_balanced(tmp_path, server)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key(
    server: FaultyServer, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A key that is refused is not tried again at once, for no flush; all is kept."""
    server.answer_next(status, times=100)
    track(BATCH)
    wait_until(lambda: stats().last_error, PATIENCE_SECONDS)
    track(2 * BATCH)
    for _ in range(5):
        assert not flush(0.02)
    assert {status: 1} == server.requests
    assert (3 * BATCH, {}, True) == (stats().pending, stats().rejected, stats().is_balanced)
    assert 1 == caplog.text.count("refuses the credentials")


@contextmanager
def one_batch(server: FaultyServer) -> Iterator[None]:
    """Let what is tracked in the block leave together, after a record that was first."""
    gate = threading.Event()

    def wait(events: list[Event], size: int) -> None:
        assert gate.wait(PATIENCE_SECONDS)

    server.verdict = wait
    track_event("first", user_id="alice")
    wait_until(lambda: server.seen, PATIENCE_SECONDS)
    yield
    gate.set()


def verdict_on_poison(status: int, *, is_named: bool) -> Verdict:
    """Return a verdict that refuses a batch in which a record is poisoned."""

    def verdict(events: list[Event], size: int) -> tuple[int, Any] | None:
        for at, event in enumerate(events):
            if event["event"] == "poisoned":
                problem = {"loc": ["body", at, "event"], "msg": "not this one"}
                return status, [problem] if is_named else "not this one"
        return None

    return verdict


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("at", [0, 37, 64, 99])
def test_one_poisoned_of_a_batch(
    server: FaultyServer, rejected: list[str], tmp_path: Path, at: int, is_named: bool
) -> None:
    """A record that is refused is set aside alone, at a price of eight requests at most."""
    innocent = [f"event {number:03d}" for number in range(BATCH - 1)]
    with one_batch(server):
        for name in [*innocent[:at], "poisoned", *innocent[at:]]:
            track_event(name, user_id="alice")
        server.verdict = verdict_on_poison(422, is_named=is_named)
    wait_for_delivery()
    assert ["poisoned"] == rejected
    assert [*innocent, "first"] == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    requests = len(server.arrivals) - 1  # without that of the first record
    assert requests - 1 <= 8
    assert (1, {}) == (sum(stats().rejected.values()), stats().dropped)
    assert_balanced(tmp_path, server)


def test_several_poisoned(
    server: FaultyServer, rejected: list[str], tmp_path: Path
) -> None:
    """Of a batch with several guilty ones, named or not, each innocent record arrives."""
    with one_batch(server):
        names = track(BATCH - 3, "poisoned", "poisoned", "poisoned")
        server.verdict = verdict_on_poison(422, is_named=False)
    wait_for_delivery()
    assert ["poisoned"] * 3 == rejected
    assert [*names[:-3], "first"] == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert_balanced(tmp_path, server)


def test_limit_of_a_body(server: FaultyServer, rejected: list[str], tmp_path: Path) -> None:
    """Where a body may be only so large, nobody is out who fits in alone."""
    limit = 20_000

    def verdict(events: list[Event], size: int) -> tuple[int, Any] | None:
        return (413, "too large") if size > limit else None

    with one_batch(server):
        for number in range(60):
            size = limit if number == 17 else 1_000
            track_event(f"event {number:02d}", user_id="alice", text="x" * size)
        server.verdict = verdict
    wait_for_delivery()
    assert ["event 17"] == rejected
    innocent = {f"event {number:02d}" for number in range(60)} - {"event 17"}
    assert sorted({*innocent, "first"}) == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert_balanced(tmp_path, server)


@pytest.mark.parametrize("is_named", [True, False])
def test_bad_request_for_one(
    server: FaultyServer, rejected: list[str], tmp_path: Path, is_named: bool
) -> None:
    """Where 400 is said of one record among others, it alone is set aside."""
    with one_batch(server):
        names = track(20, "poisoned")
        server.verdict = verdict_on_poison(400, is_named=is_named)
    wait_for_delivery()
    assert ["poisoned"] == rejected
    assert sorted([*names[:-1], "first"]) == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert_balanced(tmp_path, server)


def test_bad_request_for_everything(
    server: FaultyServer, rejected: list[str], tmp_path: Path
) -> None:
    """Where 400 is said of everything it is no record's fault: all are kept, and sent."""
    server.verdict = lambda events, size: (400, "I do not know you")
    names = track(20)
    wait_until(lambda: not flush(0.05) and server.requests[400], PATIENCE_SECONDS)
    assert ([], {}, 20) == (rejected, stats().rejected, stats().pending)
    server.verdict = None
    wait_for_delivery()
    assert names == names_of(server.events)
    assert {1} == set(server.record_ids.values())
    assert_balanced(tmp_path, server)
