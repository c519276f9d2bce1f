"""A decorator above a framework's own is named, and one below it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from fastapi import APIRouter, FastAPI
from flask import Flask

from tests.process.program import run_program
from trubrics_trace import configure, stats, trubrics_trace
from trubrics_trace.errors import TelemetryError
from trubrics_trace.wrapping._decorator import TracedFunction
from trubrics_trace.wrapping._misplaced import registered, told_of, wrapped_in

KEPT: list[Any] = []  # else an app is collected, and holds nothing


def fastapi_route(function: Any) -> Any:
    """Make it a route of an app."""
    return FastAPI().post("/chat")(function)


def fastapi_router(function: Any) -> Any:
    """Make it a route of a router."""
    return APIRouter().get("/chat")(function)


def flask_route(function: Any) -> Any:
    """Make it a view."""
    KEPT.append(Flask(__name__))
    return KEPT[-1].get("/chat")(function)


def celery_task(function: Any) -> Any:
    """Make it a task, at its first use."""
    return Celery("app", set_as_current=False).task(shared=False)(function)


def celery_task_at_once(function: Any) -> Any:
    """Make it a task."""
    return Celery("app", set_as_current=False).task(lazy=False, shared=False)(function)


def litestar_route(function: Any) -> Any:
    """Make it a handler."""
    litestar = pytest.importorskip("litestar", reason="Litestar is not installed here")
    return litestar.get("/chat")(function)


def quart_route(function: Any) -> Any:
    """Make it a view."""
    quart = pytest.importorskip("quart", reason="Quart is not installed here")
    KEPT.append(quart.Quart("app"))
    return KEPT[-1].get("/chat")(function)


HANDS_BACK = [fastapi_route, fastapi_router, flask_route, quart_route]
MAKES_AN_OBJECT = [celery_task, celery_task_at_once, litestar_route]


def above(register: Callable[[Any], Any]) -> Any:
    """Decorate what a framework has registered."""

    async def chat() -> None: ...

    KEPT.append(register(chat))
    return trubrics_trace(KEPT[-1])


@pytest.mark.parametrize("register", [*HANDS_BACK, *MAKES_AN_OBJECT])
def test_strict(register: Callable[[Any], Any]) -> None:
    """In strict mode it is an error, which names the function and the framework."""
    configure(strict=True)
    with pytest.raises(
        TelemetryError, match=r"decorates .* too late: \w+ has it"
    ) as raised:
        above(register)
    assert "decorator_above" == raised.value.reason


@pytest.mark.parametrize("register", MAKES_AN_OBJECT)
def test_object(register: Callable[[Any], Any], caplog: pytest.LogCaptureFixture) -> None:
    """A framework's own object is counted and said also in production."""
    above(register)
    assert {"decorator_above": 1} == stats().noticed
    assert "put trubrics_trace right above the function" in caplog.messages[0]


@pytest.mark.parametrize("register", HANDS_BACK)
def test_found_later(register: Callable[[Any], Any]) -> None:
    """In production nobody looks while decorating, and whoever looks later finds it."""
    traced = above(register)
    assert {} == stats().noticed
    assert traced.__wrapped__ in wrapped_in(TracedFunction)
    [(function, kind)] = registered([traced.__wrapped__])
    assert "chat (test_misplaced.py:" in told_of(function, kind)


@pytest.mark.parametrize("register", [*HANDS_BACK, *MAKES_AN_OBJECT])
def test_right_place(register: Callable[[Any], Any]) -> None:
    """Right above the function it is in its place, whatever stands above."""
    configure(strict=True)

    @trubrics_trace
    async def chat() -> None: ...

    KEPT.append(register(chat))
    found = registered([chat.__wrapped__])  # type: ignore[attr-defined] # wrapt's
    assert [] == found


def test_nothing_is_traced() -> None:
    """Where there is nothing to look for, there is nothing to find."""
    assert [] == registered([])


def test_methods_are_looked_for() -> None:
    """Of a class or static method the function itself is looked for."""

    class Service:
        @trubrics_trace
        @staticmethod
        def answer() -> None: ...

    assert Service.__dict__["answer"].__wrapped__.__func__ in wrapped_in(TracedFunction)


PROGRAM = """
from fastapi import FastAPI
from trubrics_trace import trubrics_scope, trubrics_trace

app = FastAPI()

@trubrics_trace
@app.get("/")
def chat(): ...

with trubrics_scope(user_id="alice"):
    print("opened")
"""


def test_strict_by_the_environment(tmp_path: Path) -> None:
    """What was decorated before the environment was read is told by the first scope."""
    ended = run_program(PROGRAM, tmp_path, TRUBRICS_TRACE_STRICT="true")
    assert 1 == ended.returncode
    assert "TelemetryError: decorator_above: trubrics_trace decorates chat" in ended.stderr
    assert "opened\n" == run_program(PROGRAM, tmp_path).stdout
