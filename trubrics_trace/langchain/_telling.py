"""A call noted at its start and, with its answer, told as a record."""

from __future__ import annotations

import asyncio
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
from ._messages import answer_of, prompt_of, tell_messages, tool_calls_of
from ._turns import Turn, turns
from ._usage import usage_of

# What of a call's parameters is told; the rest may hold anything, keys included.
_PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "tool_choice",
)


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
        prompt=asked if isinstance(asked, str) else prompt_of(messages or ()),
        messages=messages,
        model=first_text(metadata, "ls_model_name")
        or first_text(said, "model", "model_name", "model_id"),
        provider=first_text(metadata, "ls_provider"),
        parameters=FrozenDict(
            {name: said[name] for name in _PARAMETERS if said.get(name) is not None}
        )
        or None,
    )


def note_conflict(*told: Attributes) -> None:
    """Count it where these name more than one user."""
    if len({one.user_id for one in told} - {NOT_GIVEN}) > 1:
        ledger.note("user_conflict")


def notice_user(attributes: Attributes, parent: UUID | None) -> None:
    """Count a call that has no user, and say so once, with its place."""
    if attributes.user_id is NOT_GIVEN:
        ledger.fault("without_user", lambda: _without_user(parent))
    elif attributes.user_id is None:  # on purpose: told, and no fault where it is strict
        ledger.note("without_user")
        if not _notices.was_said("without_user"):
            ledger.say("without_user", _without_user(parent))


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
    """Build the record of a call that is over, and hand it to the pipeline.

    Args:
        ended: When it was over, on the monotonic clock; default: now.
    """
    ended = _clock.monotonic() if ended is None else ended
    generations = _generations(response)
    attributes = turn.attributes
    record = PromptRecord(
        record_id=turn.record_id,
        parent_run_id=turn.parent_run_id,
        run_name=turn.run_name,
        user_id=_said(attributes.user_id),
        thread_id=_said(attributes.thread_id),
        session_id=_said(attributes.session_id),
        assistant_id=_said(attributes.assistant_id),
        tags=union(("langchain",), attributes.tags),
        metadata=attributes.metadata,
        status=status,
        error_type=type(error).__name__
        if status == "error" and error is not None
        else None,
        error_message=told_by_itself(error)
        if status == "error" and error is not None
        else None,
        prompt=turn.prompt,
        messages=turn.messages,
        started_at=turn.started_at,
        latency_seconds=round(ended - turn.started, 6),
        first_token_seconds=(
            None if turn.first_token is None else round(turn.first_token - turn.started, 6)
        ),
        parameters=turn.parameters,
        **_answer(turn, generations, response),
    )
    _runtime.accept(record, turn.scope, tuple(turn.recipients.values()))


def _answer(turn: Turn, generations: list[Any], response: Any) -> dict[str, Any]:
    """Return what the model said, as fields of the record."""
    llm_output = getattr(response, "llm_output", None) or {}
    messages = [getattr(generation, "message", None) for generation in generations]
    texts = [
        generation.text if message is None else answer_of(message)
        for generation, message in zip(generations, messages, strict=True)
    ]
    text = "\n\n".join(text for text in texts if text)
    info = [_info_of(generation) for generation in generations]
    calls = tuple(call for message in messages for call in tool_calls_of(message))
    return {
        "generation": text if generations and text else "".join(turn.pieces) or None,
        "tool_calls": calls or None,
        "finish_reason": _first_of(info, "finish_reason", "stop_reason", "done_reason"),
        "model": turn.model
        or _first_of(info, "model_name", "model")
        or first_text(llm_output, "model_name", "model"),
        "provider": turn.provider or _first_of(info, "model_provider"),
        **usage_of(generations, llm_output),
    }


def status_of(error: BaseException) -> Status:
    """Return how a call ended that ended with this error."""
    if isinstance(error, GeneratorExit):  # the consumer left the stream
        return "stopped"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
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
    found = (first_text(info, *keys) for info in infos)
    return next((value for value in found if value), None)


def first_text(values: Mapping[str, Any], *keys: str) -> str | None:
    return next(
        (values[key] for key in keys if values.get(key) and isinstance(values[key], str)),
        None,
    )


def _said(value: Any) -> str | None:
    return None if value is NOT_GIVEN else value
