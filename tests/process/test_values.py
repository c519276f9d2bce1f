"""Whatever value the app gives, its record arrives at a server that takes no nonsense."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from langchain_core.language_models import FakeListChatModel

from tests.process.faults import Event, FaultyServer, serve_faulty
from trubrics_trace import (
    DurableTrubrics,
    configure,
    flush,
    stats,
    track_event,
    track_feedback,
    trubrics_scope,
)

PATIENCE_SECONDS = 30.0


class Mute:
    """A value that can say nothing of itself."""

    def __str__(self) -> str:
        raise LookupError

    def __repr__(self) -> str:
        raise LookupError


class Named:
    """A value that can."""

    def __str__(self) -> str:
        return "a value"


def cycle() -> dict[str, Any]:
    """Return a dict that holds itself."""
    made: dict[str, Any] = {"name": "cycle"}
    made["itself"] = made
    return made


LONG = "x" * 100_000

# A value, and what arrives of it.
VALUES: dict[str, tuple[Any, Any]] = {
    "set": ({3, 1, 2}, [1, 2, 3]),
    "object": (Named(), "a value"),
    "bytes": (b"\x00\xff\xfe", "[bytes 3 bytes]"),
    "nan": (math.nan, "nan"),
    "infinity": ([math.inf, -math.inf], ["inf", "-inf"]),
    "datetime": (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00+00:00"),
    "date": (date(2026, 1, 2), "2026-01-02"),
    "decimal": (Decimal("1.10"), "1.10"),
    "uuid": (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    "tuple key": ({(1, "a"): 1}, {"(1, 'a')": 1}),
    "mute": (Mute(), "[Mute that cannot be told]"),
    "mute key": ({Mute(): 1}, {"[Mute that cannot be told]": 1}),
    "lone surrogate": ("a\ud800z", "a\ufffdz"),
    "surrogate key": ({"\udfff": 1}, {"\ufffd": 1}),
    "nul": ("a\0z", "a\ufffdz"),
    "huge integer": (2**70, str(2**70)),
    "long text": (LONG, f"{LONG[:32_768]}… [cut, 100,000 characters in all]"),
}


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """Yield a strict server, to which records go."""
    with serve_faulty() as made:
        configure(api_key=made.api_key, host=made.url)
        yield made


def as_scope(name: str, value: Any) -> None:
    """Ask a model in a scope that has this value."""
    with trubrics_scope(user_id="alice", value=value):
        FakeListChatModel(responses=["42"]).invoke(name)


def as_config(name: str, value: Any) -> None:
    """Ask a model with this value in LangChain's own metadata."""
    with trubrics_scope(user_id="alice"):
        model = FakeListChatModel(responses=["42"])
        model.invoke(name, config={"metadata": {"value": value}})


def as_event(name: str, value: Any) -> None:
    """Track an event that has this value."""
    track_event(name, user_id="alice", value=value)


def as_feedback(name: str, value: Any) -> None:
    """Track feedback that has this value."""
    track_feedback(1, name, user_id="alice", value=value)


def as_client(name: str, value: Any) -> None:
    """Track by hand, as the official client does."""
    DurableTrubrics().track("alice", name, {"value": value})


def name_of(event: Event) -> str:
    """Return the name of the value that an event was made for."""
    return str(event.get("prompt") or event["properties"].get("comment") or event["event"])


Way = Callable[[str, Any], None]
each_way = pytest.mark.parametrize(
    "way", [as_scope, as_config, as_event, as_feedback, as_client]
)


@each_way
def test_every_value(server: FaultyServer, way: Way) -> None:
    """Each value arrives, told as JSON can, and none stands in the way of another."""
    for name, (value, _) in VALUES.items():
        way(name, value)
    assert flush(PATIENCE_SECONDS)
    told = {name_of(event): event["properties"]["value"] for event in server.events}
    assert {name: expected for name, (_, expected) in VALUES.items()} == told
    assert {1} == set(server.record_ids.values())
    assert {200} == set(server.requests)
    assert (True, {}) == (stats().is_balanced, stats().rejected)


@each_way
def test_cycle(server: FaultyServer, way: Way) -> None:
    """What holds itself is told to a depth, and marked there."""
    way("cycle", cycle())
    assert flush(PATIENCE_SECONDS)
    [event] = server.events
    value = event["properties"]["value"]
    while isinstance(value, dict):
        assert "cycle" == value["name"]
        value = value["itself"]
    assert "[deeper than 32 levels]" == value


@each_way
def test_changed_after_the_call(server: FaultyServer, way: Way) -> None:
    """What the app changes once the call has returned is told as it was."""
    value = {"inner": ["before"]}
    way("changed", value)
    value["inner"].append("after")
    value["more"] = ["after"]
    assert flush(PATIENCE_SECONDS)
    [event] = server.events
    assert {"inner": ["before"]} == event["properties"]["value"]


def test_prompt_of_ten_megabytes(server: FaultyServer) -> None:
    """A prompt of 10 MB is answered, and arrives cut and marked, beside its neighbours."""
    prompt = "x" * 10_000_000
    as_scope("before", 1)
    as_scope(prompt, 2)
    as_scope("after", 3)
    assert flush(PATIENCE_SECONDS)
    cut = f"{prompt[:32_768]}… [cut, 10,000,000 characters in all]"
    assert ["before", cut, "after"] == [event["prompt"] for event in server.events]
    assert [{"role": "user", "content": cut}] == server.events[1]["properties"]["messages"]
