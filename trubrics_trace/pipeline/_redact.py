"""What may leave: masks, limits, media out, and values that JSON can say.

Pure functions: a value goes in, a new one comes out, and what the app holds is never
touched. A redactor of the app that raises masks the whole text that it was given.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from typing import Any, TypeVar

from .._frozen import FrozenDict, frozen_dict, frozen_tuple
from .._ledger import GUARD_SECONDS, ledger
from .._notices import place_of_error
from .._record import (
    EventRecord,
    FeedbackRecord,
    PromptRecord,
    Record,
    TrackedRecord,
)
from .._settings import Redactor, Settings
from ..errors import PASSING
from ..scope._parameters import place_of
from ._text import MASK, clean_error, cut, sayable

_MAX_RECORD_LENGTH = 262_144  # characters of a whole record; the API tells of no limit
MAX_DEPTH = 32  # levels of metadata; deeper is a mistake, or a cycle in disguise
MAX_VALUES = 10_000  # of a record: what holds itself twice has 2**32 within that depth
MAX_KEY_LENGTH = 1_000  # characters of one key of a mapping
MAX_INTEGER = 2**63 - 1  # what every JSON reader can hold

_R = TypeVar("_R", bound=Record)


def prepare(record: _R, settings: Settings) -> _R:
    """Return the record as it may leave: within limits, redacted, JSON-safe."""
    text = _Texts(settings, redacts=True)
    changes: dict[str, Any] = {
        "metadata": text.json_safe(record.metadata),
        "environment": settings.environment,
    }
    if isinstance(record, PromptRecord):
        changes.update(_prompt_changes(record, text, settings))
    elif isinstance(record, FeedbackRecord):
        changes.update(_feedback_changes(record, text, settings))
    elif isinstance(record, EventRecord):
        changes["event_name"] = cut(sayable(record.event_name), settings.max_text_length)
    elif isinstance(record, TrackedRecord):
        changes["payload"] = _tracked_payload(record.payload, text, settings)
    if settings.pseudonymize and record.user_id:
        changes["user_id"] = _pseudonym(record.user_id, settings.pseudonymize)
    changed = {key: to for key, to in changes.items() if to is not getattr(record, key)}
    return dataclasses.replace(record, **changed) if changed else record


def media_note(kind: str, media_type: str | None, size_bytes: int | None) -> str:
    """Return what stands where an image, a sound or a file stood.

    Example:
        >>> media_note("image", "image/png", 5_242_880)
        '[image image/png, 5,242,880 bytes]'
    """
    size = None if size_bytes is None else f"{size_bytes:,} bytes"
    said = ", ".join(part for part in (media_type, size) if part)
    return f"[{kind} {said}]" if said else f"[{kind}]"


def told_by_itself(value: object, saying: Callable[[Any], str] = str) -> str:
    """Return what a foreign object says of itself, or that it cannot."""
    said = _foreign("untellable_value", saying, value)
    return said if isinstance(said, str) else _untellable(value)


def _prompt_changes(
    record: PromptRecord, text: _Texts, settings: Settings
) -> dict[str, Any]:
    told: dict[str, Any] = {"parameters": text.json_safe(record.parameters)}
    if not settings.capture_content:
        return {
            **told,
            "prompt": "",
            "generation": None,
            "messages": None,
            "tool_calls": None,
            "error_message": None,
            "attempt_errors": None,
        }
    # The newest first: where the record is too long, the oldest messages are cut.
    told["prompt"] = text.content(record.prompt)
    told["error_message"] = record.error_message and text.error(record.error_message)
    told["attempt_errors"] = record.attempt_errors and tuple(
        text.error(message) for message in record.attempt_errors
    )
    told["generation"] = record.generation and text.content(record.generation)
    told["tool_calls"] = text.json_safe(record.tool_calls)
    if record.messages is not None:
        newest_first = [text.json_safe(message) for message in record.messages[::-1]]
        told["messages"] = frozen_tuple(newest_first[::-1], record.messages)
    return told


def _feedback_changes(
    record: FeedbackRecord, text: _Texts, settings: Settings
) -> dict[str, Any]:
    comment = text.json_safe(record.comment) if settings.capture_content else None
    return {"score": text.json_safe(record.score), "comment": comment}


def _tracked_payload(
    payload: Mapping[str, Any], text: _Texts, settings: Settings
) -> FrozenDict:
    """Return what the official client would post: texts redacted, names not."""
    names = _Texts(settings)
    safe = {
        name: (text if name in _TEXTS_OF_A_PAYLOAD else names).json_safe(value)
        for name, value in payload.items()
    }
    if not settings.capture_content:
        safe.update(dict.fromkeys({"prompt", "generation"} & safe.keys(), ""))
    if settings.pseudonymize and safe.get("user_id"):
        safe["user_id"] = _pseudonym(payload["user_id"], settings.pseudonymize)
    return FrozenDict(safe)


_TEXTS_OF_A_PAYLOAD = ("prompt", "generation", "properties")


def _pseudonym(user_id: object, key: bytes) -> str:
    from ._pseudonym import pseudonym  # loaded where it is needed

    return pseudonym(user_id if isinstance(user_id, str) else told_by_itself(user_id), key)


class _Texts:
    """The texts of one record, on their way out: what is left of its length."""

    def __init__(self, settings: Settings, *, redacts: bool = False) -> None:
        self._redactors: Sequence[Redactor] = ()
        self._patterns: Sequence[Redactor] = ()  # what keys are searched for
        if redacts and settings.redact:
            from ._patterns import PATTERNS, redactor_of  # loaded where it is needed

            self._redactors = [redactor_of(one) for one in settings.redact]
            named = [one for one in settings.redact if isinstance(one, str)]
            self._patterns = [PATTERNS[name] for name in named]
        self._limit = settings.max_text_length
        self._left = max(_MAX_RECORD_LENGTH, settings.max_text_length)
        self._values_left = MAX_VALUES

    def content(self, text: str) -> str:
        """Return a text as it may leave."""
        for redactor in self._redactors:
            text = _redacted(redactor, text)
        text = cut(sayable(text), min(self._limit, self._left))
        self._left = max(0, self._left - len(text))
        return text

    def error(self, message: str) -> str:
        """Return an error's message as it may leave: it may quote the prompt."""
        return self.content(clean_error(message))

    def json_safe(  # noqa: C901, PLR0911 - a table of types, in one breath
        self, value: Any, depth: int = 0
    ) -> Any:
        """Return the value as JSON can say it, frozen, each text as it may leave."""
        self._values_left -= 1
        kind = type(value)  # what a proxy or a mock says of its class is not true of it
        if kind is str:
            return self.content(value)
        if kind is FrozenDict and depth < MAX_DEPTH:
            return self._mapping(value, depth)
        if value is None or issubclass(kind, bool):
            return value
        if issubclass(kind, enum.Enum):
            return self._member(value, depth)
        if issubclass(kind, str):
            return self.content(str.__str__(value))
        if issubclass(kind, int):
            whole = int.__int__(value)
            return whole if abs(whole) <= MAX_INTEGER else told_by_itself(whole)
        if issubclass(kind, float):
            number = float.__float__(value)
            return number if math.isfinite(number) else str(number)
        if depth >= MAX_DEPTH:
            return f"[deeper than {MAX_DEPTH} levels]"
        if issubclass(kind, Mapping):
            return self._mapping(value, depth)
        if issubclass(kind, (list, tuple, AbstractSet)):
            return self._sequence(value, depth)
        if issubclass(kind, (bytes, bytearray, memoryview)):
            size = _foreign("untellable_value", len, value)
            return _untellable(value) if size is None else media_note("bytes", None, size)
        if issubclass(kind, (datetime, date, time)):
            return told_by_itself(value, type(value).isoformat)
        return self.content(told_by_itself(value))

    def _member(self, value: enum.Enum, depth: int) -> Any:
        said = _foreign("untellable_value", _value_of, value)
        return _untellable(value) if said is None else self.json_safe(said[0], depth)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        items = _foreign("untellable_value", _items_of, value)
        if items is None:
            return _untellable(value)
        taken = items[: max(0, self._values_left)]
        told: dict[str, Any] = {}
        for key, item in taken:
            told[self._key(key, told)] = self.json_safe(item, depth + 1)
        if len(taken) < len(items):
            told["…"] = _cut_values(items)
        return frozen_dict(told, value)

    def _sequence(self, value: Iterable[Any], depth: int) -> Any:
        items = _foreign("untellable_value", list, value)
        if items is None:
            return _untellable(value)
        taken = items[: max(0, self._values_left)]
        told = [self.json_safe(item, depth + 1) for item in taken]
        if isinstance(value, AbstractSet):
            told.sort(key=repr)  # it has no order: the same one is told in the same way
        if len(taken) < len(items):
            told.append(_cut_values(items))
        return frozen_tuple(told, value)

    def _key(self, key: object, taken: Mapping[str, Any]) -> str:
        said = key if isinstance(key, str) else told_by_itself(key)
        if not self._patterns:
            return cut(sayable(said), MAX_KEY_LENGTH)
        # Only by patterns: to a redactor of the app `role` is a text like any other.
        for redactor in self._patterns:
            said = redactor(said)
        said = numbered = cut(sayable(said), MAX_KEY_LENGTH)
        if numbered in taken:  # two addresses have one mask
            numbered = f"{said} {len(taken) + 1}"
        while numbered in taken:
            numbered += "'"
        return numbered


def _items_of(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return list(value.items())


def _value_of(member: enum.Enum) -> tuple[Any]:
    return (member.value,)


def _untellable(value: object) -> str:
    return f"[{type(value).__name__} that cannot be told]"


def _cut_values(items: Sequence[Any]) -> str:
    return f"[cut, {len(items):,} values in all]"


def _redacted(redactor: Redactor, text: str) -> str:
    redacted = _foreign("redactor_failed", redactor, text)
    return redacted if isinstance(redacted, str) else MASK


def _foreign(reason: str, function: Callable[[Any], Any], value: Any) -> Any:
    """Call foreign code; return None where it raises: the guard of this room."""
    try:
        return function(value)
    except PASSING:
        raise
    except BaseException as error:
        ledger.fault(
            reason,
            f"{place_of(function)} raised {type(error).__name__} at "
            f"{place_of_error(error)} over a {type(value).__name__}; mend it, until then "
            "that is left out of records",
            again_after=GUARD_SECONDS,
        )
        return None
