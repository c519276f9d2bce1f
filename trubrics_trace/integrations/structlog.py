"""The current scope on every line that the app logs through structlog."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from ..scope._current import current_scope

if TYPE_CHECKING:
    from structlog.typing import EventDict

_OWN_EVENTS = "trubrics."


def add_scope(logger: object, method_name: str, event_dict: EventDict) -> EventDict:
    """Put the current scope's `user_id`, `thread_id` and `tags` on a log line.

    A structlog processor, also for `ProcessorFormatter`'s `foreign_pre_chain`; belongs
    before the renderer, behind which a line is text, and left as it is. What the line says
    itself stands, also where that is None; what the scope does not say is left out. Our
    own records (`trubrics.prompt` and the like) pass untouched: they may be told in
    somebody else's scope. Never raises.

    Example:
        >>> from trubrics_trace import trubrics_scope
        >>> with trubrics_scope(user_id="alice", tags="chat"):
        ...     add_scope(None, "info", {"event": "paid"})
        {'event': 'paid', 'user_id': 'alice', 'tags': ['chat']}
    """
    scope = current_scope()
    if (
        scope is None
        or not isinstance(event_dict, MutableMapping)
        or _is_record(event_dict)
    ):
        return event_dict
    said = {
        "user_id": scope.user_id,
        "thread_id": scope.thread_id,
        "tags": list(scope.tags),
    }
    for name, value in said.items():
        if value:
            event_dict.setdefault(name, value)
    return event_dict


def _is_record(event_dict: EventDict) -> bool:
    event = event_dict.get("event")
    return (
        isinstance(event, str)
        and event.startswith(_OWN_EVENTS)
        and "record_id" in event_dict
    )
