"""What a traced function returns is followed, if it still has work to do.

A coroutine, a generator, a streaming response: the model is called while they are
consumed, after the function has returned, so the scope stays open until they end. Lists,
strings, files and LangChain's runnables are returned as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeAlias

from ..pipeline._guard import attempt
from ..scope._carry import carry
from ..scope._current import finish, leave_behind
from ..scope._scope import Scope
from ..scope._steps import (
    step_async_generator,
    step_async_iterable,
    step_awaitable,
    step_call,
    step_generator,
    step_iterable,
)

# What most functions return, and what is never work.
FINISHED = frozenset((type(None), bool, str, bytes, int, float, dict, list))

# Where something keeps what it will iterate over: an object, and its attribute.
_Place: TypeAlias = "tuple[Any, str] | None"


def close_with(returned: Any, scope: Scope) -> Any:
    """Return what a call returned, followed if it still has work to do.

    Else its scope, which was left already, is closed.
    """
    followed = attempt("follow_failed", follow, returned, scope)
    if followed is None:
        finish(scope)
        return returned
    leave_behind()
    return followed


def follow(returned: Any, scope: Scope) -> Any:
    """Return what stands for a result that still has work to do, else None.

    The scope then closes when that work ends. A response is edited in place. What it is,
    its type tells: a lazy object that is asked wakes up, and may raise.
    """
    kind = type(returned)
    if kind in FINISHED:
        return None
    if kind is tuple:
        return _follow_first(returned, scope)
    stepped = _stepped(returned, scope)
    if stepped is not None:
        return stepped
    if hasattr(kind, "_asyncio_future_blocking"):  # as asyncio.isfuture has it
        returned.add_done_callback(lambda _: scope.close())
        return returned
    if hasattr(kind, "set_start") and "_ensure_started" in _own(returned):
        return _started_inside(returned, scope)
    _carry_background(returned, scope)
    place = _place_of_body(returned)
    return returned if place is not None and _follow_body(*place, scope) else None


def _follow_first(returned: tuple[Any, ...], scope: Scope) -> Any:
    """Follow a body that a view returns with its status or headers.

    As in `return parts(), {"Content-Type": "text/csv"}`, which Flask and Quart document.
    """
    if not returned or type(returned[0]) is tuple:
        return None
    followed = follow(returned[0], scope)
    return None if followed is None else (followed, *returned[1:])


def _stepped(work: Any, scope: Scope) -> Any:
    kind = type(work)
    if issubclass(kind, GeneratorType):
        return step_generator(work, scope)
    if issubclass(kind, AsyncGeneratorType):
        return step_async_generator(work, scope)
    if issubclass(kind, CoroutineType):
        return step_awaitable(work, scope, functools.partial(close_with, scope=scope))
    return None


def _carry_background(response: Any, scope: Scope) -> None:
    """Carry what a response does once it is sent: its `background`.

    Each task's function, where it stands: frameworks add tasks and look at their type.
    """
    background = _own(response).get("background")
    for task in _own(background).get("tasks", (background,)):
        for name in {"func", "fn"} & _own(task).keys():  # Starlette's, Litestar's
            setattr(task, name, carry(getattr(task, name), scope))


def _place_of_body(response: Any) -> _Place:
    """Return where a response keeps its streamed body, if it has one.

    Looked up in the object itself and in its class: asking the object with `getattr`
    would wake whatever answers to any name.
    """
    kind, own = type(response), _own(response)
    for name in ("body_iterator", "_graph_iter", "_graph_aiter"):
        if name in own:  # Starlette's; those of LangGraph's `version="v3"`
            return response, name
    if "response" in own and not own.get("direct_passthrough"):  # no file, as it is
        if hasattr(kind, "is_streamed"):  # Werkzeug's
            return response, "response"
        if "iter" in _own(own["response"]):  # Quart's
            return own["response"], "iter"
    if hasattr(kind, "to_asgi_response") and hasattr(kind, "iterator"):  # Litestar's
        return response, "iterator"
    if getattr(kind, "streaming", False) is True and hasattr(kind, "streaming_content"):
        # Django's; a file that it serves is no work of the app's, and must stay a file.
        is_file = getattr(response, "file_to_stream", None) is not None
        return None if is_file else (response, "streaming_content")
    return None


def _own(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(value, "__dict__", {})
    return found


def _follow_body(owner: Any, name: str, scope: Scope) -> bool:
    """Put a stepped body in the place of a streamed one, not of a whole one."""
    body = getattr(owner, name)
    stepped = _stepped_body(body, scope)
    if stepped is None:
        return False
    setattr(owner, name, stepped)
    if name == "response":  # closing what stands there now reaches no unread body
        for close in (getattr(body, "close", None), scope.close):
            if close is not None:
                owner.call_on_close(close)
    return True


def _stepped_body(body: Any, scope: Scope) -> Any:
    """Return what stands for a streamed body; None for one that is whole."""
    stepped = _stepped(body, scope)
    if stepped is not None:
        return stepped
    if hasattr(body, "__aiter__"):
        return step_async_iterable(body, scope)
    return step_iterable(body, scope) if hasattr(body, "__next__") else None


def _started_inside(stream: Any, scope: Scope) -> Any:
    """Let a stream of LangChain's `version="v3"` begin inside the scope.

    It makes one model call, on whose start everything else hangs
    (langchain_core/language_models/chat_model_stream.py, `set_start`).
    """
    start: Callable[[], Any] = stream._ensure_started  # noqa: SLF001 - it has no getter
    stream.set_start(step_call(start, scope))
    return stream
