"""A request begins outside, whatever its connection was left in.

asyncio copies the context of whoever resumes the reading of a body (python/cpython#140947),
and uvicorn begins the connection's next request in that copy; a pipelined one begins in the
context of the `send` before it. There may be a scope that is still open, or a live run of
LangChain's, and from inside the request looks like a task that their own code has started.
So the loop is asked, by its own hook for this, to begin what uvicorn starts for a request
outside of both; every other task is made as ever.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from ._loop import running_loop

_REQUEST = "run_asgi"  # uvicorn/protocols, in each of its protocols

_asked: Callable[[], Any] = lambda: None  # noqa: E731 - a weak reference to a loop


def begin_requests_outside(leave: Callable[[], object]) -> None:
    """Have the running loop begin each request in a context that was left."""
    global _asked
    loop = running_loop()
    if loop is None or loop is _asked():
        return
    # What a loop of somebody's own lacks, it goes without.
    with contextlib.suppress(AttributeError, NotImplementedError, TypeError):
        _asked = weakref.ref(loop)
        usual = loop.get_task_factory()
        if not isinstance(usual, _Begin):
            loop.set_task_factory(_Begin(usual, leave))


class _Begin:
    """A task factory around another; None is asyncio's own."""

    def __init__(self, usual: Any, leave: Callable[[], object]) -> None:
        self._usual = usual or _task
        self._leave = leave

    def __call__(self, loop: Any, coroutine: Any, **options: Any) -> Any:
        is_request = getattr(coroutine, "__name__", None) == _REQUEST
        if not is_request or options.get("context") is not None:
            return self._usual(loop, coroutine, **options)
        return copy_context().run(self._outside, loop, coroutine, options)

    def _outside(self, loop: Any, coroutine: Any, options: Any) -> Any:
        self._leave()
        return self._usual(loop, coroutine, **options)


def _task(loop: Any, coroutine: Any, **options: Any) -> Any:
    return sys.modules["asyncio"].Task(coroutine, loop=loop, **options)
