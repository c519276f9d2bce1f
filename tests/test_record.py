"""What is known of one call: frozen, and the same after its way through the spool."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace import EventRecord, FeedbackRecord, PromptRecord, Record, Settings
from trubrics_trace._frozen import FrozenDict
from trubrics_trace._record import (
    TrackedRecord,
    field_names,
    record_from_dict,
    record_from_line,
    record_to_send,
)
from trubrics_trace.pipeline._line import line_of
from trubrics_trace.pipeline._redact import prepare

KINDS = [PromptRecord, FeedbackRecord, EventRecord, TrackedRecord]
TEXT = st.text(max_size=20)
METADATA = st.dictionaries(TEXT, st.none() | st.integers() | TEXT | st.lists(TEXT))
IDENTITY = {
    "record_id": TEXT,
    "user_id": st.none() | TEXT,
    "thread_id": st.none() | TEXT,
    "session_id": st.none() | TEXT,
    "metadata": METADATA,
    "started_at": TEXT,
}
RECORDS = st.one_of(
    st.builds(
        PromptRecord,
        **IDENTITY,
        tags=st.lists(TEXT).map(tuple),
        prompt=TEXT,
        generation=st.none() | TEXT,
        messages=st.none() | st.lists(st.dictionaries(TEXT, TEXT)).map(tuple),
        parameters=st.none() | METADATA,
        input_tokens=st.none() | st.integers(0, 10**6),
        latency_seconds=st.floats(0, 10**6),
        cache_hit=st.none() | st.booleans(),
    ),
    st.builds(FeedbackRecord, **IDENTITY, score=st.integers(-5, 5) | TEXT, comment=TEXT),
    st.builds(EventRecord, **IDENTITY, event_name=TEXT),
    st.builds(TrackedRecord, **IDENTITY, endpoint=TEXT, payload=METADATA),
)


@given(RECORDS)
def test_round_trip(born: Record) -> None:
    """What is read from the spool is the record that was written."""
    record = prepare(born, Settings())
    assert record_from_dict(json.loads(line_of(record))) == record


@pytest.mark.parametrize("kind", KINDS)
def test_frozen(kind: type[Record]) -> None:
    """A record cannot be changed."""
    record = kind(record_id="1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.user_id = "bob"  # type: ignore[misc]


def test_null_is_the_default() -> None:
    """A line that says nothing of a field says what its class does."""
    line = b'{"kind":"prompt","record_id":"1","metadata":null,"latency_seconds":null}'
    assert PromptRecord(record_id="1") == record_from_line(line)


NESTED: Any = [[[{"deep": [1, None, "x"]}]]]


@given(RECORDS, st.dictionaries(TEXT, st.none() | TEXT))
def test_what_is_sent_is_what_is_read(born: Record, more: dict[str, Any]) -> None:
    """A record that is read to be sent says what the one that is read does."""
    said = {**more, **json.loads(line_of(prepare(born, Settings())))}
    line = json.dumps(said).encode()
    read, sent = record_from_line(line), record_to_send(line)
    assert read is not None
    assert sent is not None
    assert type(read) is type(sent)
    assert json.loads(line_of(read)) == json.loads(line_of(sent))


ODD_LINES: list[Any] = [
    {"kind": "prompt", "record_id": 1},
    {"kind": "none", "record_id": "1"},
    {"kind": ["prompt"], "record_id": "1"},
    ["kind", "prompt"],
    {"kind": "prompt", "record_id": "1", "metadata": None, "latency_seconds": None},
    {"kind": "prompt", "record_id": "1", "user_id": ["a", {"b": 1}]},
    {"kind": "prompt", "record_id": "1", "metadata": {"a": NESTED}, "newer": NESTED},
    {"kind": "tracked", "record_id": "1", "endpoint": ["x"], "payload": {}},
    {"kind": "tracked", "record_id": "1", "payload": None},
]


@pytest.mark.parametrize("said", ODD_LINES, ids=repr)
def test_odd_lines_are_sent_as_they_are_read(said: Any) -> None:
    """Of what no line of ours says, what is sent is what is read, frozen."""
    line = json.dumps(said).encode()
    assert record_from_line(line) == record_to_send(line)
    assert record_from_line(b"torn" + line) == record_to_send(b"torn" + line)


@pytest.mark.parametrize("depth", [50, 90, 110, 600, 1000, 1020])
def test_deep_lines_are_sent_as_they_are_read(depth: int) -> None:
    """A line that is too deep to be read is not sent, either."""
    deep = b"[" * depth + b"]" * depth
    line = b'{"kind":"prompt","record_id":"1","metadata":{"a":' + deep + b"}}"
    read, sent = record_from_line(line), record_to_send(line)
    assert (read is None) == (sent is None)
    assert depth < 100 or read == sent


def test_whole_numbers_are_told_apart() -> None:
    """Two users whose ids are too long for a number stay two."""
    users = [2**127 + 1, 2**127 + 2]
    lines = [line_of(PromptRecord(record_id="1", user_id=user)) for user in users]  # type: ignore[arg-type] # as before_send may leave it
    told = [record_from_line(line) for line in lines]
    assert [str(user) for user in users] == [one and one.user_id for one in told]


def test_a_copy_of_what_it_says() -> None:
    """What `items` gives may be changed, and the record stays."""
    born = PromptRecord(record_id="1", user_id="alice")
    read = record_from_line(line_of(born))
    assert read is not None
    for record in (born, read):  # with what it does not say, and without
        copied = dict(record.items())
        copied["user_id"] = "bob"
        assert ("alice", "1") == (record.user_id, next(record.items())[1])


CHANGES: list[Any] = [
    lambda frozen: frozen.__setitem__("a", 2),
    lambda frozen: frozen.__delitem__("a"),
    lambda frozen: frozen.__ior__({"a": 2}),
    lambda frozen: frozen.update(a=2),
    lambda frozen: frozen.setdefault("b", 2),
    lambda frozen: frozen.pop("a"),
    lambda frozen: frozen.popitem(),
    lambda frozen: frozen.clear(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_frozen_dictionary(change: Any) -> None:
    """What a record holds cannot be changed, and the error says how to copy it."""
    frozen = FrozenDict(a=1)
    with pytest.raises(TypeError, match="copy it with dict"):
        change(frozen)
    assert {"a": 1} == frozen


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies(copied: Any) -> None:
    """A record can be copied and pickled, and its copy is as frozen."""
    record = PromptRecord(record_id="1", metadata=FrozenDict(a=FrozenDict(b=1)))
    twin = copied(record)
    assert twin == record
    assert type(twin.metadata["a"]) is FrozenDict


def test_copy_of_a_frozen_dictionary() -> None:
    """What cannot change is its own copy."""
    frozen = FrozenDict(a=1)
    assert copy.copy(frozen) is frozen


def test_changed_copy_of_a_dictionary() -> None:
    """A plain copy of what a record holds may be changed."""
    mine = dict(FrozenDict(a=1))
    mine["a"] = 2
    assert {"a": 2} == mine


def test_what_nobody_said_is_left_out() -> None:
    """A record tells what was said, in the order of its fields, and leaves None out."""
    record = EventRecord(record_id="1", event_name="Signed up")
    assert [
        ("record_id", "1"),
        ("metadata", {}),
        ("started_at", ""),
        ("event_name", "Signed up"),
    ] == list(record.items())
    assert "kind" == next(iter(record.to_dict()))


@pytest.mark.parametrize("kind", KINDS)
def test_field_names(kind: type[Record]) -> None:
    """The names of a record's fields are those that it was declared with."""
    assert field_names(kind) == tuple(field.name for field in dataclasses.fields(kind))


def test_unknown_keys_are_passed_over() -> None:
    """A line of a newer version is read, as far as this one knows its words."""
    values = {"kind": "event", "record_id": "1", "colour": "red", "event_name": "x"}
    assert record_from_dict(values) == EventRecord(record_id="1", event_name="x")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "prompt"},
        {"kind": "prompt", "record_id": 1},
        {"kind": "unknown", "record_id": "1"},
    ],
)
def test_what_is_no_record(values: dict[str, Any]) -> None:
    """What names no record, or has no id, is none."""
    with pytest.raises(ValueError, match="not a record"):
        record_from_dict(values)


def test_first_tag() -> None:
    """The first tag of a prompt is always `langchain`."""
    assert ("langchain",) == PromptRecord(record_id="1").tags
