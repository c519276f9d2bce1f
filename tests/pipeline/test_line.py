"""The short way of a record and the long one lead to the same place."""

from __future__ import annotations

import enum
import json
import math
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process.program import output_of
from trubrics_trace import EventRecord, PromptRecord, Settings
from trubrics_trace._frozen import FrozenDict
from trubrics_trace._json import from_json, to_json
from trubrics_trace.pipeline._line import as_it_is, line_of
from trubrics_trace.pipeline._redact import prepare

SETTINGS = Settings()


class Colour(enum.Enum):
    """What is no value of JSON's, and has one."""

    RED = "red"


ODD = st.sampled_from(
    [
        math.nan,
        math.inf,
        2**63,
        -(2**70),
        b"bytes",
        uuid.UUID(int=1),
        datetime(2026, 1, 2, tzinfo=timezone.utc),
        Colour.RED,
        object,
        {"a": 1},
        {1: 2},
        [1],
        (1, {"b": 2}),
        {"set"},
        "\ud800",
        "nul \0",
        "spelt \\u0000",
        "x" * 40_000,
    ]
)
TEXT = st.text(max_size=20) | st.sampled_from(["\0", "\ud800", "é" * 9, "y" * 33_000])
PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | TEXT
VALUES = st.recursive(
    PLAIN | ODD,
    lambda inner: (
        st.dictionaries(TEXT, inner, max_size=3).map(FrozenDict)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)
MAPPINGS = st.dictionaries(TEXT, VALUES, max_size=3).map(FrozenDict)
MESSAGES = st.builds(
    lambda content, more: FrozenDict({"role": "user", "content": content, **more}),
    TEXT,
    st.just({}) | st.fixed_dictionaries({"tool_calls": st.tuples(MAPPINGS)}),
)


@given(
    metadata=MAPPINGS,
    prompt=TEXT,
    generation=st.none() | TEXT,
    messages=st.none() | st.lists(MESSAGES, max_size=3).map(tuple),
    parameters=st.none() | MAPPINGS,
    tool_calls=st.none() | st.lists(MAPPINGS, max_size=2).map(tuple),
    error_message=st.none() | st.just("sk-12345678901234567890"),
    environment=st.none() | st.just("test"),
)
def test_the_short_way_is_the_long_way(environment: str | None, **fields: Any) -> None:
    """What leaves as it was born is what looking at each of its values would give."""
    settings = Settings(environment=environment)
    born = PromptRecord(record_id="1", user_id="alice", **fields)

    answer = as_it_is(born, settings)

    if answer is not None:
        record, said, line = answer
        prepared = prepare(born, settings)
        assert prepared.to_dict() == said
        assert (record, json.loads(line)) == (prepared, json.loads(line_of(prepared)))


SHORT: list[Any] = [
    {},
    {"generation": "Hi", "messages": (FrozenDict(role="user", content="Ünïcode"),)},
    {"metadata": FrozenDict(plan="pro", seats=3, share=0.5, is_paid=True, note=None)},
    {"parameters": FrozenDict(temperature=0.2, stop=("a", "b"))},
    {"tool_calls": (FrozenDict(name="search", args=FrozenDict(q="x"), id="1"),)},
]


@pytest.mark.parametrize("fields", SHORT)
def test_most_take_the_short_way(fields: dict[str, Any]) -> None:
    """Texts, numbers, and frozen dictionaries of them leave as they were born."""
    born = PromptRecord(record_id="1", prompt="Hello", **fields)
    answer = as_it_is(born, SETTINGS)
    assert answer is not None
    assert answer[0] is born


LONG: list[Any] = [
    {"prompt": "x" * 20_001},
    {"prompt": "\0"},
    {"prompt": "\ud800"},
    {"prompt": None},
    {"error_message": "key sk-12345678901234567890"},
    {"attempt_errors": ("ValueError",)},
    {"metadata": {"not": "frozen"}},
    {"metadata": FrozenDict(a=math.nan)},
    {"metadata": FrozenDict(a=2**63)},
    {"metadata": FrozenDict(a=[1])},
    {"metadata": FrozenDict({"k" * 1_001: 1})},
    {"parameters": FrozenDict(a=uuid.UUID(int=1))},
    {"tool_calls": (FrozenDict(args={"a": 1}),)},
    {"messages": (FrozenDict(role="user", content="a", more=object()),)},
    {"run_name": object()},
]


@pytest.mark.parametrize("fields", LONG)
def test_what_needs_a_look(fields: dict[str, Any]) -> None:
    """What is long, odd, or not for ever takes the long way."""
    born = PromptRecord(record_id="1", **{"prompt": "Hello", **fields})
    assert as_it_is(born, SETTINGS) is None


def test_deep_values_need_a_look() -> None:
    """What is nested deeper than most takes the long way."""
    deep = FrozenDict(a=1)
    for _ in range(20):
        deep = FrozenDict(a=deep)
    born = PromptRecord(record_id="1", prompt="Hello", metadata=deep)
    assert as_it_is(born, SETTINGS) is None


@pytest.mark.parametrize(
    "settings",
    [
        Settings(redact=("email",)),
        Settings(pseudonymize=b"key"),
        Settings(capture_content=False),
    ],
)
def test_masks_need_a_look(settings: Settings) -> None:
    """Where something is to be masked, each value is looked at."""
    assert as_it_is(PromptRecord(record_id="1", prompt="Hello"), settings) is None


def test_other_records_need_a_look() -> None:
    """Only prompts are many enough for a way of their own."""
    assert as_it_is(EventRecord(record_id="1", event_name="Signed up"), SETTINGS) is None


def test_environment() -> None:
    """The environment's name is told on the short way, too."""
    born = PromptRecord(record_id="1", prompt="Hello")
    answer = as_it_is(born, Settings(environment="staging"))
    assert answer is not None
    assert ("staging", None) == (answer[0].environment, born.environment)
    assert json.loads(answer[2])["environment"] == "staging"


def test_without_orjson(tmp_path: Path) -> None:
    """Where there is no orjson the standard library says and reads the same."""
    value = {"a": [1, "é", None, True, 0.5], "b": {"c": ""}}
    program = (
        "import sys; sys.modules['orjson'] = None\n"
        "from trubrics_trace._json import from_json, to_json\n"
        f"print(to_json({value!r}).decode(), from_json(to_json({value!r})) == {value!r})\n"
        "try:\n    to_json(float('nan'))\nexcept ValueError:\n    print('refused')"
    )
    assert f"{to_json(value).decode()} True\nrefused" == output_of(program, tmp_path)


def test_unusual_json() -> None:
    """What orjson refuses and the standard library reads is read."""
    assert {"a": "\ud800"} == from_json(b'{"a": "\\ud800"}')
    assert sys.maxsize == from_json(str(sys.maxsize).encode())
