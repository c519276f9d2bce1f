"""Every LangChain call as one record, under the right user.

    @trubrics_trace(user_id=lambda request: request.headers["x-user-id"], tags=["support"])
    async def chat(request, question):
        return (await llm.ainvoke(question)).content

Importing this starts nothing, opens nothing and reads nothing; LangChain and the official
client are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors
from ._feedback import track_event, track_feedback
from ._record import EventRecord, FeedbackRecord, PromptRecord, Record
from ._runtime import aflush, configure, flush, shutdown, stats
from ._settings import Settings
from ._stats import Stats
from .scope._carry import carry_scope
from .scope._current import current_scope, identify, trubrics_scope
from .scope._parameters import arg
from .scope._scope import Scope
from .wrapping import _imports as _imports  # tells the runtime how to find LangChain
from .wrapping._decorator import trubrics_trace

if TYPE_CHECKING:
    from .delivery._client import DurableTrubrics
    from .langchain._handler import TrubricsCallbackHandler

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

# What imports LangChain, or the official client, is imported at its first use.
_LAZY = {
    "DurableTrubrics": ".delivery._client",
    "TrubricsCallbackHandler": ".langchain._handler",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(_LAZY[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
