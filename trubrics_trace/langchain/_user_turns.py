"""A user's turn: all calls of one run tree, told as one record.

That is `record="root"`. What a user asked is one question, however often an agent asks its
model before it answers. The record begins and ends as the root run does, and adds up what
lies between. A call of somebody else's inside the tree stays a record of its own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias
from uuid import UUID

from .. import _clock
from .._frozen import FrozenDict
from .._record import PromptRecord, Status
from .._settings import Settings
from ..scope._scope import Scope

# A record, its scope, and where it goes: what `_runtime.accept` takes.
Told: TypeAlias = "tuple[PromptRecord, Scope | None, tuple[Settings, ...]]"
_End: TypeAlias = "tuple[Status, str | None, str | None, float]"

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
)


class UserTurn:
    """The calls of one run tree, as far as they have been told.

    LangChain may end the root run of a stream that was left before the model's, so the turn
    is over when both are. Safe under threads: each step is one operation of a set or list.
    """

    __slots__ = (
        "_calls",
        "_ends",
        "_name",
        "_run_id",
        "_running",
        "_started",
        "_started_at",
    )

    def __init__(self, run_id: UUID, name: str | None) -> None:
        self._run_id = str(run_id)
        self._name = name
        self._started_at = _clock.utc_now()
        self._started = _clock.monotonic()
        self._running: set[str] = set()
        self._calls: list[Told] = []
        self._ends: list[_End] = []

    def begin(self, call: str) -> None:
        """Wait for a call, by its record's id."""
        self._running.add(call)

    def forget(self, *calls: str) -> None:
        """Wait for these no more."""
        self._running.difference_update(calls)

    def add(self, *call: Any) -> bool:
        """Take in what was told of a call; False where that is somebody else's."""
        if self._calls and _whose(call) != _whose(self._calls[0]):
            return False
        self._calls.append(call)
        return True

    def end(
        self, status: Status, error_type: str | None, error_message: str | None
    ) -> None:
        """Note how the root run has ended."""
        self._ends.append((status, error_type, error_message, _clock.monotonic()))

    def take(self) -> Told | None:
        """Return what is told of the whole turn, once it is over."""
        if self._running:
            return None
        try:
            end = self._ends.pop()
        except IndexError:  # it goes on, or another thread has told it
            return None
        return self._whole(end) if self._calls else None

    def _whole(self, end: _End) -> Told:
        status, error_type, error_message, ended = end
        calls = self._calls
        records = [record for record, _, _ in calls]
        first = min(records, key=lambda record: record.started_at)
        last = records[-1]
        if status == "complete" and last.status in ("stopped", "cancelled"):
            status = last.status  # LangChain ends a stream that is left like any other
        tools = tuple(call for record in records for call in record.tool_calls or ())
        names = tuple(str(call["name"]) for call in tools)
        said = {key: first.metadata[key] for key in first.metadata if key != "langgraph"}
        turn = FrozenDict({"calls": len(records), "tools": names})
        counts: dict[str, Any] = {
            name: _sum_of(getattr(record, name) for record in records) for name in _COUNTS
        }
        whole = dataclasses.replace(
            first,
            record_id=self._run_id,
            parent_run_id=None,
            run_name=first.run_name or self._name,
            metadata=FrozenDict({**said, "turn": turn}),
            status=status,
            error_type=error_type,
            error_message=error_message,
            generation=_last_of(records, "generation"),
            tool_calls=tools or None,
            finish_reason=last.finish_reason,
            cache_hit=None,
            attempts=1,
            attempt_errors=None,
            model=_last_of(records, "model"),
            provider=_last_of(records, "provider"),
            started_at=self._started_at,
            latency_seconds=round(ended - self._started, 6),
            **counts,
        )
        _, scope, recipients = calls[0]
        return whole, scope, recipients


def _whose(call: Any) -> tuple[Any, ...]:
    record, _, recipients = call
    return record.user_id, record.thread_id, recipients


def _last_of(records: list[PromptRecord], name: str) -> Any:
    said = (getattr(record, name) for record in reversed(records))
    return next((value for value in said if value), None)


def _sum_of(counts: Any) -> int | None:
    said = [count for count in counts if count is not None]
    return sum(said) if said else None
