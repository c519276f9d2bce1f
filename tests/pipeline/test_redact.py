"""What may leave: masked, cut, and said as JSON can say it."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace import (
    EventRecord,
    FeedbackRecord,
    PromptRecord,
    Record,
    Settings,
    configure,
    errors,
    stats,
)
from trubrics_trace._frozen import FrozenDict
from trubrics_trace._record import TrackedRecord
from trubrics_trace.pipeline._line import line_of
from trubrics_trace.pipeline._redact import media_note, prepare
from trubrics_trace.pipeline._text import MASK, clean_error, cut, sayable


class Colour(enum.Enum):
    """An enumeration of the app."""

    RED = "red"


class Unspeakable:
    """An object that raises when it is told."""

    def __str__(self) -> str:
        raise LookupError

    __repr__ = __str__


class BrokenMapping(Mapping[str, Any]):
    """A mapping that raises when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise LookupError

    def __iter__(self) -> Iterator[str]:
        raise LookupError

    def __len__(self) -> int:
        return 1


class BrokenList(list[Any]):
    """A list that raises when it is read."""

    def __iter__(self) -> Iterator[Any]:
        raise LookupError


class BrokenDate(datetime):
    """A date that raises when it is told."""

    def isoformat(self, *_: Any, **__: Any) -> str:
        """Raise."""
        raise LookupError


class LoudNumber(int):
    """A number that raises when it is computed with."""

    def __abs__(self) -> int:
        raise LookupError

    __int__ = __abs__


def prompt(**fields: Any) -> PromptRecord:
    """Return a prompt's record."""
    return PromptRecord(**{"record_id": "1", **fields})


def prepared(record: PromptRecord, **settings: Any) -> PromptRecord:
    """Return the record as it leaves under these settings."""
    return prepare(record, Settings(**settings))


def told(value: Any, **settings: Any) -> Any:
    """Return a value of the metadata as it leaves."""
    record = prepared(prompt(metadata={"value": value}), **settings)
    line_of(record)  # JSON can say it
    return record.metadata["value"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**64, str(2**64)),
        (-(2**64), str(-(2**64))),
        (LoudNumber(7), 7),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        ("text", "text"),
        (b"\x00\xff", "[bytes 2 bytes]"),
        (bytearray(3), "[bytes 3 bytes]"),
        ({"b", "a"}, ("a", "b")),
        (frozenset([2, 1]), (1, 2)),
        ([1, (2, [3])], (1, (2, (3,)))),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        (
            {("x", 1): "tuple key", None: "no key"},
            {"('x', 1)": "tuple key", "None": "no key"},
        ),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=7), str(UUID(int=7))),
        (Colour.RED, "red"),
        (Unspeakable(), "[Unspeakable that cannot be told]"),
        ({Unspeakable(): 1}, {"[Unspeakable that cannot be told]": 1}),
        (BrokenMapping(), "[BrokenMapping that cannot be told]"),
        (BrokenList([1]), "[BrokenList that cannot be told]"),
        (BrokenDate(2026, 1, 2), "[BrokenDate that cannot be told]"),
        (10**5000, "[int that cannot be told]"),
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        (1 - 2**63, 1 - 2**63),
        ("\ud800", "\ufffd"),
        ("a\0b", "a\ufffdb"),
        ({"\ud800": 1}, {"\ufffd": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(value: Any, said: Any) -> None:
    """Each value leaves as JSON can say it, or as a note that says what stood there."""
    assert told(value) == said


def test_cycle() -> None:
    """A value that holds itself is followed down to a bound, and marked there."""
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    assert "[deeper than 32 levels]" in json.dumps(told(cycle))


def test_cycle_that_branches() -> None:
    """A value that holds itself twice costs no more than any other large one."""
    cycle: list[Any] = []
    cycle.extend([cycle, cycle])
    assert len(json.dumps(told(cycle))) < 1_000_000


def test_many_values() -> None:
    """Of a great many values the first ten thousand leave, and how many there were."""
    said = told(list(range(50_000)))
    assert (0, 1, 2) == said[:3]
    assert len(said) < 10_001
    assert "[cut, 50,000 values in all]" == said[-1]
    mapping = told({str(number): number for number in range(50_000)})
    assert (0, "[cut, 50,000 values in all]") == (mapping["0"], mapping["…"])


def test_nothing_is_told_beyond_many_values() -> None:
    """What stands behind ten thousand values is told as a note, whatever it holds."""
    said = told([*[[0]] * 6_000, ["last", "but", "one"], {"last": 1, "of": "all"}])
    assert (("[cut, 1 values in all]",),) == said[5_500:5_501]
    assert (("[cut, 3 values in all]",), {"…": "[cut, 2 values in all]"}) == said[-2:]
    assert len(said) < 10_001


def test_long_key() -> None:
    """A key is cut as a text is."""
    [key] = told({"k" * 10_000: 1})
    assert key.endswith("… [cut, 10,000 characters in all]")


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text() | st.integers() | st.tuples(st.text()), inner)
            | st.frozensets(st.text() | st.integers())
        ),
    )
)
def test_any_value_can_be_said(value: Any) -> None:
    """Whatever the metadata holds, the line is strict JSON, and says it the same twice."""
    first = prepared(prompt(metadata={"value": value}))
    json.loads(line_of(first), parse_constant=lambda name: pytest.fail(name))
    again = prepared(first)
    assert line_of(again) == line_of(first)


