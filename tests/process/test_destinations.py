"""A record goes only where it was meant to go, whatever has changed before it could."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.parts import wait_until
from tests.delivery.servers import unused_url
from tests.process.faults import FaultyServer, serve_faulty, settled_in
from tests.process.program import clean_environment, output_of
from tests.process.test_local import command
from trubrics_trace import (
    DurableTrubrics,
    EventRecord,
    Record,
    configure,
    flush,
    shutdown,
    stats,
    track_event,
)

A, B = KEYS = ("key-of-a", "key-of-b")
PATIENCE_SECONDS = 40.0

# An event is called like the account that it is meant for, so that a stray one is seen.
APP = """
    import os
    from trubrics_trace import flush, track_event
    for number in range(int(os.environ["COUNT"])):
        track_event(os.environ["ACCOUNT"], user_id="alice")
    flush(float(os.environ.get("SECONDS", "0")))
    """


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """Yield a server that has both accounts."""
    with serve_faulty() as made:
        made.api_keys.update(KEYS)
        yield made


def account(key: str, url: str, count: int = 0, **more: str) -> dict[str, str]:
    """Return the environment of an app with this key, that tracks so many events."""
    said = {"TRUBRICS_API_KEY": key, "TRUBRICS_HOST": url, "ACCOUNT": key}
    return {**said, "COUNT": str(count), **more}


def arrived(server: FaultyServer) -> dict[tuple[str | None, str], int]:
    """Return how many events came with a key, by key and event, whatever was answered."""
    return dict(Counter((key, event["event"]) for key, event in server.seen))


def test_one_app_after_the_other(tmp_path: Path) -> None:
    """What an app left in a directory that it shares waits for its own key."""
    url = unused_url()
    for key in KEYS:
        output_of(APP, tmp_path, **account(key, url, 10))
    with serve_faulty(url) as server:
        server.api_keys.update(KEYS)
        output_of(APP, tmp_path, **account(A, url, 1, SECONDS="40"))
        assert {(A, A): 11} == arrived(server)
        assert 0 == command(tmp_path, "flush", **account(B, url)).returncode
        assert {(A, A): 11, (B, B): 10} == arrived(server)


def test_apps_at_once(tmp_path: Path, server: FaultyServer) -> None:
    """Apps that share a directory at the same time, and adopt there, mix nothing."""
    nobody = unused_url()
    for key in KEYS:  # another host: what is left there is adopted by nobody here
        output_of(APP, tmp_path, **account(key, nobody, 5))
    server.answer_next(503, times=2)
    apps = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(APP)],
            env=clean_environment(tmp_path, **account(key, server.url, 300, SECONDS="40")),
        )
        for key in KEYS * 2
    ]
    assert [0] * 4 == [app.wait(PATIENCE_SECONDS) for app in apps]
    assert {(A, A), (B, B)} == arrived(server).keys()
    assert {A: 600, B: 600} == Counter(event["event"] for event in server.events)
    assert {1} == set(server.record_ids.values())


def test_another_key(server: FaultyServer, tmp_path: Path) -> None:
    """What was recorded under one key waits for it, whatever key comes next."""
    server.answer_next(503)
    configure(api_key=A, host=server.url)
    track_event(A, user_id="alice")
    wait_until(lambda: server.requests[503], PATIENCE_SECONDS)
    configure(api_key=B, host=server.url)
    track_event(B, user_id="alice")
    assert 1 == flush(PATIENCE_SECONDS).delivered
    assert [B] == [event["event"] for event in server.events]
    configure(api_key=A, host=server.url)
    track_event(A, user_id="alice")
    assert flush(PATIENCE_SECONDS)
    assert [B, A, A] == [event["event"] for event in server.events]
    assert {(A, A), (B, B)} == arrived(server).keys()
    shutdown()
    assert 3 == settled_in(tmp_path / "spool")


def test_keys_that_change_under_load(server: FaultyServer, tmp_path: Path) -> None:
    """While the key changes each record leaves with the one that held when it was made."""
    is_over = threading.Event()

    def use(key: str) -> None:
        def name_it(record: Record) -> Record:
            assert isinstance(record, EventRecord)
            return dataclasses.replace(record, event_name=key)

        configure(api_key=key, host=server.url, before_send=name_it)

    def work() -> None:
        while not is_over.wait(0.001):
            track_event("unnamed", user_id="alice")

    use(A)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for key in KEYS * 10:
        use(key)
    is_over.set()
    for thread in threads:
        thread.join()
    for key in KEYS:
        use(key)
        track_event("unnamed", user_id="alice")
        report = flush(PATIENCE_SECONDS)
    assert report  # the first is incomplete where something waits for the second key
    assert {(A, A), (B, B)} == arrived(server).keys()
    assert stats().accepted == len(server.record_ids) == len(server.events)
    assert stats().is_balanced
    shutdown()
    assert len(server.events) == settled_in(tmp_path / "spool")


def test_another_host(server: FaultyServer) -> None:
    """What was recorded for one host waits for that host, also under the same key."""
    url = unused_url()
    configure(api_key=A, host=url)
    track_event("of the first", user_id="alice")
    assert not flush(0.1)
    configure(api_key=A, host=server.url)
    track_event("of the second", user_id="alice")
    assert 1 == flush(PATIENCE_SECONDS).delivered
    with serve_faulty(url) as first:
        first.api_keys.add(A)
        configure(api_key=A, host=url)
        track_event("of the first", user_id="alice")
        assert flush(PATIENCE_SECONDS)
        assert {(A, "of the first"): 2} == arrived(first)
    assert {(A, "of the second"): 1} == arrived(server)


def test_two_keys_in_one_app(server: FaultyServer) -> None:
    """What a client with a key of its own tracks leaves with that key alone."""
    configure(api_key=A, host=server.url)
    client = DurableTrubrics(api_key=B)
    for _ in range(10):
        track_event(A, user_id="alice")
        client.track("alice", B)
    assert flush(PATIENCE_SECONDS)
    assert {(A, A): 10, (B, B): 10} == arrived(server)


def test_named_account(tmp_path: Path, server: FaultyServer) -> None:
    """Where the account is named a new key goes on where the old one was refused."""
    named = {"TRUBRICS_ACCOUNT": "acme"}
    old = {**account("old-key", server.url, 5), **named, "SECONDS": "0.2"}
    new = {**account(A, server.url, 1), **named, "SECONDS": "40"}
    other = {**account(B, server.url, 1), "SECONDS": "40"}
    output_of(APP, tmp_path, **old)
    output_of(APP, tmp_path, **other)
    assert [B] == [event["event"] for event in server.events]
    output_of(APP, tmp_path, **new)
    assert {B: 1, "old-key": 5, A: 1} == Counter(event["event"] for event in server.events)
    assert {(B, B)} == {pair for pair in arrived(server) if B in pair}
