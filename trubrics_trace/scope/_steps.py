"""A scope around each step of a generator or coroutine, and around nothing between.

Rule 1: set, run one step, restore; in the consumer's own task and context.
Rule 2: what the body had current when it yielded is current again when it goes on, so
scopes opened in the body live across its steps, and the consumer never sees them.
Rule 3: whatever is sent, thrown or closed reaches the body as if nothing were between.
Rule 4: the scope closes when the body ends: exhausted, raised, closed or collected.

A scope None is that of work that was carried from where none is open.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
)
from typing import Any, TypeVar

from ._current import Scope, begin_step, end_step

_Yield = TypeVar("_Yield")
_Send = TypeVar("_Send")
_Return = TypeVar("_Return")


def step_generator(
    body: Generator[_Yield, _Send, _Return], scope: Scope | None
) -> Generator[_Yield, _Send, _Return]:
    """Return a generator that is `body`, each of its steps taken inside the scope."""
    stepped = _steps(body, scope)
    _name_after(stepped, body)
    return stepped


def step_iterable(
    body: Iterable[_Yield], scope: Scope | None
) -> Generator[_Yield, Any, None]:
    """Return a generator of what `body` yields, each step taken inside the scope."""
    return step_generator(_delegate(body), scope)


def step_async_generator(
    body: AsyncGenerator[_Yield, _Send],
    scope: Scope | None | Callable[[], Awaitable[Scope]],
) -> AsyncGenerator[_Yield, _Send]:
    """Return an async generator that is `body`, each step taken inside the scope.

    A scope that must be awaited is opened by the first step.
    """
    stepped = _async_steps(body, scope)
    _name_after(stepped, body)
    return stepped


def step_async_iterable(
    body: AsyncIterable[_Yield], scope: Scope | None
) -> AsyncGenerator[_Yield, Any]:
    """Return an async generator of what `body` yields, each step inside the scope."""
    return step_async_generator(_delegate_async(body), scope)


async def step_awaitable(body: Awaitable[_Return], scope: Scope | None) -> _Return:
    """Await `body` inside the scope, then close it.

    One step from beginning to end: while it is suspended, so is its whole task.
    """
    step = begin_step(scope)
    try:
        return await body
    finally:
        end_step(step, scope)
        _close(scope)


def _steps(
    body: Generator[_Yield, _Send, _Return], scope: Scope | None
) -> Generator[_Yield, _Send, _Return]:
    inside = scope
    resume: Callable[[Any], _Yield] = body.send
    value: Any = None
    try:
        while True:
            step = begin_step(inside)
            try:
                yielded = resume(value)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return] # untyped in typeshed
            finally:
                value = None  # an exception kept here would keep this frame alive
                inside = end_step(step, inside)
            try:
                value = yield yielded
                resume = body.send
            except BaseException as thrown:  # GeneratorExit too: the body decides
                value = thrown
                resume = body.throw
    finally:
        _close(scope)


async def _async_steps(
    body: AsyncGenerator[_Yield, _Send],
    scope: Scope | None | Callable[[], Awaitable[Scope]],
) -> AsyncGenerator[_Yield, _Send]:
    opened = await scope() if callable(scope) else scope
    inside = opened
    resume: Callable[[Any], Awaitable[_Yield]] = body.asend
    value: Any = None
    try:
        while True:
            step = begin_step(inside)
            try:
                yielded = await resume(value)
            except StopAsyncIteration:
                return
            finally:
                value = None
                inside = end_step(step, inside)
            try:
                value = yield yielded
                resume = body.asend
            except BaseException as thrown:  # GeneratorExit too: the body decides
                value = thrown
                resume = body.athrow
    finally:
        _close(opened)


def _close(scope: Scope | None) -> None:
    if scope is not None:
        scope.close()


def _delegate(body: Iterable[_Yield]) -> Generator[_Yield, Any, None]:
    yield from body


async def _delegate_async(
    body: AsyncIterable[_Yield],
) -> AsyncGenerator[_Yield, Any]:
    async for yielded in body:
        yield yielded


def _name_after(stepped: Any, body: Any) -> None:
    stepped.__name__ = body.__name__
    stepped.__qualname__ = body.__qualname__
