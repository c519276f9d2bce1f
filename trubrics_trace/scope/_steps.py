"""A scope around each step of a generator or coroutine, and none between.

Rule 1: set, run one step, restore; in the consumer's own task and context.
Rule 2: what the body had current when it yielded is current again when it goes on, so
scopes opened in the body live across its steps, and the consumer never sees them.
Rule 3: whatever is sent, thrown or closed reaches the body as if nothing were between.
Rule 4: the scope closes when the body ends: exhausted, raised, closed or collected.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from functools import partial
from types import CoroutineType
from typing import Any, TypeVar

from ._current import Held, begin_step, end_step
from ._scope import Scope

_Yield = TypeVar("_Yield")
_Send = TypeVar("_Send")
_Return = TypeVar("_Return")


def step_generator(
    body: Generator[_Yield, _Send, _Return], scope: Scope
) -> Generator[_Yield, _Send, _Return]:
    """Return a generator that is `body`, each step taken inside the scope."""
    has_begun = inspect.getgeneratorstate(body) != inspect.GEN_CREATED
    stepped = _steps(body, scope, is_told=has_begun, unbegun=Unbegun(scope))
    if has_begun:
        next(stepped)  # then the first that is sent or thrown reaches the body too
    _name_after(stepped, body)
    return stepped


def step_iterable(body: Iterable[_Yield], scope: Scope) -> Generator[_Yield, Any, None]:
    """Return a generator of what `body` yields, each step inside the scope."""
    return step_generator(_delegate(body), scope)


def step_async_generator(
    body: AsyncGenerator[_Yield, _Send],
    scope: Scope,
    learn: Callable[[], Awaitable[object]] | None = None,
) -> AsyncGenerator[_Yield, _Send]:
    """Return an async generator that is `body`, each step inside the scope.

    Args:
        learn: Awaited by the first step, before the body: what the scope must learn.
    """
    stepped = _async_steps(body, scope, learn, Unbegun(scope))
    _name_after(stepped, body)
    return stepped


def step_async_iterable(
    body: AsyncIterable[_Yield], scope: Scope
) -> AsyncGenerator[_Yield, Any]:
    """Return an async generator of what `body` yields, steps inside the scope."""
    return step_async_generator(_delegate_async(body), scope)


def step_awaitable(
    body: Awaitable[_Return],
    scope: Scope,
    leave_with: Callable[[_Return], _Return] | None = None,
) -> Coroutine[Any, Any, _Return]:
    """Return a coroutine that awaits `body` inside the scope, then closes it.

    Args:
        leave_with: Takes what `body` returned and answers what is returned for it; closes
            the scope, now or when that has no work to do any more.
    """
    stepped = _one_step(body, scope, leave_with, Unbegun(scope, body))
    if isinstance(body, Coroutine):
        _name_after(stepped, body)
    return stepped


def step_call(function: Callable[[], _Return], scope: Scope) -> Callable[[], _Return]:
    """Return `function`, whose first call runs inside the scope and closes it.

    What it returns is awaited inside, too, if it is a coroutine.
    """
    unbegun = Unbegun(scope)

    def stepped() -> Any:
        unbegun.begin()
        step = begin_step(scope, scope)
        try:
            returned = function()
        except BaseException:
            scope.close()
            raise
        finally:
            end_step(step, scope)
        if isinstance(returned, CoroutineType):
            return step_awaitable(returned, scope)
        scope.close()
        return returned

    return stepped


def _steps(
    body: Generator[_Yield, _Send, _Return] | Coroutine[_Yield, _Send, _Return],
    scope: Scope,
    *,
    is_told: bool,
    unbegun: Unbegun | None = None,
    closes: bool = True,
) -> Generator[_Yield, _Send, _Return]:
    if unbegun is not None:
        unbegun.begin()
    inside: Scope | Held = scope
    resume: Callable[[Any], _Yield] = body.send
    value: Any = None
    yielded: Any = None
    try:
        while True:
            if is_told:  # a body that has not begun is first resumed, with nothing
                try:
                    value = yield yielded
                    resume = body.send
                except BaseException as thrown:  # GeneratorExit too: the body decides
                    value = _as_thrown(thrown)
                    resume = body.throw
            is_told = True
            step = begin_step(inside, scope)
            try:
                yielded = resume(value)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return] # untyped in typeshed
            finally:
                value = None  # an exception kept here would keep this frame alive
                inside = end_step(step, inside)
    finally:
        if closes:
            scope.close()


async def _async_steps(
    body: AsyncGenerator[_Yield, _Send],
    scope: Scope,
    learn: Callable[[], Awaitable[object]] | None,
    unbegun: Unbegun,
) -> AsyncGenerator[_Yield, _Send]:
    unbegun.begin()
    inside: Scope | Held = scope
    resume: Callable[[Any], Awaitable[_Yield]] = partial(_first_step, body)
    value: Any = None
    try:
        if learn is not None:
            await learn()
        while True:
            step = begin_step(inside, scope)
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
                if getattr(body, "ag_frame", body) is None:  # closed by somebody else
                    raise
                value = _as_thrown(thrown)
                resume = body.athrow
    finally:
        scope.close()


async def _one_step(
    body: Awaitable[_Return],
    scope: Scope,
    leave_with: Callable[[_Return], _Return] | None,
    unbegun: Unbegun,
) -> _Return:
    unbegun.begin()
    try:
        returned: _Return = await Steps(body, scope)
    except BaseException:
        scope.close()
        raise
    if leave_with is not None:
        return leave_with(returned)
    scope.close()
    return returned


class Steps:
    """What a coroutine awaits in the place of its body: that, in steps.

    Suspended, it leaves nothing in the context. Dropped, or closed from anywhere else, the
    body ends inside the scope, whatever is current there. The scope stays open.
    """

    __slots__ = ("_body", "_scope")

    def __init__(self, body: Awaitable[Any], scope: Scope) -> None:
        self._body = body
        self._scope = scope

    def __await__(self) -> Generator[Any, Any, Any]:
        body = self._body
        work = body if isinstance(body, CoroutineType) else _await(body)
        return _steps(work, self._scope, is_told=False, closes=False)


async def _await(body: Awaitable[_Return]) -> _Return:
    return await body


def _as_thrown(error: BaseException) -> BaseException:
    """Return an exception without our own frame: it was not raised here."""
    traceback = error.__traceback__
    return error if traceback is None else error.with_traceback(traceback.tb_next)


def _first_step(body: AsyncGenerator[_Yield, _Send], value: Any) -> Awaitable[_Yield]:
    """Begin the body unheard by the event loop, which hears of ours only.

    A loop closes every generator that it has heard of when it ends (PEP 525), and two at
    once where one stands inside the other: "asynchronous generator is already running".
    The loop's wish that none be finalized but by itself is kept.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None if hooks.finalizer is None else _left_to_the_loop)
    try:
        return body.asend(value)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _left_to_the_loop(_: object) -> None:
    pass


class Unbegun:
    """What ends work that is dropped before its first step; held by its frame.

    Its `finally` would never run, and a coroutine inside it would complain of its own
    that nobody awaited it.
    """

    __slots__ = ("_body", "_scope")

    def __init__(self, scope: Scope, body: object = None) -> None:
        self._scope: Scope | None = scope
        self._body = body

    def begin(self) -> None:
        """From here on the work ends by itself."""
        self._scope = self._body = None

    def __del__(self) -> None:
        if self._scope is not None:
            self._scope.close()
        if isinstance(self._body, CoroutineType):
            self._body.close()


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
