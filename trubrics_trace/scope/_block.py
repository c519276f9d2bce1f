"""`trubrics_scope`: a scope for a block."""

from __future__ import annotations

import inspect
import sys
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn

from .._notices import place_at
from ._arguments import Identity, Metadata, Recipe, Tags
from ._attributes import NOT_GIVEN
from ._current import enter, enter_new, held_here, held_scope, leave, open_scope
from ._scope import Scope

_GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


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
        self._opened: dict[Scope, None] = {}  # open entries; a dict's methods are atomic
        self._entered_at: tuple[CodeType, int] | None = None

    def __enter__(self) -> Scope:
        return self._enter(sys._getframe(1))  # noqa: SLF001 - the block's own frame

    def _enter(self, opening: FrameType) -> Scope:
        if opening.f_code.co_flags & _GENERATORS:
            from ._spanning import warn_of_yield  # loaded where it may be needed

            warn_of_yield(opening)
        own = self._recipe.ready or self._recipe.attributes()
        self._entered_at = (opening.f_code, opening.f_lasti)
        if self._fresh or not self._enabled:
            scope = open_scope(own, fresh=self._fresh, enabled=self._enabled, opener=self)
            enter(scope)
        else:
            scope = enter_new(own, opener=self)
        self._opened[scope] = None
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

    @property
    def _place(self) -> str:
        """Where it was entered last."""
        return "unknown" if self._entered_at is None else place_at(*self._entered_at)

    def _entry_to_leave(self) -> Scope | None:
        """Return this context's own entry, else the youngest of all that are open."""
        own = held_scope()
        if own is None or own.opener is not self:
            own = next((scope for scope in held_here() if scope.opener is self), None)
        if own is not None:  # closed by another, it is still to be left here
            self._opened.pop(own, None)
            return own
        try:
            return self._opened.popitem()[0]
        except KeyError:
            return None
