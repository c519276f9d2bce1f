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
from typing import Final, TypeAlias

from .. import _fork
from ._attributes import Attributes
from ._loop import running_loop
from ._scope import Nowhere, Scope

# The scope entered last, and what it was entered on. Never changed: copies of a context
# share it, and what is left in one is not left in the others.
Held: TypeAlias = "tuple[Scope, Held] | None"

_current: ContextVar[Held] = ContextVar("trubrics_trace_scope", default=None)

# What a task's context holds once its scopes were left: closed, so current nowhere.
_LEFT: Final = Scope()
_LEFT.close()

_KEPT: Final = 2  # closed scopes in a row, of those that are left in any order

_was_left_in_a_thread = False
_watches_forks = False
_IMPORTER: Final = get_ident()  # most often the main thread, and asked fast
_modules = sys.modules
_begin: Callable[[Callable[[], object]], object] | None = None


class Switch:
    """Whether anything is recorded; off, a decorator only calls its function.

    Attributes:
        is_on: What `configure` or the environment said, once somebody has asked.
    """

    __slots__ = ("__weakref__", "is_on")

    def __init__(self) -> None:
        self.is_on = True


switch = Switch()


def current_scope() -> Scope | None:
    """Return this context's open scope, or None.

    Never raises. Where the scope that the context holds has closed, the nearest open
    enclosing scope answers for it, if it is of the same user.
    """
    held = _current.get()
    if held is None or held[0].is_open:
        return None if held is None else held[0]
    scope = held[0]
    user_id = scope.user_id
    enclosing = scope.parent
    while enclosing is not None:
        if enclosing.is_open:
            return enclosing if enclosing.user_id == user_id else None
        enclosing = enclosing.parent
    return None


def scope_was_opened_here() -> bool:
    """Whether this context holds a scope, open or closed; else we are outside."""
    held = _current.get()
    return held is not None and not (type(held[0]) is Nowhere and held[0].is_outside)


def held_scope() -> Scope | None:
    """Return what this context holds, open or closed."""
    held = _current.get()
    return None if held is None else held[0]


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
    outer = held_scope()
    if outer is not None:
        if not outer.is_open:
            outer = current_scope()
        enabled = enabled and (outer is None or outer.is_enabled)
    parent = None if fresh else outer
    return Scope(own, parent, called, enabled=enabled, opener=opener)


def enter(scope: Scope) -> None:
    """Make the scope current in this context, until `leave`."""
    scope.stands_in = held_scope()
    _current.set((scope, _without_what_is_past(_current.get())))


def enter_new(own: Attributes, called: str | None = None, opener: object = None) -> Scope:
    """Return a new open scope, current here: `open_scope` and `enter` in one."""
    if before_first_open:
        prepare()
    if "uvicorn" in _modules:
        _begin_requests_outside()
    held = _current.get()
    outer = parent = None if held is None else held[0]
    if outer is not None and not outer.is_open:
        parent, held = current_scope(), _without_what_is_past(held)
    scope = Scope(own, parent, called, opener=opener)
    scope.stands_in = outer
    _current.set((scope, held))
    return scope


def step_out(scope: Scope) -> None:
    """Restore what was current, where this context still holds the scope."""
    held, above = _current.get(), []
    while held is not None and held[0] is not scope:
        above.append(held[0])
        held = held[1]
    if held is not None:
        _current.set(_on_top(above, held[1]) or _what_is_left())


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
        do(scope)


def leave_behind() -> None:
    """Note, where nothing is current, that something was, a moment ago."""
    if _current.get() is None:
        _current.set(_what_is_left())


def _what_is_left() -> Held:
    """Return what the context holds when its outermost scope was left."""
    global _was_left_in_a_thread
    if running_loop() is not None:
        return (_LEFT, None)
    if get_ident() != _IMPORTER and get_ident() != threading.main_thread().ident:
        _was_left_in_a_thread = True
    return None


def leave(scope: Scope) -> None:
    """Step out of the scope, and close it."""
    held = _current.get()
    if held is not None and held[0] is scope:  # as `step_out` has it, without the call
        _current.set(held[1] or _what_is_left())
    else:
        step_out(scope)
    if scope.stands_in is None:
        scope.is_open = False
    else:
        scope.close()
    for do in after_leave:
        do(scope)


def begin_step(inside: Scope | Held, scope: Scope | None) -> Token[Held]:
    """Make this context hold `inside`, for the one step that `end_step` ends.

    Args:
        scope: Whose step it is; `inside` may be what its body has opened since. While the
            step lasts, it stands in whatever is current around it.
    """
    if scope is not None:
        scope.stands_in = held_scope()
    return _current.set((inside, None) if isinstance(inside, Scope) else inside)


def end_step(step: Token[Held], inside: Scope | Held) -> Scope | Held:
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


def _before_fork() -> None:
    # Only there is known what the child will be: `BaseProcess._bootstrap` has set it.
    util = _modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(switch, _leave_what_a_worker_inherits)


def _leave_what_a_worker_inherits(_: object) -> None:
    """Be outside the scope that a pool's worker was forked in: it serves many."""
    process = _modules["multiprocessing.process"].current_process()
    work = getattr(getattr(process, "_target", None), "__module__", None)
    if work in ("concurrent.futures.process", "multiprocessing.pool"):
        _current.set((_LEFT, None))


def prepare() -> None:
    """Make ready for records, once, before the first scope or handler."""
    global _watches_forks
    if not _watches_forks:
        _watches_forks = True
        _fork.register(before=_before_fork)
    for do in before_first_open:
        do()


# The slot through which the runtime learns that somebody is asking. Emptied by whoever
# fills it, once it has done its work.
before_first_open: list[Callable[[], object]] = []

# The slot for what else a request does not begin in: a run of LangChain's.
when_leaving_everything: list[Callable[[], object]] = []

# The slot for what is to be told at the latest when a scope closes.
after_leave: list[Callable[[Scope], None]] = []


def held_here() -> Iterator[Scope]:
    """Yield what this context holds, open or closed, the youngest first."""
    held = _current.get()
    while held is not None:
        yield held[0]
        held = held[1]


def _without_what_is_past(held: Held) -> Held:
    """Return what is held, but of closed ones in a row two, then nobody.

    Else every request of a connection would hold all those before.
    """
    closed: list[Scope] = []
    while held is not None and not held[0].is_open:
        closed.append(held[0])
        held = held[1]
    if len(closed) > _KEPT:
        closed[_KEPT:] = [Nowhere(is_outside=False)]
    return _on_top(closed, held)


def _on_top(scopes: list[Scope], held: Held) -> Held:
    while scopes:
        held = (scopes.pop(), held)
    return held
