"""Each record as one structured event, through the app's own configuration."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from trubrics_trace import (
    EventRecord,
    FeedbackRecord,
    PromptRecord,
    Record,
    Settings,
    configure,
    stats,
    track_event,
)
from trubrics_trace._frozen import FrozenDict
from trubrics_trace._record import TrackedRecord
from trubrics_trace.pipeline._log import console_line, log, print_line

LOGGER = "trubrics_trace"


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Leave structlog as an app finds it that never configured it."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Events:
    """A processor that keeps what comes by, and lets nothing be printed."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        """Keep the event and drop it."""
        self.seen.append({"level": method, **event})
        raise structlog.DropEvent


def prompt(**fields: Any) -> PromptRecord:
    """Return a prompt's record."""
    said = {"record_id": "1", "user_id": "alice", "prompt": "Hi", **fields}
    return PromptRecord(started_at="2026-01-02T03:04:05+00:00", **said)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Where neither structlog nor logging is configured nothing is printed."""
    log(prompt(), Settings())
    assert ("", "") == capfd.readouterr()


def test_json_through_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    """Without structlog an event is one line of JSON at INFO, with what was said."""
    with caplog.at_level(logging.INFO, LOGGER):
        log(prompt(generation="Hellö"), Settings())
    [logged] = caplog.records
    assert (logged.name, logged.levelno) == (LOGGER, logging.INFO)
    assert "Hellö" in logged.getMessage()
    assert {
        "event": "trubrics.prompt",
        "record_id": "1",
        "user_id": "alice",
        "metadata": {},
        "started_at": "2026-01-02T03:04:05+00:00",
        "tags": ["langchain"],
        "status": "complete",
        "prompt": "Hi",
        "generation": "Hellö",
        "attempts": 1,
        "latency_seconds": 0.0,
    } == json.loads(logged.getMessage())


def test_error_without_structlog(caplog: pytest.LogCaptureFixture) -> None:
    """Without structlog an error too is at INFO: nothing is printed unasked."""
    with caplog.at_level(logging.INFO, LOGGER):
        log(prompt(status="error"), Settings())
    assert [logged.levelno for logged in caplog.records] == [logging.INFO]


def test_configured_before_us() -> None:
    """An app that has configured structlog sees each record as an event with fields."""
    events = Events()
    structlog.configure(processors=[events])
    log(prompt(input_tokens=3), Settings())
    [event] = events.seen
    said = (event["event"], event["level"], event["user_id"], event["input_tokens"])
    assert ("trubrics.prompt", "info", "alice", 3) == said
    assert "generation" not in event


def test_configured_after_us() -> None:
    """An app that configures structlog later sees the records from then on."""
    log(prompt(), Settings())
    events = Events()
    structlog.configure(processors=[events])
    log(prompt(), Settings())
    other = Events()
    structlog.configure(processors=[other], cache_logger_on_first_use=True)
    log(prompt(), Settings())
    assert (1, 1) == (len(events.seen), len(other.seen))


def test_configured_again_with_cached_loggers() -> None:
    """Also with cached loggers a new configuration holds for the next record."""
    first, second = Events(), Events()
    structlog.configure(processors=[first], cache_logger_on_first_use=True)
    log(prompt(), Settings())
    structlog.configure(processors=[second], cache_logger_on_first_use=True)
    log(prompt(), Settings())
    assert (1, 1) == (len(first.seen), len(second.seen))


@pytest.mark.parametrize("is_cached", [False, True])
def test_capture_logs(is_cached: bool) -> None:
    """`structlog.testing.capture_logs()` sees the records, also with cached loggers."""
    structlog.configure(cache_logger_on_first_use=is_cached, processors=[Events()])
    log(prompt(), Settings())
    with structlog.testing.capture_logs() as logs:
        log(prompt(prompt="seen"), Settings())
    assert [("trubrics.prompt", "seen")] == [
        (event["event"], event["prompt"]) for event in logs
    ]


def test_error_is_a_warning() -> None:
    """With structlog configured a call that failed is a warning."""
    events = Events()
    structlog.configure(processors=[events])
    log(prompt(status="error"), Settings())
    log(prompt(status="stopped"), Settings())
    assert ["warning", "info"] == [event["level"] for event in events.seen]


def test_standard_library_through_structlog(caplog: pytest.LogCaptureFixture) -> None:
    """With structlog's standard-library factory the logger has our name."""
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    with caplog.at_level(logging.INFO, LOGGER):
        log(prompt(), Settings())
    assert [(logged.name, logged.getMessage()) for logged in caplog.records] == [
        (LOGGER, "trubrics.prompt")
    ]


