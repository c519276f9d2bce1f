"""Who the user is, said once the app knows: `identify`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from .. import _notices
from .._ledger import ledger
from ._arguments import said
from ._attributes import NOT_GIVEN, NotGiven
from ._current import current_scope, switch


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
        if not switch.is_on:  # what would have opened one only calls its function
            return
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
    while (parent := scope.parent) is not None:
        if parent.names_its_own_user:
            break
        parent.identify(told)
        scope = parent
