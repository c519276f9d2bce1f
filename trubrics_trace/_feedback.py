"""Feedback and events under the same identity as the prompts.

Inside a scope no user need be said. Both are records like any other: in the same spool,
under the same law, through the same pipeline.
"""

from __future__ import annotations

import uuid
from typing import Any

from . import _clock, _runtime
from ._record import EventRecord, FeedbackRecord, FrozenDict
from .scope._attributes import NOT_GIVEN, NotGiven, attributes_of
from .scope._current import current_scope
from .scope._scope import Scope


def track_feedback(
    score: float | str | bool,
    comment: str | None = None,
    *,
    record_id: str | None = None,
    user_id: str | int | uuid.UUID | NotGiven | None = NOT_GIVEN,
    thread_id: str | int | uuid.UUID | NotGiven | None = NOT_GIVEN,
    type: str = "thumbs",  # noqa: A002 - Trubrics' own word
    **metadata: Any,
) -> None:
    """Record what a user thinks of an answer.

    Args:
        score: What the user gave: a number, a thumb, a word.
        comment: What the user wrote.
        record_id: The answer's, from `scope.last_record_id`; default: the last record of
            the current scope.
        user_id, thread_id: Default: the current scope's.
        type: What kind of score it is.

    Never raises, save when strict.
    """
    scope = current_scope()
    said = _identity(scope, user_id, thread_id)
    _runtime.install()
    _runtime.accept(
        FeedbackRecord(
            **said,
            record_id=str(uuid.uuid4()),
            metadata=FrozenDict(metadata),
            started_at=_clock.utc_now(),
            score=score,
            comment=comment,
            type=type,
            about=record_id or (scope.last_record_id if scope else None),
        )
    )


def track_event(
    event: str,
    *,
    user_id: str | int | uuid.UUID | NotGiven | None = NOT_GIVEN,
    **properties: Any,
) -> None:
    """Record something that a user did, beside the prompts.

    Args:
        event: What happened.
        user_id: Default: the current scope's.
        properties: Whatever else is worth knowing.

    Never raises, save when strict.
    """
    said = _identity(current_scope(), user_id, NOT_GIVEN)
    _runtime.install()
    _runtime.accept(
        EventRecord(
            **said,
            record_id=str(uuid.uuid4()),
            metadata=FrozenDict(properties),
            started_at=_clock.utc_now(),
            event_name=event,
        )
    )


def _identity(scope: Scope | None, user_id: Any, thread_id: Any) -> dict[str, Any]:
    """Return who it is: what was said here, else what the scope says."""
    said = attributes_of({"user_id": user_id, "thread_id": thread_id})
    return {
        "user_id": _said_or(said.user_id, scope.user_id if scope else None),
        "thread_id": _said_or(said.thread_id, scope.thread_id if scope else None),
        "session_id": scope.session_id if scope else None,
    }


def _said_or(said: Any, otherwise: str | None) -> str | None:
    return otherwise if said is NOT_GIVEN else said
