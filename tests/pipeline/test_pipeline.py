"""Sample, ask, redact, log, spool; and whatever fails, the app goes on."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import structlog
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
from trubrics_trace._record import record_from_dict
from trubrics_trace.pipeline._guard import attempt
from trubrics_trace.pipeline._line import line_of
from trubrics_trace.pipeline._pipeline import accept


def prompt(record_id: object = "1", **fields: Any) -> PromptRecord:
    """Return a prompt's record."""
    return PromptRecord(record_id=str(record_id), **fields)


class Kept:
    """A spool's place: what was kept, and its lines."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.lines: list[bytes] = []

    def __call__(self, record: Record, line: bytes) -> None:
        """Keep a record and its line."""
        self.records.append(record)
        self.lines.append(line)


def skipped(reason: str) -> int:
    """Return how often a reason was skipped."""
    return stats().skipped.get(reason, 0)


def noticed(reason: str) -> int:
    """Return how often a reason was counted."""
    return stats().noticed.get(reason, 0)


def raising(*_: object) -> Any:
    """Raise, whatever is asked."""
    raise LookupError("secret")


def test_record_is_kept_as_it_left() -> None:
    """What is returned, kept and written is the same record, fit to leave."""
    kept = Kept()
    accepted = accept(prompt(metadata={"n": {1}}), Settings(environment="test"), kept)
    assert [accepted] == kept.records
    assert [record_from_dict(json.loads(line)) for line in kept.lines] == kept.records
    assert accepted == prompt(metadata={"n": (1,)}, environment="test")


def test_before_send_changes() -> None:
    """`before_send` sees the record as it was born, and what it returns is taken."""
    seen: list[Record] = []

    def before_send(record: Record) -> Record:
        seen.append(record)
        return dataclasses.replace(record, user_id="bob")

    kept = Kept()
    born = prompt(prompt="hi", user_id="alice")
    accept(born, Settings(before_send=before_send, redact=(str.upper,)), kept)
    assert seen == [born]
    assert kept.records == [prompt(prompt="HI", user_id="bob")]


def test_before_send_refuses() -> None:
    """A record that `before_send` answers with None is skipped, counted, and not told."""
    before = skipped("before_send")
    kept = Kept()
    with structlog.testing.capture_logs() as logs:
        assert accept(prompt(), Settings(before_send=lambda record: None), kept) is None
    assert ([], []) == (kept.records, logs)
    assert skipped("before_send") == before + 1


def test_before_send_raises(caplog: pytest.LogCaptureFixture) -> None:
    """A `before_send` that raises drops the record, counted, and said without its words."""
    before = skipped("before_send_failed"), noticed("before_send_failed")
    kept = Kept()
    assert accept(prompt(), Settings(before_send=raising), kept) is None
    after = skipped("before_send_failed"), noticed("before_send_failed")
    assert after == (before[0] + 1, before[1] + 1)
    assert [] == kept.records
    assert (True, False) == ("LookupError" in caplog.text, "secret" in caplog.text)


def test_before_send_answers_nonsense() -> None:
    """A `before_send` that answers with no record drops it, counted."""
    before = skipped("before_send_failed")
    nonsense: Any = lambda record: "yes"  # noqa: E731
    assert accept(prompt(), Settings(before_send=nonsense), Kept()) is None
    assert skipped("before_send_failed") == before + 1


def test_everything_is_sampled_by_user() -> None:
    """A user's prompts are kept all or none, and about the rate's share of users is."""
    settings = Settings(sample_rate=0.5)
    users_kept = set()
    for number in range(200):
        kept = Kept()
        for record_id in range(3):
            accept(prompt(record_id, user_id=f"user {number}"), settings, kept)
        assert len(kept.records) in (0, 3)
        if kept.records:
            users_kept.add(number)
    assert 60 < len(users_kept) < 140


def test_nobody_is_sampled_by_thread() -> None:
    """Nobody's conversation is kept as a whole, or not at all."""
    settings = Settings(sample_rate=0.5)
    for number in range(50):
        kept = Kept()
        for record_id in range(3):
            accept(prompt(record_id, thread_id=f"thread {number}"), settings, kept)
        assert len(kept.records) in (0, 3)


def test_sampled_out_is_counted() -> None:
    """What the sample leaves out is skipped, counted, and `before_send` never sees it."""
    before = skipped("sampled_out")
    settings = Settings(sample_rate=0.0, before_send=raising)
    assert accept(prompt(user_id="\ud800"), settings, Kept()) is None
    assert skipped("sampled_out") == before + 1


