"""A call noted at its start and, with its answer, told as a record."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from .. import _clock, _notices, _runtime
from .._frozen import FrozenDict
from .._ledger import ledger
from .._record import PromptRecord, Status
from ..pipeline._redact import told_by_itself
from ..scope._attributes import NOT_GIVEN, Attributes, union
from ..scope._scope import Scope
from ._content import kept, text_of
from ._messages import answer_of, prompt_of, tell_messages, tool_calls_of
from ._notes import Attempts, LiveRun, Turn
from ._turns import MAX_RUNNING, turns
from ._usage import usage_of
from ._user_turns import UserTurn

_LENGTHS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "num_predict",
)
# What of a call's parameters is told; the rest may hold anything, keys included.
_PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    *_LENGTHS,
    "stop",
    "stop_sequences",
    "seed",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "tool_choice",
)
# What LangChain tells its tracers, all that some models say; and what says the same.
_STANDARD: Mapping[str, tuple[str, ...]] = {
    "ls_temperature": ("temperature",),
    "ls_max_tokens": _LENGTHS,
    "ls_stop": ("stop", "stop_sequences"),
}
_MODEL = ("model_name", "model", "model_id")

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
    said = kwargs.get("invocation_params") or {}
    messages = None if isinstance(asked, str) else tell_messages(asked)
    run_name = attributes.run_name
    if run_name is NOT_GIVEN:
        run_name = (scope.called if scope else None) or kwargs.get("name")
    return Turn(
        record_id=str(run_id),
        parent_run_id=None if parent_run_id is None else str(parent_run_id),
        scope=scope,
        attributes=attributes,
        run_name=run_name,
        prompt=text_of(asked) if isinstance(asked, str) else prompt_of(messages or ()),
        messages=messages,
        model=first_text(metadata, "ls_model_name") or first_text(said, *_MODEL),
        # A completion model's `generate` has no `ls_provider`.
        provider=first_text(metadata, "ls_provider")
        or (first_text(said, "_type") if messages is None else None),
        parameters=_parameters(said, metadata),
    )


def _parameters(said: Mapping[str, Any], metadata: Mapping[str, Any]) -> FrozenDict | None:
    told = {name: kept(said[name]) for name in _PARAMETERS if said.get(name) is not None}
    for standard, words in _STANDARD.items():
        if metadata.get(standard) is not None and told.keys().isdisjoint(words):
            told[words[0]] = kept(metadata[standard])
    return FrozenDict(told) if told else None


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
    failed = [] if turn.attempts is None else turn.attempts.take()
    first = failed[0].turn if failed else turn
    generations = _generations(response)
    attributes = turn.attributes
    error_type, error_message = _said_of(error, status)
    record = PromptRecord(
        record_id=turn.record_id,
        parent_run_id=turn.parent_run_id,
        run_name=turn.run_name,
        **_identity(attributes),
        status=status,
        error_type=error_type,
        error_message=error_message,
        prompt=turn.prompt,
        messages=turn.messages,
        attempts=len(failed) + 1,
        attempt_errors=tuple(type(each.error).__name__ for each in failed) or None,
        started_at=first.started_at,
        latency_seconds=round(ended - first.started, 6),
        first_token_seconds=(
            None if turn.first_token is None else round(turn.first_token - first.started, 6)
        ),
        parameters=turn.parameters,
        **_answer(turn, generations, response, is_complete=status == "complete"),
    )
    recipients = tuple(turn.recipients.values())
    whole = turn.user_turn
    if whole is None or not whole.add(record, turn.scope, recipients):
        _runtime.accept(record, turn.scope, recipients)
    for settings, theirs in turn.apart:
        same = dataclasses.replace(record, **_identity(theirs))
        _runtime.accept(same, turn.scope, (settings,))
    if whole is not None:
        whole.forget(turn.record_id, *(each.turn.record_id for each in failed))
        _tell_whole(whole)


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
        run.user_turn.end(status, *_said_of(error, status))
        _tell_whole(run.user_turn)


def _tell_whole(turn: UserTurn) -> None:
    told = turn.take()
    if told is not None:
        _runtime.accept(*told)


def _said_of(error: BaseException | None, status: Status) -> tuple[str | None, str | None]:
    if error is None or status != "error":
        return None, None
    return type(error).__name__, told_by_itself(error)


def _identity(attributes: Attributes) -> dict[str, Any]:
    """Return who asked, and in what connection, as fields of the record."""
    return {
        "user_id": _said(attributes.user_id),
        "thread_id": _said(attributes.thread_id),
        "session_id": _said(attributes.session_id),
        "assistant_id": _said(attributes.assistant_id),
        "tags": union(("langchain",), attributes.tags),
        "metadata": attributes.metadata,
    }


def _answer(
    turn: Turn, generations: list[Any], response: Any, *, is_complete: bool
) -> dict[str, Any]:
    """Return what the model said, as fields of the record."""
    llm_output = getattr(response, "llm_output", None) or {}
    messages = [getattr(generation, "message", None) for generation in generations]
    texts = [
        generation.text if message is None else answer_of(message)
        for generation, message in zip(generations, messages, strict=True)
    ]
    text = "\n\n".join(text for text in texts if text)
    heard = "".join(turn.pieces)
    if not is_complete and len(heard) > len(text):
        text = heard  # of a stream that is left the last word may not be in the answer
    info = [_info_of(generation) for generation in generations]
    calls = tuple(call for message in messages for call in tool_calls_of(message))
    return {
        "generation": text or heard or None,
        "tool_calls": calls or None,
        "finish_reason": _reason_to_end(info),
        "model": turn.model or _first_of(info, *_MODEL) or first_text(llm_output, *_MODEL),
        "provider": turn.provider
        or _first_of(info, "model_provider")
        or first_text(llm_output, "model_provider"),
        "cache_hit": any(map(_is_from_cache, messages)) or None,
        **usage_of(generations, llm_output),
    }


def _reason_to_end(infos: list[Mapping[str, Any]]) -> str | None:
    """Return why the model stopped; of a Response, what cut it, or its status."""
    reason = _first_of(infos, "finish_reason", "stop_reason", "stopReason", "done_reason")
    if reason is not None:
        # LangChain glues the reasons of a stream's choices: "stopstop".
        glued = re.fullmatch(r"(\w{2,40}?)\1+", reason)
        return glued[1] if glued else reason
    responses = [info for info in infos if info.get("object") == "response"]
    details = [info.get("incomplete_details") for info in responses]
    cut = [one for one in details if isinstance(one, Mapping)]
    return _first_of(cut, "reason") or _first_of(responses, "status")


def _is_from_cache(message: Any) -> bool:
    # `BaseChatModel._convert_cached_generations` of langchain-core marks them so.
    usage = getattr(message, "usage_metadata", None)
    return isinstance(usage, dict) and usage.get("total_cost") == 0


def status_of(error: BaseException) -> Status:
    """Return how a call ended that ended with this error."""
    if isinstance(error, GeneratorExit):  # the consumer left the stream
        return "stopped"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    if any(kind.__name__ in _CONTROL_FLOW for kind in type(error).__mro__):
        return "complete"
    return "error"


def _generations(response: Any) -> list[Any]:
    prompts = getattr(response, "generations", None)
    return list(prompts[0]) if prompts else []


def _info_of(generation: Any) -> Mapping[str, Any]:
    message = getattr(generation, "message", None)
    return {
        **(getattr(message, "response_metadata", None) or {}),
        **(getattr(generation, "generation_info", None) or {}),
    }


def _first_of(infos: list[Mapping[str, Any]], *keys: str) -> str | None:
    return next(filter(None, (first_text(info, *keys) for info in infos)), None)


def first_text(values: Mapping[str, Any], *keys: str) -> str | None:
    for key in keys:
        value = values.get(key)
        if value and isinstance(value, str):
            return value
    return None


def _said(value: Any) -> str | None:
    return None if value is NOT_GIVEN else value
