"""A record as its line, and how most leave just as they were born.

To look at each value of a record takes ten times as long as to encode it. So it is encoded
first: where that succeeds, and the line is short, every text in it is short and can be
said, and there are few values. What the encoder tells less strictly is looked at before.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias

from .._frozen import FrozenDict
from .._json import to_json
from .._record import PromptRecord, Record, record_of
from .._settings import Settings
from ._redact import MAX_DEPTH, MAX_INTEGER, MAX_KEY_LENGTH, MAX_VALUES

# A record, its fields, and its line in the spool.
Told: TypeAlias = "tuple[Record, dict[str, Any], bytes]"

_SHORT = 2 * MAX_VALUES  # bytes of a line: the shortest value is a digit and a comma
_DEEP = MAX_DEPTH // 2  # levels, of a part of a record; the long way counts from its top
_NUL = b"\\u0000"  # as the encoder tells it; in a text that spells it, one look too many

# One for all: `json.dumps` would make another for each line.
_encode = json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":")).encode


def line_of(record: Record) -> bytes:
    """Return the record as a line of the spool; `?` for what UTF-8 cannot say."""
    said = record.to_dict()
    try:
        return to_json(said) + b"\n"
    except (TypeError, ValueError, RecursionError):
        # Read back as a float it would be another one: as `before_send` may leave it.
        said = {name: _kept_whole(value) for name, value in said.items()}
        return _encode(said).encode(errors="replace") + b"\n"


def _kept_whole(value: Any) -> Any:
    is_large = type(value) is int and abs(value) > MAX_INTEGER
    return str(value) if is_large else value


def as_it_is(record: Record, settings: Settings) -> Told | None:
    """Return a record that may leave as it was born, as it is told.

    Else None: then each of its values is to be looked at, by `_redact.prepare`, of which
    this is the short way: both give the same.
    """
    if type(record) is not PromptRecord or settings.changes_content:
        return None
    if not _is_plain_prompt(record):
        return None
    if settings.environment is not None:
        more = {**vars(record), "environment": settings.environment}
        record = record_of(PromptRecord, more)
    said = record.to_dict()
    try:
        line = to_json(said)
    except (TypeError, ValueError, RecursionError):
        return None
    if len(line) > _SHORT or len(line) > settings.max_text_length:
        return None
    if b"\\" in line and _NUL in line:  # to look for one byte first takes a tenth
        return None
    return record, said, line + b"\n"


def _is_plain_prompt(record: PromptRecord) -> bool:
    """Whether all is plain that an app or a model may have made.

    Its texts need no look: whatever they hold, the encoder says it, or refuses.
    """
    prompt: object = record.prompt
    if type(prompt) is not str or len(prompt) > _SHORT:
        return False
    if record.error_message or record.attempt_errors:
        return False
    for message in record.messages or ():
        if len(message) > 2 and not _is_plain(message):  # more than a role and a text
            return False
    return (
        not (record.metadata and not _is_plain(record.metadata))
        and (record.parameters is None or _is_plain(record.parameters))
        and (record.tool_calls is None or _is_plain(record.tool_calls))
    )


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether this is frozen, and JSON has one way to say it."""
    kind: object = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-MAX_INTEGER <= value <= MAX_INTEGER)
    if kind is float:
        return math.isfinite(value)
    if depth >= _DEEP:
        return False
    if kind is FrozenDict:
        return all(
            type(key) is str and len(key) <= MAX_KEY_LENGTH and _is_plain(item, depth + 1)
            for key, item in value.items()
        )
    return kind is tuple and all(_is_plain(item, depth + 1) for item in value)
