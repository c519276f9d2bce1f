"""The official client with a spool: its users' words, and nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from trubrics import Trubrics

from tests.delivery.servers import answer, serve_raw, unused_url
from tests.delivery.test_ingestion import bodies_of
from trubrics_trace import DurableTrubrics, Record, configure, errors, shutdown, stats
from trubrics_trace._record import TrackedRecord
from trubrics_trace.delivery._census import take_census
from trubrics_trace.testing import IngestionServer, capture_records

WHEN = datetime(2026, 1, 2, 3, 4, 7, tzinfo=timezone.utc)

Track = Callable[[Trubrics], None]


@pytest.fixture
def client(trubrics_server: IngestionServer) -> DurableTrubrics:
    """Return a durable client of the loopback server."""
    return DurableTrubrics(api_key="test-key", host=trubrics_server.url)


def track_both(client: Trubrics) -> None:
    """Track one event and one prompt with everything that the client takes."""
    client.track(
        user_id="alice", event="Signed up", properties={"plan": "pro"}, timestamp=WHEN
    )
    client.track_llm(
        user_id="alice",
        prompt="Hi",
        generation="Hello",
        prompt_event_name="Question",
        generation_event_name="Answer",
        assistant_id="bot",
        properties={"plan": "pro"},
        timestamp=WHEN,
        latency=2.0,
        thread_id=7,
    )


def track_little(client: Trubrics) -> None:
    """Track one event and one prompt with nothing that may be left out, save the time."""
    client.track("alice", "Signed up", timestamp=WHEN)
    client.track_llm("alice", "Hi", "Hello", timestamp=WHEN)


def posted_by(
    client_class: type[Trubrics], track: Track
) -> dict[str, list[dict[str, Any]]]:
    """Return what a client posts of what it is told to track."""
    with serve_raw(answer("200 OK", b"{}")) as server:
        client = client_class(api_key="test-key", host=server.url)
        track(client)
        client.close()
        shutdown()
        return bodies_of(server.requests)


@pytest.mark.parametrize("track", [track_both, track_little])
def test_contract(track: Track) -> None:
    """What is posted is what the official client posts, and a `record_id` beside it."""
    ours, official = posted_by(DurableTrubrics, track), posted_by(Trubrics, track)
    for events in ours.values():
        for event in events:
            assert event["properties"].pop("record_id")
            event["properties"] = event["properties"] or None
    assert ours == official


def test_it_is_a_trubrics_client(client: DurableTrubrics) -> None:
    """The durable client is the official one, and has no thread of its own."""
    assert isinstance(client, Trubrics)
    client._thread.join(5.0)
    assert not client._thread.is_alive()


def test_flush(client: DurableTrubrics, trubrics_server: IngestionServer) -> None:
    """`flush` waits until what was tracked before it has arrived."""
    track_both(client)
    report = client.flush()
    assert (True, 2, 2) == (bool(report), report.delivered, len(trubrics_server.events))
    assert [] == client.queue


def test_tracked_while_the_server_is_down(tmp_path: Path) -> None:
    """What cannot be sent stays on disk, for the destination that it was meant for."""
    client = DurableTrubrics(api_key="test-key", host=unused_url())
    track_both(client)
    assert not client.close(timeout=0.0)
    [census] = take_census(tmp_path / "spool")
    assert (True, 2) == (census.label.startswith("127.0.0.1-"), census.pending)


def test_key_of_the_configuration(trubrics_server: IngestionServer, tmp_path: Path) -> None:
    """Key, host and spool are what `configure` said where the client is given none."""
    spool_dir = tmp_path / "elsewhere"
    configure(api_key="test-key", host=trubrics_server.url, spool_dir=spool_dir)
    client = DurableTrubrics()
    track_both(client)
    assert (client.api_key, client.host) == ("test-key", trubrics_server.url)
    assert client.flush()
    assert spool_dir.is_dir()


def test_without_a_key(tmp_path: Path) -> None:
    """Without any key what is tracked stays on this machine."""
    client = DurableTrubrics()
    track_both(client)
    assert not client.flush()
    [census] = take_census(tmp_path / "spool")
    assert ("local", 2) == (census.label, census.pending)


def test_host_that_is_none() -> None:
    """A host that is no URL is an error where the client is made."""
    with pytest.raises(errors.ConfigurationError, match="host"):
        DurableTrubrics(api_key="test-key", host="nowhere")


@pytest.mark.parametrize(
    "properties",
    [
        {"at": WHEN, "seen": {1, 2}, "raw": b"x", "odd": float("nan"), 1: "one"},
        {"text": "\ud800", "key\ud800": 1},
    ],
)
def test_values_that_json_cannot_say(
    client: DurableTrubrics, trubrics_server: IngestionServer, properties: dict[Any, Any]
) -> None:
    """A value that JSON cannot say is told as text, and costs no event."""
    client.track("alice", "Signed up", properties=properties)
    assert client.flush()
    assert 1 == len(trubrics_server.events)


def test_properties_that_are_none(client: DurableTrubrics) -> None:
    """Properties that are no dictionary cost that event, counted, and raise nothing."""
    before = stats().noticed.get("tracked_failed", 0)
    client.track("alice", "Signed up", properties=5)  # type: ignore[arg-type]
    assert stats().noticed["tracked_failed"] == before + 1


def test_dict_changed_after_the_call(
    client: DurableTrubrics, trubrics_server: IngestionServer
) -> None:
    """What is tracked is what was given then, whatever the app does to it after."""
    properties = {"plan": "pro"}
    client.track("alice", "Signed up", properties=properties)
    properties["plan"] = "free"
    client.flush()
    [event] = trubrics_server.events
    assert "pro" == event["properties"]["plan"]
    assert {"plan": "free"} == properties


def test_texts_are_redacted(trubrics_server: IngestionServer) -> None:
    """What a redactor masks it masks here too; the identity is left alone."""
    configure(redact=str.upper)
    client = DurableTrubrics(api_key="test-key", host=trubrics_server.url)
    client.track_llm("alice", "hi", "hello", properties={"note": "quiet"})
    client.flush()
    [event] = trubrics_server.events
    told = (event["user_id"], event["prompt"], event["generation"])
    assert ("alice", "HI", "HELLO") == told
    assert "QUIET" == event["properties"]["note"]


def test_no_content(trubrics_server: IngestionServer) -> None:
    """Without content neither prompt nor generation leaves, and the event does."""
    configure(capture_content=False)
    client = DurableTrubrics(api_key="test-key", host=trubrics_server.url)
    client.track_llm("alice", "hi", "hello")
    client.flush()
    [event] = trubrics_server.events
    assert ("", "") == (event["prompt"], event["generation"])


def test_switched_off() -> None:
    """Where telemetry is switched off nothing is kept, and it is counted."""
    configure(enabled=False)
    before = stats()
    track_both(DurableTrubrics(api_key="test-key", host=unused_url()))
    after = stats()
    assert after.accepted == before.accepted
    assert after.skipped["disabled"] == before.skipped.get("disabled", 0) + 2


def test_captured() -> None:
    """In a test's capture what is tracked goes to its list, and nowhere else."""
    client = DurableTrubrics(api_key="test-key", host=unused_url())
    with capture_records() as records:
        track_both(client)
    kinds: list[type[Record]] = [type(record) for record in records]
    assert kinds == [TrackedRecord, TrackedRecord]


def test_threads(client: DurableTrubrics, trubrics_server: IngestionServer) -> None:
    """Many threads that track at once lose nothing and double nothing."""

    def track() -> None:
        for _ in range(50):
            client.track("alice", "Clicked", timestamp=WHEN)

    threads = [threading.Thread(target=track) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush()
    assert 400 == len(trubrics_server.events)
    assert {1} == set(trubrics_server.record_ids.values())
