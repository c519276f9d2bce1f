"""What a traced function returns is followed, if it still has work to do.

A coroutine, a generator, a streaming response: the model is called while they are
consumed, after the function has returned, so the scope stays open until they end. Lists,
strings, files and LangChain's runnables are returned as they are.
"""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from ..scope._scope import Scope
from ..scope._steps import (
    step_async_generator,
    step_async_iterable,
    step_awaitable,
    step_generator,
    step_iterable,
)

# What most functions return, and what is never work.
_FINISHED = frozenset((type(None), bool, str, bytes, int, float, dict, list, tuple))


def follow(returned: Any, scope: Scope) -> Any:
    """Return what stands for a result that still has work to do, else None.

    The scope then closes when that work ends. A response is edited in place. What it is,
    its type tells: a lazy object that is asked wakes up, and may raise.
    """
    kind = type(returned)
    if kind in _FINISHED:
        return None
    stepped = _stepped(returned, scope)
    if stepped is not None:
        return stepped
    if hasattr(kind, "_asyncio_future_blocking"):  # as asyncio.isfuture has it
        returned.add_done_callback(lambda _: scope.close())
        return returned
    name = _name_of_body(returned)
    if name is None:
        return None
    body = _stepped_body(getattr(returned, name), scope)
    if body is None:
        return None
    setattr(returned, name, body)
    return returned


def _stepped(work: Any, scope: Scope) -> Any:
    kind = type(work)
    if issubclass(kind, GeneratorType):
        return step_generator(work, scope)
    if issubclass(kind, AsyncGeneratorType):
        return step_async_generator(work, scope)
    if issubclass(kind, CoroutineType):
        return step_awaitable(work, scope)
    return None


def _name_of_body(response: Any) -> str | None:
    """Return where a response keeps its streamed body, if it has one.

    Looked up in the object itself and in its class: asking the object with `getattr`
    would wake whatever answers to any name.
    """
    if "body_iterator" in getattr(response, "__dict__", ()):  # Starlette's
        return "body_iterator"
    kind = type(response)
    if getattr(kind, "streaming", False) is True and hasattr(kind, "streaming_content"):
        # Django's; a file that it serves is no work of the app's, and must stay a file.
        is_file = getattr(response, "file_to_stream", None) is not None
        return None if is_file else "streaming_content"
    return None


def _stepped_body(body: Any, scope: Scope) -> Any:
    """Return what stands for a streamed body; None for one that is whole."""
    stepped = _stepped(body, scope)
    if stepped is not None:
        return stepped
    if hasattr(body, "__aiter__"):
        return step_async_iterable(body, scope)
    return step_iterable(body, scope) if hasattr(body, "__next__") else None
