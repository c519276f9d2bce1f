"""The one ContextVar: what is open, what is closed, and what is current.

Rule 1: a closed scope is never current. Contexts outlive scopes (a keep-alive connection,
a task, a thread), so a scope knows that it is closed, and whoever finds it asks.
Rule 2: from a closed scope only an open enclosing one of the same user takes over; of
another user, or of none, nobody does.
Rule 3: leaving restores what was current before, where the context still holds what the
entry put there; anywhere else there is nothing of ours to restore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, NoReturn
from uuid import UUID

from .. import _notices
from .._stats import ledger
from ._arguments import Identity, Metadata, Recipe, Tags
from ._attributes import (
    NOT_GIVEN,
    NOTHING,
    Attributes,
    Given,
    NotGiven,
    merge,
)

_current: ContextVar[Scope | None] = ContextVar("trubrics_trace_scope", default=None)

# Another object after each `identify` of this process: a scope that merged at an older
# epoch merges again. An object, for two threads may count to the same number.
_identify_epoch = object()


class Scope:
    """Who is asking, while it is open.

    Its attributes are its own, read through to its parent's. Safe to read from any
    thread and task. `tags` leave out "langchain", which every record bears; `is_enabled`
    says whether calls inside are recorded; `last_record_id` is that of the last record.
    """

    __slots__ = (
        "__weakref__",
        "_epoch",
        "_merged",
        "_own",
        "called",
        "is_enabled",
        "is_open",
        "is_root",
        "last_record_id",
        "names_its_own_user",
        "opener",
        "outer",
        "parent",
    )

    def __init__(
        self,
        own: Attributes = NOTHING,
        *,
        parent: Scope | None = None,
        enabled: bool = True,
        opener: object = None,
        called: str | None = None,
    ) -> None:
        # What the work is called where nobody gave it a run_name.
        self.called: str | None = called or (parent.called if parent else None)
        self.is_open = True
        self.is_root = parent is None
        self.last_record_id: str | None = None
        self.opener = opener
        self.outer: Scope | None = None  # what the context held before, while open
        self.parent = parent
        self.is_enabled: bool = enabled and (parent is None or parent.is_enabled)
        self._epoch = _identify_epoch
        self.learn(own)

    @property
    def attributes(self) -> Attributes:
        """What holds in this scope: its parent's attributes and its own over them."""
        epoch = _identify_epoch
        if self._epoch != epoch:  # merged first, then marked: a reader may come between
            self._merged = self._read_through()
            self._epoch = epoch
        return self._merged

    @property
    def user_id(self) -> str | None:
        """Who is asking; None is nobody."""
        return _said(self.attributes.user_id)

    @property
    def thread_id(self) -> str | None:
        """The conversation."""
        return _said(self.attributes.thread_id)

    @property
    def session_id(self) -> str | None:
        """The session, where the app has its own notion of one."""
        return _said(self.attributes.session_id)

    @property
    def assistant_id(self) -> str | None:
        """Who answers; on Trubrics the model's name where nothing is said."""
        return _said(self.attributes.assistant_id)

    @property
    def run_name(self) -> str | None:
        """What the work is called: the name given, else that of the traced function."""
        given = self.attributes.run_name
        return self.called if given is NOT_GIVEN else given

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, outer first."""
        return self.attributes.tags

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Everything else that was said."""
        return self.attributes.metadata

    def encloses(self, other: Scope | None) -> bool:
        """Whether `other` is this scope, or was opened somewhere inside it.

        A fresh scope inherits nothing, but while it is open it knows where it was opened.
        """
        while other is not None:
            if other is self:
                return True
            other = other.outer if other.outer is not None else other.parent
        return False

    def close(self) -> None:
        """Be current nowhere from here on. Closing twice is closing once."""
        self.is_open = False
        self.outer = None  # else every request of a connection would hold the one before

    def learn(self, own: Attributes) -> None:
        """Have these attributes of its own; before anything reads it.

        Whether they name a user is noted now: whom `identify` says later is no user of
        its own, and may be corrected by the next `identify`.
        """
        self.names_its_own_user = own.user_id is not NOT_GIVEN
        self._own = own
        self._merged = self._read_through()

    def identify(self, attributes: Attributes) -> None:
        """Say who it is, for everything that reads this scope from here on."""
        global _identify_epoch
        self._own = merge(self._own, attributes)
        _identify_epoch = object()

    def _read_through(self) -> Attributes:
        parent = self.parent
        return self._own if parent is None else merge(parent.attributes, self._own)

    def __repr__(self) -> str:
        said = {
            name: value
            for name in ("user_id", "thread_id", "run_name", "tags")
            if (value := getattr(self, name))
        }
        words = [f"{name}={value!r}" for name, value in said.items()]
        return f"<Scope {' '.join(['open' if self.is_open else 'closed', *words])}>"


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
    """Whether this context holds a scope, open or closed; if not, we are outside."""
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
    for do in before_first_open:
        do()
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


def begin_step(inside: Scope | None) -> Token[Scope | None]:
    """Make this context hold `inside`, for the one step that `end_step` ends."""
    return _current.set(inside)


def end_step(step: Token[Scope | None], inside: Scope | None) -> Scope | None:
    """Restore what the context held before the step; return what the step left there.

    A step that is collected half-done may end in any other context, where there is
    nothing of ours to restore: then what the step began with is returned.
    """
    left = _current.get()
    try:
        _current.reset(step)
    except ValueError:
        return inside
    return left


# The slot through which the runtime learns that somebody is asking. Emptied by whoever
# fills it, once it has done its work: an open scope costs no call.
before_first_open: list[Callable[[], None]] = []


class trubrics_scope:  # noqa: N801 - read as a statement: `with trubrics_scope(...)`
    """A block whose LangChain calls belong to one user: `with` or `async with`.

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
        self._opened: list[Scope] = []  # open entries; the list's methods are atomic

    def __enter__(self) -> Scope:
        scope = open_scope(
            self._recipe.attributes(),
            fresh=self._fresh,
            enabled=self._enabled,
            opener=self,
        )
        self._opened.append(scope)
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
        return self.__enter__()

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
            if scope.opener is self and scope.is_open and self._forget(scope):
                return scope
        try:
            return self._opened.pop()
        except IndexError:
            return None

    def _forget(self, scope: Scope) -> bool:
        try:
            self._opened.remove(scope)
        except ValueError:
            return False
        return True


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

    Takes the keywords of `trubrics_scope`. Never raises, save when strict.
    """
    scope = current_scope()
    if scope is None:
        ledger.fault(
            "identify_outside",
            f"identify() at {_notices.place_of_caller()} found no open scope; call it "
            "inside one: a middleware's, a decorated function's, or trubrics_scope's",
        )
        return
    told = Recipe.for_scope(
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
    ).attributes()
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


def _said(given: Given) -> str | None:
    return None if given is NOT_GIVEN else given
