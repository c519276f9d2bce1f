"""The one ContextVar: what is open, what is closed, and what is current.

Rule 1: a closed scope is never current. Contexts outlive scopes (a keep-alive connection,
a task, a thread), so a scope knows that it is closed, and whoever finds it asks.
Rule 2: from a closed scope only an open enclosing one of the same user takes over; of
another user, or of none, nobody does.
Rule 3: leaving restores what was current before, where the context still holds what the
entry put there; anywhere else there is nothing of ours to restore.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, Token
from types import FrameType, TracebackType
from typing import Any, NoReturn
from uuid import UUID

from .. import _notices
from .._ledger import ledger
from ._arguments import Identity, Metadata, Recipe, Tags, said
from ._attributes import NOT_GIVEN, Attributes, NotGiven
from ._scope import Scope
from ._spanning import warn_of_yield

_current: ContextVar[Scope | None] = ContextVar("trubrics_trace_scope", default=None)


def current_scope() -> Scope | None:
    """Return this context's open scope, or None.

    Never raises. Where the scope that the context holds has closed, the nearest open
    enclosing scope answers for it, if it is of the same user.
    """
    scope = _current.get()
    if scope is None or scope.is_open:
        return scope
    user_id = scope.user_id
    enclosing = scope.parent
    while enclosing is not None:
        if enclosing.is_open:
            return enclosing if enclosing.user_id == user_id else None
        enclosing = enclosing.parent
    return None


def scope_was_opened_here() -> bool:
    """Whether this context holds a scope, open or closed; else we are outside."""
    return _current.get() is not None


def open_scope(
    own: Attributes,
    *,
    fresh: bool = False,
    enabled: bool = True,
    opener: object = None,
    called: str | None = None,
) -> Scope:
    """Return a new open scope, current nowhere yet."""
    prepare()
    outer = current_scope()
    return Scope(
        own,
        parent=None if fresh else outer,
        enabled=enabled and (outer is None or outer.is_enabled),
        opener=opener,
        called=called,
    )


def enter(scope: Scope) -> None:
    """Make the scope current in this context, until `leave`."""
    scope.outer = _current.get()
    _current.set(scope)


def step_out(scope: Scope) -> None:
    """Restore what was current, where this context still holds the scope."""
    if _current.get() is scope:
        _current.set(scope.outer)
    else:  # out of order: what was entered on top of it now stands on what was below
        for held in _held_here():
            if held.outer is scope:
                held.outer = scope.outer
                break
    scope.outer = None


def leave(scope: Scope) -> None:
    """Step out of the scope, and close it."""
    step_out(scope)
    scope.close()
    for do in after_leave:
        do()


def begin_step(inside: Scope | None, scope: Scope | None = None) -> Token[Scope | None]:
    """Make this context hold `inside`, for the one step that `end_step` ends.

    Args:
        scope: Whose step it is; `inside` may be what its body has opened since. While the
            step lasts, it stands in whatever is current around it.
    """
    if scope is not None:
        scope.consumer = _current.get()
    return _current.set(inside)


def end_step(step: Token[Scope | None], inside: Scope | None) -> Scope | None:
    """Restore what the context held before; return what the step left there.

    A step that is collected half-done may end in any other context, where there is
    nothing of ours to restore: then what the step began with is returned.
    """
    left = _current.get()
    try:
        _current.reset(step)
    except ValueError:
        return inside
    return left


def prepare() -> None:
    """Make ready for records, once, before the first scope or handler."""
    for do in before_first_open:
        do()


# The slot through which the runtime learns that somebody is asking. Emptied by whoever
# fills it, once it has done its work.
before_first_open: list[Callable[[], object]] = []

# The slot for what is to be told at the latest when a scope closes.
after_leave: list[Callable[[], None]] = []


class trubrics_scope:  # noqa: N801 - read as a statement: `with trubrics_scope(...)`
    """A block whose LangChain calls belong to a user: `with` or `async with`.

    May be kept and entered again, also by several tasks and threads at once: each entry
    opens a new `Scope`, and yields it.

    Args:
        fresh: Start from nothing: inherit neither user nor tags of an outer scope.
        enabled: False records nothing inside, whatever is opened there.
        user_id, thread_id, session_id, assistant_id, run_name: The inner one wins over
            the outer one. Left out: inherited. None or "": nobody. A callable is asked
            at each entry and takes nothing.
        tags: A str or several; added to the outer ones.
        metadata: A dict of anything else, and so is every further keyword; merged into
            the outer one by key.

    Raises:
        ConfigurationError: A callable takes arguments, or is async.
        TypeError: It is used as a decorator; that is `trubrics_trace`.

    Example:
        >>> from trubrics_trace import current_scope, trubrics_scope
        >>> with trubrics_scope(user_id="alice", tags="chat", plan="free") as scope:
        ...     with trubrics_scope(tags="search"):
        ...         current_scope().user_id, current_scope().tags
        ('alice', ('chat', 'search'))
        >>> scope.is_open
        False
    """

    def __init__(
        self,
        /,
        *decorated: NoReturn,
        fresh: bool = False,
        enabled: bool = True,
        user_id: Identity = NOT_GIVEN,
        thread_id: Identity = NOT_GIVEN,
        session_id: Identity = NOT_GIVEN,
        assistant_id: Identity = NOT_GIVEN,
        run_name: Identity = NOT_GIVEN,
        tags: Tags = NOT_GIVEN,
        metadata: Metadata = NOT_GIVEN,
        **more_metadata: Any,
    ) -> None:
        if decorated:
            self()
        self._fresh = fresh
        self._enabled = enabled
        self._recipe = Recipe.for_scope(
            dict(
                user_id=user_id,
                thread_id=thread_id,
                session_id=session_id,
                assistant_id=assistant_id,
                run_name=run_name,
                tags=tags,
                metadata=metadata,
                **more_metadata,
            )
        )
        self._opened: dict[int, Scope] = {}  # open entries; a dict's methods are atomic

    def __enter__(self) -> Scope:
        return self._enter(sys._getframe(1))  # noqa: SLF001 - the block's own frame

    def _enter(self, opening: FrameType) -> Scope:
        warn_of_yield(opening)
        scope = open_scope(
            self._recipe.attributes(),
            fresh=self._fresh,
            enabled=self._enabled,
            opener=self,
        )
        self._opened[id(scope)] = scope
        enter(scope)
        return scope

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scope = self._entry_to_leave()
        if scope is not None:
            leave(scope)

    async def __aenter__(self) -> Scope:
        return self._enter(sys._getframe(1))  # noqa: SLF001 - the block's own frame

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exception_type, exception, traceback)

    def __call__(self, *_: object, **__: object) -> NoReturn:
        message = (
            "trubrics_scope wraps a block, as in `with trubrics_scope(...):`; "
            "to decorate a function use trubrics_trace"
        )
        raise TypeError(message)

    def __repr__(self) -> str:
        return f"trubrics_scope({self._recipe!r})"

    def _entry_to_leave(self) -> Scope | None:
        """Return this context's own entry, else the youngest of all that are open."""
        for scope in _held_here():
            is_mine = scope.opener is self and scope.is_open
            if is_mine and self._opened.pop(id(scope), None) is scope:
                return scope
        try:
            return self._opened.popitem()[1]
        except KeyError:
            return None


