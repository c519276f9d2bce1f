"""What a function's body and the consumer of its call see, each at every step."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import wrapt

import trubrics_trace
from trubrics_trace import Scope, current_scope

Step: TypeAlias = "Callable[[Witness], Coroutine[Any, Any, None]]"
Around: TypeAlias = "Callable[[Witness], AbstractAsyncContextManager[object]]"

APPS_OWN: ContextVar[str] = ContextVar("apps_own", default="unset")
BOUND: ContextVar[str] = ContextVar("bound", default="unbound")

OURS = tuple(str(Path(module.__file__ or "").parent) for module in (trubrics_trace, wrapt))


@dataclass
class Seen:
    """The columns: what is compared between a decorated call and an undecorated one."""

    kind: list[bool] = field(default_factory=list)
    signature: object = None
    given: object = None  # by the call: its type and name
    answers: list[object] = field(default_factory=list)
    tracebacks: list[list[str]] = field(default_factory=list)
    reached_the_body: list[object] = field(default_factory=list)
    in_place: list[bool] = field(default_factory=list)  # the consumer's thread and task
    context: list[str] = field(default_factory=list)  # the app's own variable
    body_users: list[str | None] = field(default_factory=list)
    consumer_users: list[str | None] = field(default_factory=list)
    left_open: list[Scope] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@dataclass
class Way:
    """How a call is used up, step by step, and what its body does meanwhile."""

    steps: list[Step]
    raises: type[BaseException] | None = None
    catches: type[BaseException] = ValueError
    hangs: bool = False
    around: Around = lambda _: contextlib.nullcontext()


class Witness:
    """Who notes, for a body and its consumer, what they see."""

    def __init__(self, way: Way, layers: int) -> None:
        self.seen = Seen()
        self.way = way
        self.work: Any = None
        self.left: Any = None
        self.hangs = asyncio.Event()
        self.depth = 0
        self.scopes: list[Scope | None] = []
        self._layers = layers
        self._planted: list[BaseException] = []
        self._place: object = None
        self._context = copy_context()

    # For the consumer.

    def __enter__(self) -> None:
        """Take a step from here."""
        self._place = here()
        APPS_OWN.set(f"consumer's {len(self.seen.context)}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> bool:
        self.seen.consumer_users.append(user())
        self.seen.context.append(APPS_OWN.get())
        if error is not None:
            self.answer(error)
            names = readable(frames, self._layers, is_the_apps=self._index(error) != [])
            self.seen.tracebacks.append(names)
        return True

    def run(self, take: Callable[..., Any], *args: object) -> Any:
        """Take a step here; a coroutine's in a context of its own, as loops do."""
        is_coroutine = asyncio.iscoroutine(self.work)
        return self._context.run(take, *args) if is_coroutine else take(*args)

    def answer(self, value: object) -> None:
        """Note what a step gave."""
        self.seen.answers.append(self._told(value))

    def planted(self, kind: type[BaseException]) -> BaseException:
        """Return an exception that is known again by its identity."""
        self._planted.append(kind("planted"))
        return self._planted[-1]

    def forget(self) -> None:
        """Let go of the frames that exceptions hold, in cycles, by their tracebacks."""
        for error in self._planted:
            error.__traceback__ = None

    # For the body.

    def inside(self, what: str, value: object = None) -> None:
        """Note what reached the body, and where it is; leave a mark in the context."""
        self.seen.reached_the_body.append((what, self._told(value)))
        self.seen.in_place.append(here() == self._place)
        self.seen.body_users.append(user())
        self.scopes.append(current_scope())
        self.seen.context.append(APPS_OWN.get())
        APPS_OWN.set(f"body's {len(self.seen.context)}")

    @contextlib.contextmanager
    def finally_noted(self) -> Iterator[None]:
        """Note the body's end, and whether that is in the context of its beginning."""
        token = BOUND.set("bound")
        try:
            yield
        finally:
            try:
                BOUND.reset(token)
            except ValueError:
                self.inside("finally", "in another context")
            else:
                self.inside("finally")

    async def pause(self) -> None:
        """Give way; where the way wants it, once for ever."""
        if self.way.hangs and not self.hangs.is_set():
            self.hangs.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    def may_raise(self) -> None:
        """Raise what the way wants raised."""
        if self.way.raises is not None:
            raise self.planted(self.way.raises) from self.planted(KeyError)

    def _told(self, value: object) -> object:
        if not isinstance(value, BaseException):
            return value
        before = [type(error) for error in (value.__cause__, value.__context__)]
        return type(value), list(map(str, value.args)), self._index(value), before

    def _index(self, value: BaseException) -> list[int]:
        return [index for index, error in enumerate(self._planted) if error is value]


def here() -> tuple[int, object]:
    """Return the thread and the task that this is."""
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None


def user() -> str | None:
    """Return the current user; a str that no row uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else scope.user_id


def readable(frames: TracebackType | None, layers: int, *, is_the_apps: bool) -> list[str]:
    """Return a traceback's names; of ours, those that nobody should have to read.

    That is more than two a layer, or the last line of what the app has raised.
    """
    names: list[str] = []
    ours: list[str] = []
    is_ours = False
    for frame, line in traceback.walk_tb(frames):
        code = frame.f_code
        if line == code.co_firstlineno:
            continue  # it has not begun, and has no line to show
        is_ours = code.co_filename.startswith(OURS)
        (ours if is_ours else names).append(code.co_name)
    return names + (ours if is_ours and is_the_apps else ours[2 * layers :])
