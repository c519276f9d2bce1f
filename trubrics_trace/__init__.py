"""Every LangChain call as one record, under the right user.

    @trubrics_trace(user_id=lambda request: request.headers["x-user-id"], tags=["support"])
    async def chat(request, question):
        return (await llm.ainvoke(question)).content

Importing this starts nothing, opens nothing and reads nothing; LangChain and the official
client are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from .scope._block import trubrics_scope
from .scope._current import current_scope
from .scope._identify import identify
from .scope._parameters import arg
from .scope._scope import Scope
from .wrapping import _imports as _imports  # fills the slot that the first scope empties
from .wrapping._decorator import trubrics_trace

if TYPE_CHECKING:
    from ._feedback import track_event, track_feedback
    from ._record import EventRecord, FeedbackRecord, PromptRecord, Record
    from ._runtime import aflush, configure, flush, shutdown, stats
    from ._settings import Settings
    from ._stats import Stats
    from .delivery._client import DurableTrubrics
    from .langchain._handler import TrubricsCallbackHandler
    from .scope._carry import carry_scope
else:

    def __getattr__(name: str) -> Any:  # hidden: a checker knows every name there is
        if name not in _LAZY:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value


__all__ = [
    "DurableTrubrics",
    "EventRecord",
    "FeedbackRecord",
    "PromptRecord",
    "Record",
    "Scope",
    "Settings",
    "Stats",
    "TrubricsCallbackHandler",
    "aflush",
    "arg",
    "carry_scope",
    "configure",
    "current_scope",
    "errors",
    "flush",
    "identify",
    "shutdown",
    "stats",
    "track_event",
    "track_feedback",
    "trubrics_scope",
    "trubrics_trace",
]

__version__ = "0.1.0"

# The rooms that are entered at the first use of a word: what decorates pays for no spool.
_LAZY = {
    "DurableTrubrics": "delivery._client",
    "EventRecord": "_record",
    "FeedbackRecord": "_record",
    "PromptRecord": "_record",
    "Record": "_record",
    "Settings": "_settings",
    "Stats": "_stats",
    "TrubricsCallbackHandler": "langchain._handler",
    "aflush": "_runtime",
    "carry_scope": "scope._carry",
    "configure": "_runtime",
    "flush": "_runtime",
    "shutdown": "_runtime",
    "stats": "_runtime",
    "track_event": "_feedback",
    "track_feedback": "_feedback",
}


def __dir__() -> list[str]:
    return sorted(__all__)