@pytest.mark.parametrize("kind", [FeedbackRecord, EventRecord])
def test_only_prompts_are_sampled(kind: type[Record]) -> None:
    """Feedback and events are kept whatever the rate: they are few, and each is said."""
    kept = Kept()
    accept(kind(record_id="1"), Settings(sample_rate=0.0), kept)
    assert 1 == len(kept.records)


def test_spool_that_raises() -> None:
    """A spool that raises is counted, and the app goes on."""
    before = noticed("spool_failed")
    assert accept(prompt(), Settings(), raising) is not None
    assert noticed("spool_failed") == before + 1


def test_record_that_cannot_be_prepared() -> None:
    """A record that cannot be made fit to leave is counted, and the app goes on."""
    before = noticed("record_failed")
    spoiled = prompt(prompt=None)
    assert accept(spoiled, Settings(), Kept()) is None
    assert noticed("record_failed") == before + 1


def test_log_and_spool_say_the_same() -> None:
    """The log and the spool see the same masked values."""
    kept = Kept()
    with structlog.testing.capture_logs() as logs:
        accept(prompt(prompt="hi"), Settings(redact=(str.upper,)), kept)
    structlog.reset_defaults()
    assert (logs[0]["prompt"], kept.records[0]) == ("HI", prompt(prompt="HI"))


@pytest.mark.parametrize("step", ["before_send", "redact"])
def test_strict(step: str) -> None:
    """In strict mode what is counted in production is raised."""
    configure(strict=True)
    chosen: Any = raising if step == "before_send" else (raising,)
    with pytest.raises(errors.TelemetryError):
        accept(prompt(prompt="x"), Settings(**{step: chosen}), Kept())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_end_of_a_program_passes(error: type[BaseException]) -> None:
    """What ends a program is never held up by a step of telemetry."""

    def end() -> None:
        raise error

    with pytest.raises(error):
        attempt("test_failed", end)


def test_attempt_says_where(caplog: pytest.LogCaptureFixture) -> None:
    """A failed step is said with its kind and place, and not with what it said."""
    assert attempt("test_failed", raising) is None
    [said] = caplog.messages
    assert "LookupError was raised at test_pipeline.py:" in said
    assert "secret" not in said


TEXT = st.text(st.characters(exclude_categories=()))


@given(prompt=TEXT, user_id=TEXT, run_name=TEXT, tags=st.lists(TEXT).map(tuple))
def test_any_text_becomes_a_line(**fields: Any) -> None:
    """Whatever its texts hold, a record becomes one line that is read back as JSON."""
    kept = Kept()
    accept(PromptRecord(record_id="1", **fields), Settings(), kept)
    [line] = kept.lines
    assert (1, b"\n") == (line.count(b"\n"), line[-1:])
    assert "1" == record_from_dict(json.loads(line)).record_id


def test_line_is_plain() -> None:
    """A line is compact JSON in UTF-8, the kind first, and what nobody said left out."""
    line = line_of(prompt(prompt="Hellö", user_id="alice"))
    assert line.startswith(b'{"kind":"prompt","record_id":"1","user_id":"alice"')
    assert "Hellö".encode() in line
    assert b"null" not in line


@pytest.mark.parametrize("nonsense", ["text", 5, Record(record_id="1")])
def test_before_send_that_returns_no_record(nonsense: Any) -> None:
    """What is no record, or one of no kind, is not kept, counted, and said."""
    kept = Kept()
    settings = Settings(before_send=lambda record: nonsense)
    assert accept(prompt(), settings, kept) is None
    assert ([], 1) == (kept.records, skipped("before_send_failed"))
    with pytest.raises(errors.TelemetryError, match="return the record, or None"):
        configure(strict=True, before_send=lambda record: nonsense)
        accept(prompt(), settings, kept)


class Unspeakable:
    """An object that raises when it is told."""

    def __str__(self) -> str:
        raise LookupError

    __repr__ = __str__


@pytest.mark.parametrize("nonsense", [{"messages": 5}, {"parent_run_id": Unspeakable()}])
def test_record_of_nonsense(nonsense: dict[str, Any]) -> None:
    """A record that `before_send` made of nonsense is not kept, and counted."""
    kept = Kept()
    made = dataclasses.replace(prompt(), **nonsense)
    settings = Settings(before_send=lambda record: made)
    assert accept(prompt(), settings, kept) is None
    assert ([], 1) == (kept.records, noticed("record_failed"))


def test_place_of_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    """A guard tells where it was raised, and not what was said there."""
    attempt("spool_failed", raising)
    [said] = caplog.messages
    assert "because LookupError was raised at test_pipeline.py:" in said
    assert "secret" not in said
