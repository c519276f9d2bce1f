"""What every door does: a request has a fresh scope, current in its steps.

Rule 1: a door's scope is a root. It inherits nothing, and no run of LangChain's that the
context tells of, from a request before or from around, is the request's own.
Rule 2: what a step leaves current is current again in the next, and nowhere between.
"""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import Any

from ..langchain._context import leave_run, rejoin_run
from ..scope._current import Held, begin_step, end_step
from ..scope._scope import Scope


class Step:
    """A block inside a scope, or none, and outside any run of LangChain's.

    May be entered again, one after the other: each step goes on where the last one left.
    """

    __slots__ = ("_inside", "_run", "_scope", "_token")

    def __init__(self, inside: Scope | None) -> None:
        self._inside: Scope | Held = inside
        self._scope = inside

    def __enter__(self) -> None:
        self._token = begin_step(self._inside, self._scope)
        self._run: Token[Any] | None = leave_run()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        rejoin_run(self._run)
        self._inside = end_step(self._token, self._inside)


class closed_by_failure:  # noqa: N801 - read as a statement
    """A block that closes the scope if it raises, and only then.

    What it returned may still need it. No `contextmanager`: that sets the error's
    traceback, which a frozen one refuses.
    """

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception_type is not None:
            self._scope.close()
