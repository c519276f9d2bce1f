"""A scope that outlives its block on purpose: `carry_scope`.

What is carried runs in a scope of its own, opened inside the one that was current when
it was bound, and closed when the work has ended: the block may be long gone by then.
Carried from where no scope is open, the work has none, wherever it runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, cast

from ..errors import ConfigurationError
from ._current import begin_step, current_scope, end_step, scope_was_opened_here
from ._scope import Nowhere, Scope
from ._steps import (
    step_async_generator,
    step_awaitable,
    step_generator,
    step_iterable,
)

_T = TypeVar("_T")
_Work = TypeVar("_Work")


def carry_scope(work: _Work) -> _Work:
    """Bind one piece of work to the current scope, for a pool, task or queue.

    Args:
        work: A function, whose every call is carried; a coroutine or another awaitable;
            a generator, an async generator or another iterator; or an executor, which
            then carries the scope that is current at each `submit`.

    Returns:
        The same kind of thing, whose LangChain calls belong to the scope, on whatever
        thread or task they are made, also after the scope has closed.

    Raises:
        ConfigurationError: The work is nothing that runs, or runs in another process.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from trubrics_trace import carry_scope, current_scope, trubrics_scope
        >>> def who():
        ...     return current_scope().user_id
        >>> with ThreadPoolExecutor() as pool, trubrics_scope(user_id="alice"):
        ...     pool.submit(carry_scope(who)).result()
        'alice'
    """
    if isinstance(work, Executor):
        return cast("_Work", _carrying_executor(work))
    return cast("_Work", carry(work, current_scope() or _nowhere()))


def carry(work: Any, origin: Scope) -> Any:
    """Return what `carry_scope` does, bound to this scope."""
    if inspect.isgenerator(work):
        return step_generator(work, _child_of(origin))
    if inspect.isasyncgen(work):
        return step_async_generator(work, _child_of(origin))
    if inspect.isawaitable(work):
        return step_awaitable(work, _child_of(origin))
    if inspect.iscoroutinefunction(work):
        return _carry_coroutine_function(work, origin)
    if callable(work):
        return _carry_function(work, origin)
    if hasattr(work, "__next__"):
        return step_iterable(work, _child_of(origin))
    message = (
        f"carry_scope cannot carry {type(work).__name__}; give it a callable, a "
        "coroutine, an iterator or an executor"
    )
    raise ConfigurationError(message)


def _nowhere() -> Scope:
    return Nowhere(is_outside=not scope_was_opened_here())


def _child_of(origin: Scope) -> Scope:
    """Return an open scope inside `origin`, or what stands for none.

    Not inside what is over and said nothing: work that carries its own next step would
    else stand in a scope more each time. What is open may still learn who it is.
    """
    if isinstance(origin, Nowhere):
        return Nowhere(is_outside=origin.is_outside)
    while origin.parent is not None and _is_past(origin):
        origin = origin.parent
    while origin.parent is not None and _is_past(origin.parent):
        origin.parent = origin.parent.parent
    return Scope(parent=origin)


def _is_past(scope: Scope) -> bool:
    return scope.says_nothing and not scope.is_open


def _carry_function(work: Callable[..., _T], origin: Scope) -> Callable[..., _T]:
    @functools.wraps(work)
    def carried(*args: Any, **kwargs: Any) -> Any:
        scope = _child_of(origin)
        step = begin_step(scope, scope)
        try:
            returned = work(*args, **kwargs)
        finally:
            end_step(step, scope)
            scope.close()
        if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
            return carry(returned, origin)
        return carry(returned, origin) if inspect.iscoroutine(returned) else returned

    return carried


def _carry_coroutine_function(
    work: Callable[..., Awaitable[_T]], origin: Scope
) -> Callable[..., Awaitable[_T]]:
    @functools.wraps(work)
    async def carried(*args: Any, **kwargs: Any) -> _T:
        return await step_awaitable(work(*args, **kwargs), _child_of(origin))

    return carried


def _carrying_executor(executor: Executor) -> Executor:
    # Known by its name: to import the class imports multiprocessing, for everybody.
    if any(kind.__name__ == "ProcessPoolExecutor" for kind in type(executor).__mro__):
        message = (
            "carry_scope cannot carry a scope to another process; open one there, with "
            "the user's id among the arguments"
        )
        raise ConfigurationError(message)
    return _CarryingExecutor(executor)


class _CarryingExecutor(Executor):
    """An executor whose work has the scope that was current at its `submit`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Submit work that has the scope of who submits it."""
        return self._executor.submit(carry_scope(fn), *args, **kwargs)

    # The positional flag is concurrent.futures' own.
    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Shut the executor down that does the work."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)

    # asyncio wants a ThreadPoolExecutor for its default.
    @property  # type: ignore[misc] # typeshed lets it be assigned, too
    def __class__(self) -> Any:
        return type(self._executor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def __repr__(self) -> str:
        return f"<carrying {self._executor!r}>"
