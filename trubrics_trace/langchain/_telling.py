"""A call noted at its start and, with its answer, told as a record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from .. import _clock, _notices, _runtime
from .._ledger import ledger
from .._record import PromptRecord, Status, record_of
from ..pipeline._redact import told_by_itself
from ..scope._attributes import NOT_GIVEN, Attributes, union
from ..scope._scope import Scope
from ._answered import tell_answer
from ._asked import tell_asked, tell_model
from ._notes import Attempts, LiveRun, Turn
from ._turns import MAX_RUNNING, turns
from ._user_turns import UserTurn

# What LangGraph raises to leave a graph for a while, or for another node: no error.
_CONTROL_FLOW = ("GraphBubbleUp", "ParentCommand", "NodeInterrupt")


def note_of(
    run_id: UUID,
    parent_run_id: UUID | None,
    scope: Scope | None,
    attributes: Attributes,
    asked: str | Sequence[Any],
    metadata: Mapping[str, Any],
    kwargs: Mapping[str, Any],
) -> Turn:
    """Return the note of a call that begins: whose it is, and what was asked."""
    run_name = attributes.run_name
    if run_name is NOT_GIVEN:
        run_name = (scope.called if scope else None) or kwargs.get("name")
    return Turn(
        str(run_id),
        None if parent_run_id is None else str(parent_run_id),
        scope,
        attributes,
        run_name,
        tell_asked(asked),
        tell_model(asked, metadata, kwargs),
    )


def notice_user(attributes: Attributes, parent: UUID | None) -> None:
    """Count a call that has no user, and say so once, with its place."""
    if attributes.user_id is NOT_GIVEN:
        ledger.fault("without_user", lambda: _without_user(parent))
    elif attributes.user_id is None:  # on purpose: told, and no fault where it is strict
        ledger.note("without_user")
        if not _notices.was_said("without_user"):
            ledger.say("without_user", _without_user(parent))


def note_unfinished(turn: Turn) -> None:
    """Count a call of whose end nobody was told: there is no record of it."""
    if turn.user_turn is not None:
        turn.user_turn.forget(turn.record_id)
    ledger.note("unfinished")


def note_given_up(turn: Turn) -> None:
    """Count a call whose note had to make room, and say so once."""
    if turn.user_turn is not None:
        turn.user_turn.forget(turn.record_id)
    ledger.fault(
        "unfinished",
        f"more than {MAX_RUNNING:,} calls run at once, so the record of the oldest "
        "is given up; await or close what was started",
    )


def late_notice(parent: UUID | None) -> str:
    """Return what is said of a call that came after its scope."""
    return (
        f"a model call at {turns.place_of(parent)} came when no scope was open any more, "
        "so it is not recorded; carry the scope with carry_scope(...), or open it in the "
        "web framework's middleware"
    )


def _without_user(parent: UUID | None) -> str:
    return (
        f"a model call at {turns.place_of(parent)} has no user; give user_id= to the "
        "scope or the decorator, or call identify(...)"
    )


def tell(
    turn: Turn,
    response: Any,
    status: Status,
    error: BaseException | None,
    ended: float | None = None,
) -> None:
    """Build the record of a call that is over, and hand it on.

    Args:
        ended: When it was over, on the monotonic clock; default: now.
    """
    ended = _clock.monotonic() if ended is None else ended
    failed = () if turn.attempts is None else turn.attempts.take()
    first = failed[0].turn if failed else turn
    said: dict[str, Any] = {"record_id": turn.record_id}
    assistant_id, tags = _add_who(said, turn.attributes)
    said["started_at"] = first.started_at
    if turn.parent_run_id is not None:
        said["parent_run_id"] = turn.parent_run_id
    if turn.run_name is not None:
        said["run_name"] = turn.run_name
    if assistant_id is not None:
        said["assistant_id"] = assistant_id
    said["tags"] = union(_LANGCHAIN, tags)
    said["status"] = status
    if status == "error" and error is not None:
        said["error_type"], said["error_message"] = _said_of(error)
    said.update(turn.asked)
    tries: dict[str, Any] = {"attempts": len(failed) + 1}
    if failed:
        tries["attempt_errors"] = tuple(type(each.error).__name__ for each in failed)
    tell_answer(said, response, turn.pieces, tries, turn.model, status)
    said["latency_seconds"] = _to_the_microsecond(ended - first.started)
    if turn.first_token is not None:
        said["first_token_seconds"] = _to_the_microsecond(turn.first_token - first.started)
    apart = [(settings, _as_asked_by(theirs, said)) for settings, theirs in turn.apart]
    record = record_of(PromptRecord, said)
    recipients = tuple(turn.recipients.values())
    whole = turn.user_turn
    if whole is None or not whole.add(record, turn.scope, recipients):
        _runtime.accept(record, turn.scope, recipients)
    for settings, same in apart:
        _runtime.accept(same, turn.scope, (settings,))
    if whole is not None:
        whole.forget(turn.record_id, *(each.turn.record_id for each in failed))
        _tell_whole(whole)


def _to_the_microsecond(seconds: float) -> float:
    return int(seconds * 1e6 + 0.5) / 1e6  # `round` takes four times as long


def tell_run(run: LiveRun, error: BaseException | None, status: Status) -> None:
    """Tell what ends with a run: attempts that all failed, a user's turn."""
    failed = []
    if run.attempts is not None and run.is_outermost:
        run.attempts.is_over = True
        failed = run.attempts.take()
    if failed:
        last = failed.pop()
        last.turn.attempts = Attempts(failed=failed)
        tell(last.turn, last.response, "error", last.error, last.ended)
    if run.user_turn is not None and run.is_root:
        failed_with = error if status == "error" else None
        said = (None, None) if failed_with is None else _said_of(failed_with)
        run.user_turn.end(status, *said)
        _tell_whole(run.user_turn)


def _tell_whole(turn: UserTurn) -> None:
    told = turn.take()
    if told is not None:
        _runtime.accept(*told)


def _said_of(error: BaseException) -> tuple[str, str]:
    return type(error).__name__, told_by_itself(error)


_WHO = ("user_id", "thread_id", "session_id", "assistant_id")
_LANGCHAIN = ("langchain",)


def _as_asked_by(theirs: Attributes, said: Mapping[str, Any]) -> PromptRecord:
    """Return the record of a call as another user's."""
    who: dict[str, Any] = dict.fromkeys(_WHO)
    who["assistant_id"], tags = _add_who(who, theirs)
    who["tags"] = union(_LANGCHAIN, tags)
    return record_of(PromptRecord, {**said, **who})


def _add_who(
    said: dict[str, Any], attributes: Attributes
) -> tuple[str | None, tuple[str, ...]]:
    """Add who asked; return who answers, and the tags, which stand elsewhere."""
    user_id, thread_id, session_id, assistant_id, _, tags, metadata = attributes
    if user_id is not NOT_GIVEN and user_id is not None:
        said["user_id"] = user_id
    if thread_id is not NOT_GIVEN and thread_id is not None:
        said["thread_id"] = thread_id
    if session_id is not NOT_GIVEN and session_id is not None:
        said["session_id"] = session_id
    said["metadata"] = metadata
    return None if assistant_id is NOT_GIVEN else assistant_id, tags


def status_of(error: BaseException) -> Status:
    """Return how a call ended that ended with this error."""
    if isinstance(error, GeneratorExit):  # the consumer left the stream
        return "stopped"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    if any(kind.__name__ in _CONTROL_FLOW for kind in type(error).__mro__):
        return "complete"
    return "error"