@pytest.mark.parametrize("is_asked", [False, True])
def test_messages(is_asked: bool) -> None:
    """The history is logged only where it was asked for: each turn would repeat it."""
    events = Events()
    structlog.configure(processors=[events])
    record = prompt(messages=({"role": "user", "content": "Hi"},))
    log(record, Settings(log_messages=is_asked))
    assert ("messages" in events.seen[0]) is is_asked


def test_every_kind_has_its_event() -> None:
    """Prompts, feedback, events and what was tracked by hand are told apart by name."""
    events = Events()
    structlog.configure(processors=[events])
    kinds: list[type[Record]] = [PromptRecord, FeedbackRecord, EventRecord, TrackedRecord]
    for kind in kinds:
        log(kind(record_id="1"), Settings())
    assert [
        "trubrics.prompt",
        "trubrics.feedback",
        "trubrics.event",
        "trubrics.tracked",
    ] == [event["event"] for event in events.seen]


def test_processor_that_raises() -> None:
    """A processor of the app that raises is counted, and the record is still kept."""

    def broken(logger: Any, method: str, event: Any) -> Any:
        raise LookupError

    structlog.configure(processors=[broken])
    before = stats()
    track_event("Signed up", user_id="alice")
    after = stats()
    assert after.noticed["log_failed"] == before.noticed.get("log_failed", 0) + 1
    assert after.accepted == before.accepted + 1


def test_console(capfd: pytest.CaptureFixture[str]) -> None:
    """With `console` each record is one line on stderr, and stdout stays the app's."""
    configure(console=True)
    print_line(prompt())
    print_line(prompt(prompt="Two\nlines"))
    out, err = capfd.readouterr()
    assert ("", 2) == (out, len(err.splitlines()))


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            prompt(generation="Hello", input_tokens=3, latency_seconds=1.234),
            "03:04:06  alice        complete  'Hi' → 'Hello'  3→? tokens  1.23 s",
        ),
        (
            prompt(user_id=None, status="error"),
            "03:04:05  nobody       error     'Hi' → ''  ?→? tokens  0.00 s",
        ),
        (
            FeedbackRecord(record_id="1", user_id="bob", score=1, started_at="soon"),
            "--:--:--  bob          feedback  thumbs 1",
        ),
        (
            EventRecord(record_id="1", user_id="bob", event_name="Signed  up"),
            "--:--:--  bob          event     'Signed up'",
        ),
        (
            TrackedRecord(record_id="1", user_id="bob"),
            "--:--:--  bob          event     'tracked'",
        ),
    ],
)
def test_console_line(record: Record, line: str) -> None:
    """A line for people says when, who, how it ended, what, and what it cost."""
    assert console_line(record) == line


def test_console_line_is_short() -> None:
    """A line for people is short, whatever the record holds."""
    record = prompt(user_id="u" * 500, prompt="p" * 5_000, generation="g\n" * 5_000)
    assert len(console_line(record)) <= 160


def test_context_of_the_app() -> None:
    """The app's own context stands beside the record, and never in a field's place."""
    events = Events()
    structlog.configure([structlog.contextvars.merge_contextvars, events])
    with structlog.contextvars.bound_contextvars(region="eu", session_id="theirs"):
        log(prompt(), Settings())
    [seen] = events.seen
    assert ("eu", None) == (seen["region"], seen["session_id"])


@pytest.mark.parametrize("is_cached", [False, True])
def test_another_stdout(is_cached: bool) -> None:
    """What prints to `sys.stdout` prints to that of now, also with cached loggers."""
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=is_cached,
    )
    for number in ("1", "2"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            log(prompt(record_id=number), Settings())
        assert number == json.loads(out.getvalue())["record_id"]


def test_a_score_is_the_processors_own() -> None:
    """What a feedback's event holds is a processor's to change."""
    events = Events()
    structlog.configure(processors=[events])
    score: Any = FrozenDict(stars=5)  # as an app may give it
    log(FeedbackRecord(record_id="1", score=score), Settings())
    events.seen[0]["score"]["stars"] = 1
