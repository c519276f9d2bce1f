"""Whatever an app raises passes through all of ours as it passes without."""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import logging
import os
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest
from langchain_core.language_models import FakeListChatModel

import trubrics_trace
from tests.harmless.parts import OddError, raising
from trubrics_trace import PromptRecord, carry_scope, current_scope, trubrics_scope
from trubrics_trace import trubrics_trace as trace
from trubrics_trace.integrations.asgi import TrubricsMiddleware
from trubrics_trace.integrations.wsgi import TrubricsWSGIMiddleware

T = TypeVar("T")

Raise = Callable[[], Any]
OURS = os.path.dirname(os.path.abspath(trubrics_trace.__file__))


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """An error that lets nobody set anything on it, its traceback included."""

    reason: str


class DemandingError(Exception):
    """An error that cannot be made of its own arguments again."""

    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code


def caused() -> BaseException:
    """Return an error with a cause, a context and a note."""
    error = ValueError("told")
    error.__context__ = LookupError("before")
    error.__cause__ = KeyError("why")
    vars(error)["note"] = "of the app's own"
    return error


MAKE: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: ValueError("told"),
    "with a cause": caused,
    "frozen": lambda: FrozenError("told"),
    "demanding": lambda: DemandingError(code=3),
    "BaseException": lambda: OddError("told"),
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "TimeoutError": asyncio.TimeoutError,
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "StopIteration": lambda: StopIteration("told"),
    "StopAsyncIteration": lambda: StopAsyncIteration("told"),
    "RuntimeError": lambda: RuntimeError("generator raised StopIteration"),
    "RecursionError": RecursionError,
}
for group in ("ExceptionGroup", "BaseExceptionGroup"):  # since Python 3.11
    if hasattr(builtins, group):
        MAKE[group] = partial(getattr(builtins, group), "told", [ValueError(), KeyError()])


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Take the one step of what does not wait, without a loop and its own ways."""
    try:
        work.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    message = "it waits"
    raise AssertionError(message)


# Ways of calling what raises. Each is given what is to be put around it, which is nothing
# where it must be seen how the way behaves by itself.
Trace = Callable[[Any], Any]


def function(trace: Trace, fail: Raise) -> None:
    """Call a function."""

    def body() -> None:
        fail()

    trace(body)()


def coroutine(trace: Trace, fail: Raise) -> None:
    """Await a coroutine."""

    async def body() -> None:
        fail()

    drive(trace(body)())


def generator(trace: Trace, fail: Raise) -> None:
    """Step a generator."""

    def body() -> Generator[None, None, None]:
        yield
        fail()

    for _ in trace(body)():
        pass


def async_generator(trace: Trace, fail: Raise) -> None:
    """Step an async generator."""

    async def body() -> AsyncGenerator[None, None]:
        yield
        fail()

    async def consume() -> None:
        async for _ in trace(body)():
            pass

    drive(consume())


def returned_generator(trace: Trace, fail: Raise) -> None:
    """Step a generator that a function has returned."""

    def body() -> Generator[None, None, None]:
        yield
        fail()

    for _ in trace(lambda: body())():
        pass


def returned_coroutine(trace: Trace, fail: Raise) -> None:
    """Await a coroutine that a function has returned."""

    async def body() -> None:
        fail()

    drive(trace(lambda: body())())


def thrown(trace: Trace, fail: Raise) -> None:
    """Throw it into a generator, from outside."""

    def body() -> Generator[None, None, None]:
        try:
            yield
        finally:
            current_scope()

    work = trace(body)()
    next(work)
    try:
        fail()
    except BaseException as error:
        work.throw(error)


def method(trace: Trace, fail: Raise) -> None:
    """Call a method."""

    class Answers:
        @trace
        def body(self) -> None:
            fail()

    Answers().body()


def on_a_thread(trace: Trace, fail: Raise) -> None:
    """Call a function on a thread."""

    def body() -> None:
        fail()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(trace(body)).result(30)


def a_models(trace: Trace, fail: Raise) -> None:
    """Call a model that raises."""

    class Model(FakeListChatModel):
        def _call(self, *_: Any, **__: Any) -> str:
            fail()
            return "42"

    trace(lambda: Model(responses=[]).invoke("Hi"))()


def carried(function: Any) -> Any:
    """Return what carries the scope of somebody else."""
    with trubrics_scope(user_id="alice"):
        return carry_scope(function)


def in_a_block(function: Any) -> Any:
    """Return a function that is called in a block."""

    def block(*arguments: Any) -> Any:
        with trubrics_scope(user_id="alice"):
            return function(*arguments)

    return block


def in_an_async_block(function: Any) -> Any:
    """Return a function that is called in an async block."""

    async def block() -> Any:
        async with trubrics_scope(user_id="alice"):
            return await function()

    return block


ALL: list[Callable[[Trace, Raise], None]] = [
    function,
    coroutine,
    generator,
    async_generator,
    returned_generator,
    returned_coroutine,
    thrown,
    method,
    on_a_thread,
    a_models,
]
TRACED: Trace = trace(user_id="alice")


def asgi(trace: Trace, fail: Raise) -> None:
    """Let an app answer one request, and raise."""

    async def app(*_: Any) -> None:
        fail()

    async def unused(*_: Any) -> Any: ...

    drive(trace(app)({"type": "http", "headers": []}, unused, unused))


def start_response(*_: Any) -> Callable[[bytes], object]:
    """Take what a WSGI app answers."""
    return lambda _: None


def wsgi(trace: Trace, fail: Raise) -> None:
    """So does a WSGI app, at once."""

    def app(*_: Any) -> list[bytes]:
        fail()
        return []

    trace(app)({}, start_response)


def body_of_wsgi(trace: Trace, fail: Raise) -> None:
    """So does a WSGI app, in its body."""

    def app(*_: Any) -> Iterator[bytes]:
        yield b"part"
        fail()

    for _ in trace(app)({}, start_response):
        pass


def close_of_wsgi(trace: Trace, fail: Raise) -> None:
    """So does a WSGI app, when its body is closed."""

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter(())

        def close(self) -> None:
            fail()

    trace(lambda *_: Body())({}, start_response).close()


# What is put around, and which ways that is for.
AROUND: dict[str, tuple[Trace, list[Callable[[Trace, Raise], None]]]] = {
    "decorator": (TRACED, ALL),
    "two decorators": (lambda function: TRACED(TRACED(function)), ALL),
    "carry_scope": (carried, [way for way in ALL if way is not method]),
    "with": (in_a_block, [function, on_a_thread, a_models]),
    "async with": (in_an_async_block, [coroutine]),
    "ASGI": (lambda app: TrubricsMiddleware(app, user_id="alice"), [asgi]),
    "WSGI": (
        lambda app: TrubricsWSGIMiddleware(app, user_id="alice"),
        [wsgi, body_of_wsgi, close_of_wsgi],
    ),
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a caller sees of an error."""

    kind: type[BaseException]
    is_the_same: bool
    is_caused_by_it: bool
    told: str
    attributes: dict[str, Any]
    chain: tuple[str, str]
    is_context_suppressed: bool
    frames: list[tuple[str, int | None]]


