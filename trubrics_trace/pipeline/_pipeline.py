"""Sample, ask, redact, log, spool, wake; and raise in strict mode only.

The order is a promise: `before_send` sees the record as it was born, and log and spool
see the same masked values. When the last step is done the record outlives the process;
then, and only then, the app goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from .._ledger import GUARD_SECONDS, ledger
from .._record import PromptRecord, Record
from .._settings import BeforeSend, Settings
from ..scope._parameters import place_of
from ._guard import attempt
from ._line import as_it_is, line_of
from ._log import log, print_line
from ._redact import prepare

# Takes a record and its line, and keeps them: a spool, or a test's list.
Keep = Callable[[Record, bytes], object]


def accept(record: Record, settings: Settings, keep: Keep) -> Record | None:
    """Take one record from birth to the spool.

    Returns:
        The record as it left, or None where it was skipped or could not be told.
    """
    if settings.sample_rate < 1.0 and not _is_sampled(record, settings.sample_rate):
        ledger.skip("sampled_out")
        return None
    fit: tuple[Record, dict[str, Any] | None, bytes | None] | None = None
    if settings.before_send is None:  # what an app has changed, each value is looked at
        fit = attempt("record_failed", as_it_is, record, settings)
    elif (asked := _ask_before_send(record, settings.before_send)) is None:
        return None
    else:
        record = asked
    fit = fit or attempt("record_failed", _prepared, record, settings)
    if fit is None:
        return None
    prepared, said, line = fit
    if settings.console:
        attempt("console_failed", print_line, prepared)
    attempt("log_failed", log, prepared, settings, said)
    if line is None:
        return None
    attempt("spool_failed", keep, prepared, line)
    return prepared


def _prepared(record: Record, settings: Settings) -> tuple[Record, None, bytes | None]:
    prepared = prepare(record, settings)
    return prepared, None, attempt("record_failed", line_of, prepared)


def _is_sampled(record: Record, rate: float) -> bool:
    """Decide by user, else by thread, so that conversations stay whole."""
    if not isinstance(record, PromptRecord):
        return True
    key = record.user_id or record.thread_id or record.record_id
    digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()
    return int(digest[:8], 16) < rate * 2**32


def _ask_before_send(record: Record, before_send: BeforeSend) -> Record | None:
    refused = object()

    def ask() -> object:
        answer = before_send(record)
        return refused if answer is None else answer

    answer = attempt("before_send_failed", ask)
    if isinstance(answer, Record) and answer.kind:
        return answer
    if answer is refused:
        ledger.skip("before_send")
    elif answer is None:  # it raised, and that was said
        ledger.skip("before_send_failed")
    else:
        ledger.fault(
            "before_send_failed",
            f"before_send={place_of(before_send)} returned a "
            f"{type(answer).__name__}; return the record, or None to refuse it",
            group="skipped",
            again_after=GUARD_SECONDS,
        )
    return None