def test_what_the_app_holds_is_left_alone() -> None:
    """Nothing that the app holds is changed, and nothing of it is kept."""
    mine: dict[str, Any] = {"list": [1]}
    record = prepared(prompt(metadata=mine))
    mine["list"].append(2)
    assert {"list": (1,)} == record.metadata
    assert type(record.metadata) is FrozenDict


def test_long_text_is_cut() -> None:
    """A text beyond its limit is cut, and says how long it was."""
    record = prepared(prompt(prompt="x" * 10_000_000))
    assert record.prompt == "x" * 32_768 + "… [cut, 10,000,000 characters in all]"


def test_long_record_is_cut() -> None:
    """A record has a limit too: of a long history the oldest messages are cut first."""
    history = tuple(
        {"role": "user", "content": f"{number}" * 30_000} for number in range(10)
    )
    record = prepared(prompt(prompt="Hi", messages=history))
    assert record.messages is not None
    assert record.messages[-1]["content"] == "9" * 30_000
    assert "… [cut, 30,000 characters in all]" == record.messages[0]["content"]
    assert len(line_of(record)) < 300_000


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (("image", "image/png", 5_242_880), "[image image/png, 5,242,880 bytes]"),
        (("audio", None, 3), "[audio 3 bytes]"),
        (("file", "text/csv", None), "[file text/csv]"),
        (("file", None, None), "[file]"),
    ],
)
def test_media_note(arguments: tuple[str, str | None, int | None], note: str) -> None:
    """Where a medium stood a note of its kind, type and size stands."""
    assert media_note(*arguments) == note


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("key sk-proj-12345678abcd refused", f"key {MASK} refused"),
        ("AIzaSyA1234567890123456789", MASK),
        ("Bearer abcdefgh12345", f"Bearer {MASK}"),
        ("https://bob:hunter2@host/path", f"https://{MASK}@host/path"),
        ("api_key='hunter2' is wrong", f"api_key='{MASK}' is wrong"),
        ('{"password": "hunter2"}', f'{{"password": "{MASK}"}}'),
        ("token eyJhbGciOiJIUzI1.J9abc.def", f"token {MASK}"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_in_errors(message: str, said: str) -> None:
    """An error's message is cleared of the shapes of keys and passwords."""
    assert clean_error(message) == said


@pytest.mark.parametrize("message", ["x" * 5_000, "a-" * 500_000, "sk-12345678" * 900])
def test_long_error_is_cut(message: str) -> None:
    """An error's message is a hint: a thousand characters of it are enough, and quick."""
    said = clean_error(message)
    assert len(said) < 1_050
    assert said.endswith(f"… [cut, {len(message):,} characters in all]")


def test_error_is_cut_to_the_letter() -> None:
    """A message of a thousand characters is whole; of one more, a thousand are shown."""
    assert "x" * 1_000 == clean_error("x" * 1_000)
    assert "x" * 1_000 + "… [cut, 1,001 characters in all]" == clean_error("x" * 1_001)


def test_error_that_a_mask_makes_short() -> None:
    """A message is cut after it was cleared: a long key costs nothing of the rest."""
    assert f"{MASK} is refused" == clean_error(f"sk-{'k' * 1_500} is refused")


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_sayable(text: str) -> None:
    """Any text becomes one that UTF-8 can say, without NUL; one that is stays."""
    said = sayable(text)
    assert said.encode().decode() == said
    assert "\0" not in said
    assert sayable(said) == said


@given(st.text(max_size=50), st.integers(0, 60))
def test_cut(text: str, limit: int) -> None:
    """A text within its limit stays; a longer one keeps that many characters."""
    said = cut(text, limit)
    assert said == text or (len(text) > limit and said.startswith(text[:limit] + "…"))


def test_redactors_in_order() -> None:
    """Each redactor is given what the one before it left."""
    redactors = (lambda text: text.replace("a", "b"), lambda text: text.replace("b", "c"))
    assert "cc" == prepared(prompt(prompt="ab"), redact=redactors).prompt


def test_redactors_see_every_text() -> None:
    """Redactors are given each text that people or models wrote, and no identity."""
    record = prompt(
        user_id="alice",
        run_name="secret run",
        prompt="secret",
        generation="secret",
        messages=({"role": "user", "content": "secret"},),
        tool_calls=({"name": "search", "args": {"query": "secret"}},),
        metadata={"note": ["secret"]},
        parameters={"stop": "secret"},
        status="error",
        error_message="secret",
        attempt_errors=("secret",),
    )
    masked = prepared(record, redact=(lambda text: text.replace("secret", "…"),))
    fields = {name: value for name, value in masked.items() if "secret" in repr(value)}
    assert {"run_name": "secret run"} == fields
    assert "alice" == masked.user_id


@pytest.mark.parametrize("answer", [None, 5, LookupError("secret")])
def test_redactor_that_fails(answer: Any) -> None:
    """A redactor that raises, or gives no text, masks the whole text that it was given."""

    def redactor(text: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert prepared(prompt(prompt="secret"), redact=(redactor,)).prompt == MASK


def test_redactor_that_raises_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A redactor that raises is counted each time, and said once without the text."""
    before = stats().noticed.get("redactor_failed", 0)

    def redactor(text: str) -> str:
        raise LookupError(text)

    prepared(prompt(prompt="secret", generation="secret"), redact=(redactor,))
    assert stats().noticed["redactor_failed"] == before + 2
    assert 1 == len([said for said in caplog.messages if "redactor" in said])
    assert "secret" not in caplog.text


def test_redactor_that_raises_when_strict() -> None:
    """In strict mode a redactor that raises is an error."""
    configure(strict=True)

    def redactor(text: str) -> str:
        raise LookupError

    with pytest.raises(errors.TelemetryError, match="redactor_failed"):
        prepared(prompt(prompt="x"), redact=(redactor,))


def test_interrupt_passes() -> None:
    """What ends a program ends it, also inside a redactor."""

    def redactor(text: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(prompt(prompt="x"), redact=(redactor,))


def test_no_content() -> None:
    """Without content a record has its counts, tokens and times, and no text."""
    record = prompt(
        prompt="secret",
        generation="secret",
        messages=({"role": "user", "content": "secret"},),
        tool_calls=({"name": "secret"},),
        error_message="secret",
        attempt_errors=("secret",),
        error_type="TimeoutError",
        input_tokens=3,
        latency_seconds=1.5,
    )
    bare = prepared(record, capture_content=False)
    assert "secret" not in repr(bare)
    kept = (bare.prompt, bare.generation, bare.input_tokens, bare.error_type)
    assert ("", None, 3, "TimeoutError") == kept


def test_feedback_is_redacted() -> None:
    """What a user wrote about an answer is redacted like a prompt."""
    feedback = FeedbackRecord(record_id="1", score=float("nan"), comment="a\ud800secret")
    redact = (lambda text: text.replace("secret", MASK),)
    said = prepare(feedback, Settings(redact=redact))
    assert (said.score, said.comment) == ("nan", f"a\ufffd{MASK}")


def test_feedback_without_content() -> None:
    """Without content feedback keeps its score, and not what the user wrote."""
    feedback = FeedbackRecord(record_id="1", score=1, comment="secret")
    said = prepare(feedback, Settings(capture_content=False))
    assert (1, None) == (said.score, said.comment)


def test_tracked_without_content() -> None:
    """What the official client would post keeps its names, but not what was said."""
    payload = {"user_id": "alice", "prompt": "Hi", "generation": "Hello", "latency": 2}
    tracked = TrackedRecord(record_id="1", payload=FrozenDict(payload))
    said = prepare(tracked, Settings(capture_content=False)).payload
    assert {**payload, "prompt": "", "generation": ""} == said
    event = TrackedRecord(record_id="1", payload=FrozenDict(event="Signed up"))
    assert {"event": "Signed up"} == prepare(event, Settings(capture_content=False)).payload


def test_event_name() -> None:
    """An event's name is the programmer's: said and cut, and not redacted."""
    event = EventRecord(record_id="1", event_name="Signed up\ud800")
    said = prepare(event, Settings(redact=(str.upper,), max_text_length=6))
    assert "Signed… [cut, 10 characters in all]" == said.event_name


def test_environment() -> None:
    """Each record is told with the environment of the settings."""
    assert "production" == prepared(prompt(), environment="production").environment


def test_nothing_else_changes() -> None:
    """A record that is fit to leave leaves as it was."""
    record = prompt(user_id="alice", prompt="Hi", generation="Hello", input_tokens=1)
    assert dataclasses.replace(prepared(record)) == record


def test_record_of_no_kind() -> None:
    """Of any record the metadata is made fit to leave."""
    said = prepare(Record(record_id="1", metadata={"n": {1}}), Settings())
    assert {"n": (1,)} == said.metadata
