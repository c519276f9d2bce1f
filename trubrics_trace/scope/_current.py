"""The one ContextVar: what is open, what is closed, and what is current.

Rule 1: a closed scope is never current. Contexts outlive scopes (a keep-alive connection,
a task, a thread), so a scope knows that it is closed, and whoever finds it asks.
Rule 2: from a closed scope only an open enclosing one of the same user takes over; of
another user, or of none, nobody does.
Rule 3: leaving restores what was current before, where the context still holds what the
entry put there; anywhere else there is nothing of ours to restore.
Rule 4: what comes after the last scope was left, in the same task, is late, not outside:
the rest of a request, its stream, its background work.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from threading import get_ident
from typing import Final

from ._attributes import Attributes
from ._loop import running_loop
from ._scope import Scope

_current: ContextVar[Scope | None] = ContextVar("trubrics_trace_scope", default=None)

# What a task's context holds once its scopes were left: closed, so current nowhere.
_LEFT: Final = Scope()
_LEFT.close()

_was_left_in_a_thread = False
_IMPORTER: Final = get_ident()  # most often the main thread, and asked fast
_modules = sys.modules
_begin: Callable[[Callable[[], object]], object] | None = None


class Switch:
    """Whether anything is recorded; off, a decorator only calls its function.

    Attributes:
        is_on: What `configure` or the environment said, once somebody has asked.
    """

    __slots__ = ("is_on",)

    def __init__(self) -> None:
        self.is_on = True


switch = Switch()


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


def scope_was_left_elsewhere() -> bool:
    """Whether what has no scope here may be the rest of what had one.

    A framework calls what is sync in a thread, in a copy of the request's context (anyio's
    `to_thread.run_sync`): what the request does afterwards knows nothing of that scope.
    """
    return _was_left_in_a_thread


def forget_elsewhere() -> None:
    """Know of no scope that was left elsewhere: a new configuration begins."""
    global _was_left_in_a_thread
    _was_left_in_a_thread = False


def open_scope(
    own: Attributes,
    *,
    fresh: bool = False,
    enabled: bool = True,
    opener: object = None,
    called: str | None = None,
) -> Scope:
    """Return a new open scope, current nowhere yet."""
    if before_first_open:
        prepare()
    if "uvicorn" in _modules:
        _begin_requests_outside()
    outer = _current.get()
    if outer is not None:
        if not outer.is_open:
            outer = current_scope()
        enabled = enabled and (outer is None or outer.is_enabled)
    parent = None if fresh else outer
    return Scope(own, parent, called, enabled=enabled, opener=opener)


def enter(scope: Scope) -> None:
    """Make the scope current in this context, until `leave`."""
    scope.outer = _current.get()
    _current.set(scope)


def enter_new(own: Attributes, called: str | None) -> Scope:
    """Return a new open scope, current here: `open_scope` and `enter` in one."""
    if before_first_open:
        prepare()
    if "uvicorn" in _modules:
        _begin_requests_outside()
    outer = parent = _current.get()
    if outer is not None and not outer.is_open:
        parent = current_scope()
    scope = Scope(own, parent, called)
    scope.outer = outer
    _current.set(scope)
    return scope


def step_out(scope: Scope) -> None:
    """Restore what was current, where this context still holds the scope."""
    if _current.get() is scope:
        _current.set(scope.outer or _what_is_left())
    else:  # out of order: what was entered on top of it now stands on what was below
        for held in held_here():
            if held.outer is scope:
                held.outer = scope.outer
                break
    scope.outer = None


def _begin_requests_outside() -> None:
    global _begin
    if _begin is None:  # loaded where it is needed
        from ._requests import begin_requests_outside

        _begin = begin_requests_outside
    _begin(leave_everything)


def leave_everything() -> None:
    """Let this context hold nothing, as if no scope had ever been opened."""
    _current.set(None)
    for do in when_leaving_everything:
        do()


def finish(scope: Scope) -> None:
    """Close a scope that was current in steps alone."""
    scope.close()
    leave_behind()
    for do in after_leave:
        do()


def leave_behind() -> None:
    """Note, where nothing is current, that something was, a moment ago."""
    if _current.get() is None:
        _current.set(_what_is_left())


def _what_is_left() -> Scope | None:
    """Return what the context holds when its outermost scope was left."""
    global _was_left_in_a_thread
    if running_loop() is not None:
        return _LEFT
    if get_ident() != _IMPORTER and get_ident() != threading.main_thread().ident:
        _was_left_in_a_thread = True
    return None


def leave(scope: Scope) -> None:
    """Step out of the scope, and close it."""
    if _current.get() is scope:  # as `step_out` has it, without the call
        _current.set(scope.outer or _what_is_left())
        scope.outer = None
    else:
        step_out(scope)
    scope.is_open = False
    scope.consumer = None
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

# The slot for what else a request does not begin in: a run of LangChain's.
when_leaving_everything: list[Callable[[], object]] = []

# The slot for what is to be told at the latest when a scope closes.
after_leave: list[Callable[[], None]] = []


def held_here() -> Iterator[Scope]:
    """Yield what this context holds, and what each stands in, open or closed."""
    scope = _current.get()
    while scope is not None:
        yield scope
        scope = scope.outer if scope.outer is not None else scope.parent
