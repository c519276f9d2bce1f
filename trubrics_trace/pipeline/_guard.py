"""The guard of the pipeline and of LangChain's callbacks, which end in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .._ledger import GUARD_SECONDS, ledger
from .._notices import place_of_error
from ..errors import PASSING

_T = TypeVar("_T")

# What is missing where a step fails, and what to do.
_LOST = {
    "before_send_failed": "a record was not kept; mend what before_send= was given",
    "callback_failed": "a model call was not recorded; please report this",
    "console_failed": "a record was not printed; mend stderr, or leave console=True out",
    "follow_failed": "what a traced function returned was not followed; its own scope "
    "closed, so carry the work with carry_scope(...)",
    "hook_failed": "scopes record nothing with this version of langchain-core; pass "
    "TrubricsCallbackHandler() as a callback, or install a version that is supported",
    "install_failed": "scopes record nothing until one can load what records; mend what "
    "stood in its way",
    "log_failed": "a record was not logged; mend the app's own structlog or "
    "logging configuration",
    "on_error_failed": "a refused record was not told; mend what on_error= was given",
    "record_failed": "a record was not kept; please report this",
    "spool_failed": "a record was not kept; please report this",
    "tracked_failed": "an event was not kept; please report this",
}


def attempt(reason: str, step: Callable[..., _T], *args: Any) -> _T | None:
    """Run one step of telemetry, whose failure is counted and never the app's.

    The guard of the pipeline, and of LangChain's callbacks, which end in it.
    """
    try:
        return step(*args)
    except PASSING:
        raise
    except BaseException as error:
        lost = _LOST.get(reason, "a record may be missing")
        ledger.fault(
            reason,
            f"{lost}, because {type(error).__name__} was raised at {place_of_error(error)}",
            again_after=GUARD_SECONDS,
        )
        return None
