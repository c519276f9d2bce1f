"""Feedback and events under the same identity as the prompts.

Inside a scope no user need be said. Both are records like any other: in the same spool,
under the same law, through the same pipeline.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from . import _clock, _runtime
from ._frozen import FrozenDict
from ._ledger import ledger
from ._record import EventRecord, FeedbackRecord, Record
from .pipeline._redact import told_by_itself
from .scope._arguments import said
from .scope._attributes import NOT_GIVEN, NotGiven
from .scope._current import current_scope, prepare
from .scope._scope import Scope

_IDENTITY = ("user_id", "thread_id", "session_id")
_WHO = (*_IDENTITY, "metadata")


def track_feedback(
    score: float | str | bool,  # noqa: FBT001 - a thumb is one
    comment: str | None = None,
    *,
    record_id: str | uuid.UUID | None = None,
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
    if record_id is None and scope is not None:
        record_id = scope.last_record_id
    _keep(
        FeedbackRecord,
        scope,
        {"user_id": user_id, "thread_id": thread_id, **metadata},
        score=score,
        comment=None if comment is None else told_by_itself(comment),
        type=told_by_itself(type),
        about=None if record_id is None else told_by_itself(record_id),
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
    keywords = {"user_id": user_id, **properties}
    _keep(EventRecord, current_scope(), keywords, event_name=told_by_itself(event))


def _keep(
    kind: type[Record], scope: Scope | None, keywords: Mapping[str, Any], **fields: Any
) -> None:
    """Let the record be born where the scope records, and go its way."""
    prepare()
    if scope is not None and not scope.is_enabled:
        ledger.skip("scope_disabled")
        return
    now = _clock.utc_now()
    who = _identity(scope, keywords)
    _runtime.accept(kind(record_id=str(uuid.uuid4()), started_at=now, **who, **fields))


def _identity(scope: Scope | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return who it is, said here, else by the scope; the rest is metadata."""
    told = said({name: keywords[name] for name in _WHO if name in keywords})
    rest = {name: value for name, value in keywords.items() if name not in _WHO}
    who: dict[str, Any] = {"metadata": FrozenDict({**told.metadata, **rest})}
    for name in _IDENTITY:
        given = getattr(told, name)
        inherited = None if scope is None else getattr(scope, name)
        who[name] = inherited if given is NOT_GIVEN else given
    return who
