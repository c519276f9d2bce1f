"""The structlog processor."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from trubrics_trace import trubrics_scope
from trubrics_trace.integrations.structlog import add_scope


def log(event: str, **fields: Any) -> dict[str, Any]:
    """Return what an app's log line says after the processor."""
    lines: list[Any] = []

    def keep(logger: object, method_name: str, event_dict: Any) -> Any:
        lines.append(dict(event_dict))
        raise structlog.DropEvent

    structlog.wrap_logger(None, processors=[add_scope, keep]).info(event, **fields)
    line: dict[str, Any]
    [line] = lines
    return line


def test_scope() -> None:
    """A line inside a scope says who is asking, in which thread, with which tags."""
    with trubrics_scope(user_id="alice", thread_id="t1", tags=["chat", "paid"], plan="x"):
        line = log("hello")

    assert {
        "event": "hello",
        "user_id": "alice",
        "thread_id": "t1",
        "tags": ["chat", "paid"],
    } == line


def test_outside() -> None:
    """A line outside any scope, or in one of nobody, is left as it is."""
    assert {"event": "hello"} == log("hello")
    with trubrics_scope(user_id=None):
        assert {"event": "hello"} == log("hello")


def test_after() -> None:
    """A line after the scope says nothing of it."""
    with trubrics_scope(user_id="alice"):
        pass

    assert {"event": "hello"} == log("hello")


@pytest.mark.parametrize("said", ["bob", None, ""])
def test_what_the_line_says(said: str | None) -> None:
    """What a line says itself stands, also where it says None."""
    with trubrics_scope(user_id="alice"):
        line = log("hello", user_id=said)

    assert {"event": "hello", "user_id": said} == line


def test_record_of_nobody() -> None:
    """A record of nobody, told inside somebody's scope, does not become theirs."""
    with trubrics_scope(user_id="bob"):
        line = log("trubrics.prompt", record_id="1")

    assert {"event": "trubrics.prompt", "record_id": "1"} == line


def test_event_that_is_no_text() -> None:
    """An event of any type passes."""
    with trubrics_scope(user_id="alice"):
        line = log(42)  # type: ignore[arg-type] # what an app may do all the same

    assert {"event": 42, "user_id": "alice"} == line


def test_behind_the_renderer() -> None:
    """Behind the renderer a line is text already, and passes as it is."""
    with trubrics_scope(user_id="alice"):
        line: Any = "rendered"
        assert line == add_scope(None, "info", line)