def identify(
    user_id: str | int | UUID | None,
    *,
    thread_id: str | int | UUID | NotGiven | None = NOT_GIVEN,
    session_id: str | int | UUID | NotGiven | None = NOT_GIVEN,
    assistant_id: str | int | UUID | NotGiven | None = NOT_GIVEN,
    run_name: str | NotGiven | None = NOT_GIVEN,
    tags: str | Iterable[str] | NotGiven | None = NOT_GIVEN,
    metadata: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
    **more_metadata: Any,
) -> None:
    """Say who the current scope's user is, once the app knows.

    Holds from here on for everything that shares the scope: the rest of the request, its
    stream, its background work. Each enclosing scope learns it too, outward to the
    nearest root (a web door's, or one opened with `fresh=True`), but none that was given
    a user of its own. Without an open scope: counted as `identify_outside`, no effect.

    Takes the keywords of `trubrics_scope`, as values: a callable is no user, and nobody
    asks it. Never raises, save when strict.
    """
    scope = current_scope()
    if scope is None:
        ledger.fault(
            "identify_outside",
            f"identify() at {_notices.place_of_caller()} found no open scope; call it "
            "inside one: a middleware's, a decorated function's, or trubrics_scope's",
        )
        return
    told = said(
        dict(
            user_id=user_id,
            thread_id=thread_id,
            session_id=session_id,
            assistant_id=assistant_id,
            run_name=run_name,
            tags=tags,
            metadata=metadata,
            **more_metadata,
        )
    )
    scope.identify(told)
    while not scope.is_root and (parent := scope.parent) is not None:
        if parent.names_its_own_user or not parent.is_open:
            break
        parent.identify(told)
        scope = parent


def _held_here() -> Iterator[Scope]:
    scope = _current.get()
    while scope is not None:
        yield scope
        scope = scope.outer if scope.outer is not None else scope.parent