def seen(error: BaseException, way: Callable[[Trace, Raise], None], around: Trace) -> Seen:
    """Return what the caller sees, where a call raises the error."""
    try:
        way(around, raising(error))
    except BaseException as raised:  # `pytest.raises` would set things on it
        return Seen(
            kind=type(raised),
            is_the_same=raised is error,
            is_caused_by_it=raised.__cause__ is error,
            told=str(raised),
            attributes=dict(vars(error)),
            chain=(repr(error.__context__), repr(error.__cause__)),
            is_context_suppressed=error.__suppress_context__,
            frames=[
                (frame.name, frame.lineno)
                for frame in traceback.extract_tb(raised.__traceback__)
                if not frame.filename.startswith(OURS) and frame.name != "block"
            ],
        )
    message = "nothing was raised"
    raise AssertionError(message)


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
@pytest.mark.parametrize(
    ("around", "way"),
    [
        pytest.param(around, way, id=f"{name}, {way.__name__}")
        for name, (around, ways) in AROUND.items()
        for way in ways
    ],
)
def test_passes_unchanged(
    around: Trace,
    way: Callable[[Trace, Raise], None],
    make: Callable[[], BaseException],
    captured_prompts: list[PromptRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same object leaves, with its chain and its frames; nothing is logged at ERROR."""
    expected = seen(make(), way, lambda function: function)
    assert expected == seen(make(), way, around)
    assert current_scope() is None
    assert [] == [said for said in caplog.records if said.levelno >= logging.ERROR]
