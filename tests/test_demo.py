"""The demo tells the truth of itself: what did not arrive as it should is said."""

from __future__ import annotations

from typing import Any

import pytest

from trubrics_trace.demo import _TALK, _WHO_STOPS, _what_is_wrong, main
from trubrics_trace.testing import IngestionServer


def arrived() -> IngestionServer:
    """Return a server where everything has arrived as it should."""
    server = IngestionServer("key")
    for user, (question, _) in _TALK.items():
        status = "stopped" if user == _WHO_STOPS else "complete"
        server.events.append(
            {
                "user_id": user or "anonymous:chat-walk-in",
                "prompt": question,
                "properties": {"status": status},
            }
        )
    server.record_ids.update(_TALK.keys())
    return server


def event_of(server: IngestionServer, user: str) -> dict[str, Any]:
    """Return what arrived of one user's question."""
    return next(event for event in server.events if event["user_id"] == user)


def test_all_is_well() -> None:
    """Each question once, under its user, and one stopped: nothing is wrong."""
    assert [] == _what_is_wrong(arrived())


def test_wrong_user() -> None:
    """A question under somebody else's name is wrong."""
    server = arrived()
    event_of(server, "alice")["user_id"] = "mallory"

    assert ["alice should be complete, but arrived was mallory"] == _what_is_wrong(server)


def test_wrong_status() -> None:
    """An answer that was stopped, but is told as complete, is wrong."""
    server = arrived()
    event_of(server, "bob")["properties"]["status"] = "complete"

    [problem] = _what_is_wrong(server)
    assert problem.startswith("bob should be stopped, but arrived was")


def test_lost() -> None:
    """A question that did not arrive is wrong, an anonymous one too."""
    server = arrived()
    server.events.remove(event_of(server, "anonymous:chat-walk-in"))

    assert ["the question of anonymous:chat-walk-in did not arrive"] == _what_is_wrong(
        server
    )


def test_twice() -> None:
    """A record that arrived twice is wrong."""
    server = arrived()
    server.record_ids.update(["alice"])

    assert ["something arrived twice"] == _what_is_wrong(server)


def test_demo_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With telemetry switched off it says of each question that it is lost, and ends 1."""
    monkeypatch.setenv("TRUBRICS_TRACE_ENABLED", "false")

    assert 1 == main()

    said = capsys.readouterr().err
    assert [
        f"WRONG: the question of {user} did not arrive"
        for user in ("alice", "bob", "carol", "anonymous:chat-walk-in")
    ] == [line for line in said.splitlines() if line.startswith("WRONG")]
    assert "delivered" not in said
