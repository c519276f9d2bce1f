"""Sample, ask, redact, log, spool, wake; and never raise.

The order is a promise: `before_send` sees the record as it was born, and log and spool
see the same masked values. When the last step is done the record outlives the process;
then, and only then, the app goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from .._record import PromptRecord, Record
from .._settings import Settings
from .._stats import ledger
from ..scope._arguments import PASSING
from ._log import log, print_line
from ._redact import prepare

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
    "log_failed": "a record was not logged; mend the app's own structlog configuration",
    "record_failed": "a record was not kept; please report this",
    "spool_failed": "a record was not kept; please report this",
    "tracked_failed": "an event was not kept; please report this",
}

# Takes a record and its line, and keeps them: a spool, or a test's list.
Keep = Callable[[Record, bytes], object]


def accept(record: Record, settings: Settings, keep: Keep) -> Record | None:
    """Take one record from birth to the spool.

    Returns:
        The record as it left, or None where it was skipped or could not be told.
    """
    if not _is_sampled(record, settings.sample_rate):
        ledger.skip("sampled_out")
        return None
    asked = _ask_before_send(record, settings)
    if asked is None:
        return None
    prepared: Record | None = attempt("record_failed", prepare, asked, settings)
    if prepared is None:
        return None
    line = attempt("record_failed", line_of, prepared)
    if settings.console:
        attempt("console_failed", print_line, prepared)
    attempt("log_failed", log, prepared, settings)
    if line is None:
        return None
    attempt("spool_failed", keep, prepared, line)
    return prepared


def attempt(reason: str, step: Callable[..., _T], *args: Any, **kwargs: Any) -> _T | None:
    """Run one step of telemetry, whose failure is counted and never the app's.

    The guard of the pipeline, and of LangChain's callbacks, which end in it.
    """
    try:
        return step(*args, **kwargs)
    except PASSING:
        raise
    except BaseException as error:
        lost = _LOST.get(reason, "a record may be missing")
        ledger.fault(
            reason, f"{lost}, because of a {type(error).__name__} at {_where(error)}"
        )
        return None


def line_of(record: Record) -> bytes:
    """Return the record as one line of the spool; `?` for what UTF-8 cannot say."""
    line = json.dumps(
        record.to_dict(), default=str, ensure_ascii=False, separators=(",", ":")
    )
    return line.encode(errors="replace") + b"\n"


def _is_sampled(record: Record, rate: float) -> bool:
    """Decide by user, else by thread, so that conversations stay whole."""
    if rate >= 1.0 or not isinstance(record, PromptRecord):
        return True
    key = record.user_id or record.thread_id or record.record_id
    digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()
    return int(digest[:8], 16) < rate * 2**32


def _ask_before_send(record: Record, settings: Settings) -> Record | None:
    if settings.before_send is None:
        return record
    refused = object()

    def ask() -> object:
        answer = settings.before_send and settings.before_send(record)
        return refused if answer is None else answer

    answer = attempt("before_send_failed", ask)
    if isinstance(answer, Record):
        return answer
    ledger.skip("before_send" if answer is refused else "before_send_failed")
    return None


def _where(error: BaseException) -> str:
    """Return where it was raised; what it says might be a prompt, so that is left out."""
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    name = os.path.basename(trace.tb_frame.f_code.co_filename)
    return f"{name}:{trace.tb_lineno}"
