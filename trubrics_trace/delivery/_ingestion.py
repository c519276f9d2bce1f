"""The only room that speaks the ingestion API, today's platform.

Endpoints, header and limit are those of the official client, `trubrics` 1.8.5
(`trubrics/main.py`, `enums.py`, `config.py`); a contract test holds them against the
installed one. What is beyond its documentation is assumed the worst of: success is 2xx
and a JSON object, and anything that is no clear answer is tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import _clock
from .._record import (
    EventRecord,
    FeedbackRecord,
    PromptRecord,
    Record,
    TrackedRecord,
    field_names,
)
from ._http import Answer, Connection, NoAnswerError
from ._transport import Delivered, Outcome, Rejected, Retry

EVENTS = "publish_events"
LLM_EVENTS = "publish_llm_events"
MAX_BATCH = 100
_KEY_HEADER = "x-api-key"

_REFUSED_KEY = (401, 403)
_REFUSED_KEY_WAIT_SECONDS = 60.0  # a key is mended by people: once a minute is enough
_UNTELLABLE = (ValueError, TypeError, AttributeError, OverflowError)  # a date, say

# What of a prompt's record travels in `properties`, beside its metadata.
_PROPERTIES = frozenset(
    {
        "record_id",
        "parent_run_id",
        "run_name",
        "session_id",
        "tags",
        "messages",
        "status",
        "error_type",
        "error_message",
        "tool_calls",
        "finish_reason",
        "cache_hit",
        "model",
        "provider",
        "parameters",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "started_at",
        "first_token_seconds",
        "attempts",
        "attempt_errors",
        "environment",
    }
)
# What stands beside them, or in other words.
_ELSEWHERE = frozenset(("kind", *field_names(PromptRecord))) - _PROPERTIES
_RUN_ID = "langchain_run_id"  # the name that Trubrics' own LangChain handler gave it
_NAMES = _PROPERTIES | {_RUN_ID}


class IngestionTransport:
    """One account of the ingestion API, over one connection. For one thread."""

    max_batch = MAX_BATCH

    def __init__(self, host: str, api_key: str, anonymous_user: str) -> None:
        self._host = host
        self._headers = {_KEY_HEADER: api_key}
        self._anonymous_user = anonymous_user
        self._connection = Connection()

    def route_of(self, record: Record) -> str:
        """Return the endpoint that takes this record."""
        if isinstance(record, TrackedRecord):
            return record.endpoint
        return LLM_EVENTS if isinstance(record, PromptRecord) else EVENTS

    def send(self, route: str, records: Sequence[Record]) -> Outcome:
        """Publish one batch and say what became of it. Never raises."""
        payloads, untold = self._payloads(records)
        if untold:
            return Rejected("a value that the API cannot be told", untold)
        try:
            answer = self._connection.request(
                "POST", f"{self._host}/{route}", headers=self._headers, body=payloads
            )
        except NoAnswerError as error:
            return Retry(f"no answer: {error}", is_heard=error.is_heard)
        return outcome_of(answer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _payloads(
        self, records: Sequence[Record]
    ) -> tuple[list[dict[str, Any]], frozenset[int]]:
        """Return the payloads, and the positions of those that have none.

        A record may have been changed by `before_send`, or written by another version:
        one that cannot be told must not stand in the way of all that come after it.
        """
        payloads: list[dict[str, Any]] = []
        untold: set[int] = set()
        for at, record in enumerate(records):
            try:
                payloads.append(payload_of(record, self._anonymous_user))
            except _UNTELLABLE:
                untold.add(at)
        return payloads, frozenset(untold)

    def __repr__(self) -> str:
        return f"<IngestionTransport to {self._host}>"


def outcome_of(answer: Answer) -> Outcome:
    """Return what an answer of the API means for the batch."""
    if answer.is_success:
        return Delivered()
    why = f"HTTP {answer.status}"
    if answer.status in _REFUSED_KEY:
        wait = max(_REFUSED_KEY_WAIT_SECONDS, answer.retry_after_seconds)
        return Retry(why, wait, is_refused_key=True)
    if answer.status == 413:
        return Rejected("HTTP 413: too large", is_size=True)
    if answer.status == 400:  # of the API, or of whatever stands before it
        return Rejected(why, is_certain=False)
    if answer.status == 422 and isinstance(answer.body, dict):
        return _validation_outcome(answer.body.get("detail"))
    return Retry(why, answer.retry_after_seconds)


def payload_of(record: Record, anonymous_user: str) -> dict[str, Any]:
    """Return the record in the API's words, as the official client posts it."""
    if isinstance(record, TrackedRecord):
        return dict(record.payload)
    user_id = record.user_id or _anonymous(record, anonymous_user)
    if isinstance(record, PromptRecord):
        return _prompt_payload(record, user_id)
    return {
        "user_id": user_id,
        "event": _event_name(record),
        "properties": _event_properties(record),
        "timestamp": record.started_at,
    }


def _prompt_payload(record: PromptRecord, user_id: str) -> dict[str, Any]:
    ours = record.to_dict()
    for name in _ELSEWHERE:
        ours.pop(name, None)
    ours[_RUN_ID] = record.record_id
    started = datetime.fromisoformat(record.started_at)
    ended = started + timedelta(seconds=record.latency_seconds)
    return {
        "user_id": user_id,
        "prompt": record.prompt,
        "generation": record.generation or "",
        "prompt_event_name": "Prompt",
        "generation_event_name": "Generation",
        "assistant_id": record.assistant_id or record.model,
        "properties": _with_metadata(record.metadata, ours, _NAMES),
        "timestamp": _clock.told(ended),
        "latency": record.latency_seconds,
        "thread_id": record.thread_id or record.session_id,
    }


def _event_name(record: Record) -> str:
    return record.event_name if isinstance(record, EventRecord) else "Feedback"


def _event_properties(record: Record) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "record_id": record.record_id,
        "session_id": record.session_id,
        "$thread_id": record.thread_id,  # how an ordinary event joins a conversation
        "environment": record.environment,
    }
    if isinstance(record, FeedbackRecord):
        ours.update(
            score=record.score,
            comment=record.comment,
            type=record.type,
            about=record.about,
        )
    said = {name: value for name, value in ours.items() if value is not None}
    return _with_metadata(record.metadata, said, ours)


def _with_metadata(
    metadata: Mapping[str, Any], ours: dict[str, Any], names: Collection[str]
) -> dict[str, Any]:
    """Return the metadata and ours, flat; what has a name of ours is renamed."""
    if len(metadata) == 0:
        return ours
    theirs: dict[str, Any] = {}
    for key, value in metadata.items():
        free = key
        while free in names or (free is not key and free in metadata):
            free = f"metadata_{free}"
        theirs[free] = value
    return {**theirs, **ours}


def _anonymous(record: Record, anonymous_user: str) -> str:
    """Return nobody's name, of one conversation where there is one."""
    thread = record.thread_id
    return f"{anonymous_user}:{thread}" if thread else anonymous_user


def _validation_outcome(detail: Any) -> Outcome:
    """Return who is guilty: FastAPI's `detail` names `["body", index, field]`."""
    problems = detail if isinstance(detail, list) else []
    guilty: set[int] = set()
    why = "HTTP 422"
    for problem in problems:
        location = problem.get("loc") if isinstance(problem, dict) else None
        if not isinstance(location, list) or len(location) < 2:
            continue
        if isinstance(location[1], int):
            guilty.add(location[1])
            # The field alone: `msg` may quote what was sent.
            why = f"HTTP 422: {location[-1]} is not valid"[:200]
    return Rejected(why, frozenset(guilty))
