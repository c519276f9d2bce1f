"""What may leave: masks, limits, media out, and values that JSON can say.

Pure functions: a value goes in, a new one comes out, and what the app holds is never
touched. A redactor of the app that raises masks the whole text that it was given.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time
from typing import Any, TypeVar

from .._record import FrozenDict, PromptRecord, Record
from .._settings import Redactor, Settings
from .._stats import ledger
from ..scope._arguments import PASSING, place_of

MASK = "[masked]"

_MAX_RECORD_LENGTH = 262_144  # characters of a whole record; WIRE.md knows of no limit
_MAX_ERROR_LENGTH = 1_000  # characters: a message is a hint, its traceback is elsewhere
_MAX_DEPTH = 32  # levels of metadata; deeper is a mistake, or a cycle in disguise
_MAX_INTEGER = 2**63 - 1  # what every JSON reader can hold

_SECRET_SHAPES = re.compile(
    r"(?P<url>\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@"
    r"|\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_\-*.]{8,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?"
    r"|(?P<bearer>\b[Bb]earer\s+)[A-Za-z0-9._~+/\-]{8,}=*"
    r"|(?P<said>\b(?:api[_-]?key|password|secret|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+",
    re.IGNORECASE,
)

_R = TypeVar("_R", bound=Record)


def prepare(record: _R, settings: Settings) -> _R:
    """Return the record as it may leave: within its limits, redacted, JSON-safe."""
    text = _Texts(settings)
    changes: dict[str, Any] = {
        "metadata": text.json_safe(record.metadata),
        "environment": settings.environment,
    }
    if isinstance(record, PromptRecord):
        changes.update(_prompt_changes(record, text, settings))
    return dataclasses.replace(record, **changes)


def media_note(kind: str, media_type: str | None, size_bytes: int | None) -> str:
    """Return what stands where an image, a sound or a file stood.

    Example:
        >>> media_note("image", "image/png", 5_242_880)
        '[image image/png, 5,242,880 bytes]'
    """
    size = None if size_bytes is None else f"{size_bytes:,} bytes"
    said = ", ".join(part for part in (media_type, size) if part)
    return f"[{kind} {said}]" if said else f"[{kind}]"


def clean_error(message: str) -> str:
    """Return an error's message, cut, and cleared of the shapes of keys and passwords.

    Example:
        >>> clean_error("Incorrect API key provided: sk-proj-12345678abcd")
        'Incorrect API key provided: [masked]'
    """
    return cut(_SECRET_SHAPES.sub(_mask_secret, message), _MAX_ERROR_LENGTH)


def cut(text: str, limit: int) -> str:
    """Return the text, cut to `limit` characters and marked where it is longer.

    Example:
        >>> cut("abcdefgh", 3)
        'abc… [cut, 8 characters in all]'
    """
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [cut, {len(text):,} characters in all]"


def sayable(text: str) -> str:
    """Return the text as UTF-8 can say it: no lone surrogate, and no NUL."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _prompt_changes(
    record: PromptRecord, text: _Texts, settings: Settings
) -> dict[str, Any]:
    told = {
        "error_message": record.error_message and clean_error(record.error_message),
        "attempt_errors": record.attempt_errors
        and tuple(clean_error(message) for message in record.attempt_errors),
        "parameters": text.json_safe(record.parameters),
    }
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
    told["generation"] = record.generation and text.content(record.generation)
    told["tool_calls"] = text.json_safe(record.tool_calls)
    if record.messages is not None:
        newest_first = [text.json_safe(message) for message in record.messages[::-1]]
        told["messages"] = tuple(newest_first[::-1])
    return told


def _mask_secret(found: re.Match[str]) -> str:
    kept = found["url"] or found["bearer"] or found["said"] or ""
    return f"{kept}{MASK}@" if found["url"] else f"{kept}{MASK}"


class _Texts:
    """The texts of one record, on their way out: what is left of its length."""

    def __init__(self, settings: Settings) -> None:
        self._redactors: Sequence[Redactor] = settings.redact
        self._limit = settings.max_text_length
        self._left = max(_MAX_RECORD_LENGTH, settings.max_text_length)

    def content(self, text: str) -> str:
        """Return a text as it may leave."""
        for redactor in self._redactors:
            text = _redacted(redactor, text)
        text = cut(sayable(text), min(self._limit, self._left))
        self._left = max(0, self._left - len(text))
        return text

    def json_safe(self, value: Any, depth: int = 0) -> Any:
        """Return the value as JSON can say it, frozen, each text as it may leave."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.json_safe(value.value, depth)
        if isinstance(value, str):
            return self.content(str.__str__(value))
        if isinstance(value, int):
            return int(value) if -_MAX_INTEGER <= value <= _MAX_INTEGER else str(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(float(value))
        if depth >= _MAX_DEPTH:
            return f"[deeper than {_MAX_DEPTH} levels]"
        if isinstance(value, Mapping):
            return FrozenDict(
                {
                    sayable(key if isinstance(key, str) else self._said(key)): (
                        self.json_safe(item, depth + 1)
                    )
                    for key, item in list(value.items())
                }
            )
        if isinstance(value, (list, tuple, Set)):
            return self._sequence(value, depth)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return media_note("bytes", None, len(value))
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        return self.content(self._said(value))

    def _sequence(self, value: Iterable[Any], depth: int) -> tuple[Any, ...]:
        items = tuple(self.json_safe(item, depth + 1) for item in list(value))
        # A set has no order: sorted, the same value is always told in the same way.
        return tuple(sorted(items, key=repr)) if isinstance(value, Set) else items

    @staticmethod
    def _said(value: object) -> str:
        said = _foreign("untellable_value", str, value)
        return f"[{type(value).__name__} that cannot be told]" if said is None else said


def _redacted(redactor: Redactor, text: str) -> str:
    redacted = _foreign("redactor_failed", redactor, text)
    return redacted if isinstance(redacted, str) else MASK


def _foreign(reason: str, function: Callable[[Any], Any], value: Any) -> Any:
    """Call what is not ours, and return None where it raises: the guard of this room."""
    try:
        return function(value)
    except PASSING:
        raise
    except BaseException as error:
        ledger.fault(
            reason,
            f"{place_of(function)} raised {type(error).__name__} over a "
            f"{type(value).__name__}; what it was given is left out of the record",
        )
        return None
