"""What is known of one model call, one feedback, one event.

A record is born once, frozen, and never learns anything new: who wants it different
makes another with `dataclasses.replace`. Its fields are the keys of the structlog event
and of the line in the spool; only the wire has spellings of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from operator import is_not
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from ._frozen import FrozenDict
from ._json import from_json

JsonValue: TypeAlias = (
    "str | int | float | bool | None | tuple[JsonValue, ...] | Mapping[str, JsonValue]"
)
Status: TypeAlias = Literal["complete", "stopped", "cancelled", "error"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Record:
    """One thing worth knowing, with the identity it was known under.

    Attributes:
        record_id: What tells duplicates: delivery is at least once.
        user_id: Who asked; None is nobody.
        started_at: When it began, ISO 8601 in UTC.
        environment: The setting of that name, at the time.
    """

    kind: ClassVar[str] = ""
    event: ClassVar[str] = ""

    record_id: str
    user_id: str | None = None
    thread_id: str | None = None
    session_id: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=FrozenDict)
    started_at: str = ""
    environment: str | None = None

    def items(self) -> Iterator[tuple[str, Any]]:
        """Each field that says something, by name; None is left out.

        For a copy of your own: `dict(record.items())`, and not `vars`, which is the record.
        """
        return (item for item in vars(self).items() if item[1] is not None)

    def __repr__(self) -> str:
        # Not what was said: a repr ends up in logs and tracebacks.
        return f"<{type(self).__name__} {self.record_id} user_id={self.user_id!r}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the record as its line in the spool holds it, `kind` first."""
        said = vars(self)
        if all(map(is_not, said.values(), repeat(None))):  # most often, and fast
            return {"kind": self.kind, **said}
        return {"kind": self.kind, **dict(self.items())}


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class PromptRecord(Record):
    """One model call: who asked what, and what they got.

    `record_id` is the id of the LangChain run. Times are float seconds, tokens are
    counts as the provider gave them, and None means that nobody said.
    """

    kind: ClassVar[str] = "prompt"
    event: ClassVar[str] = "trubrics.prompt"

    parent_run_id: str | None = None
    run_name: str | None = None
    assistant_id: str | None = None
    tags: tuple[str, ...] = ("langchain",)
    status: Status = "complete"
    error_type: str | None = None
    error_message: str | None = None
    prompt: str = ""
    messages: tuple[Mapping[str, Any], ...] | None = None
    generation: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] | None = None
    finish_reason: str | None = None
    cache_hit: bool | None = None
    attempts: int = 1
    attempt_errors: tuple[str, ...] | None = None
    model: str | None = None
    provider: str | None = None
    parameters: Mapping[str, Any] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    latency_seconds: float = 0.0
    first_token_seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class FeedbackRecord(Record):
    """What a user thought of an answer; `about` is that answer's `record_id`."""

    kind: ClassVar[str] = "feedback"
    event: ClassVar[str] = "trubrics.feedback"

    score: float | int | str | bool = 0
    comment: str | None = None
    type: str = "thumbs"
    about: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class EventRecord(Record):
    """Something else that the same user did, for the same analytics."""

    kind: ClassVar[str] = "event"
    event: ClassVar[str] = "trubrics.event"

    event_name: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class TrackedRecord(Record):
    """One call of the official client, kept as it was made.

    `endpoint` and `payload` are the client's own; see `delivery/_client.py`.
    """

    kind: ClassVar[str] = "tracked"
    event: ClassVar[str] = "trubrics.tracked"

    endpoint: str = ""
    payload: Mapping[str, Any] = dataclasses.field(default_factory=FrozenDict)


# The fields that may hold more than a text or a number.
HOLDERS = frozenset(
    (
        "metadata",
        "tags",
        "messages",
        "tool_calls",
        "attempt_errors",
        "parameters",
        "payload",
        "score",
        "comment",
    )
)

_R = TypeVar("_R", bound=Record)


def record_of(record_class: type[_R], said: dict[str, Any]) -> _R:
    """Return the record whose fields say just this, and keep it as its own.

    At a tenth of its constructor's cost. Fields that are left out have their defaults;
    `metadata`, which has none to share, is to be given.
    """
    record = object.__new__(record_class)
    object.__setattr__(record, "__dict__", said)
    return record


def field_names(record_class: type[Record]) -> tuple[str, ...]:
    """Return the names of a record's fields, the shared ones first."""
    return _FIELD_NAMES[record_class]


_LINE_BEGINS = b'{"kind":'  # as `to_dict` does

_KINDS: Mapping[str, type[Record]] = {
    record_class.kind: record_class
    for record_class in (PromptRecord, FeedbackRecord, EventRecord, TrackedRecord)
}


_FIELD_NAMES: Mapping[type[Record], tuple[str, ...]] = {
    record_class: tuple(field.name for field in dataclasses.fields(record_class))
    for record_class in _KINDS.values()
}
_FIELD_SETS: Mapping[type[Record], frozenset[str]] = {
    record_class: frozenset(names) for record_class, names in _FIELD_NAMES.items()
}
# What each field holds that a class has no default for to share.
_FACTORIES: Mapping[type[Record], Mapping[str, Any]] = {
    record_class: {
        field.name: FrozenDict()
        for field in dataclasses.fields(record_class)
        if field.default_factory is not dataclasses.MISSING
    }
    for record_class in _KINDS.values()
}


def record_from_dict(values: Mapping[str, Any]) -> Record:
    """Return the record whose `to_dict` gave these values.

    Keys that this version does not know are passed over, so that a spool written by a
    newer one can still be sent.

    Raises:
        ValueError: `kind` names no record, or `record_id` is missing.
    """
    record_class = _KINDS.get(values.get("kind", ""))
    if record_class is None or not isinstance(values.get("record_id"), str):
        message = f"not a record: kind {values.get('kind')!r}"
        raise ValueError(message)
    known = _FIELD_SETS[record_class]
    said = {
        name: value if type(value) in _LEAVES else _frozen(value)
        for name, value in values.items()
        if name in known and value is not None
    }
    for name, empty in _FACTORIES[record_class].items():
        said.setdefault(name, empty)
    return record_of(record_class, said)


def record_from_line(line: bytes) -> Record | None:
    """Return the record that a spool's line holds; None if it holds none.

    Where the end of the line before was lost, the record stands behind what is corrupt.
    """
    return _read(line, record_from_dict)


def record_to_send(line: bytes) -> Record | None:
    """Return what `record_from_line` does, not always frozen.

    For who sends it on at once, at half the cost where a line is like most: a prompt's,
    not deep, each field of its kind.
    """
    is_shallow = line.count(b"{") + line.count(b"[") <= _MOST_PARTS
    return _read(line, _record_like_most if is_shallow else record_from_dict)


_MOST_PARTS = 100  # of a line: it cannot be deeper than it has parts
_LEAVES = frozenset({str, int, float, bool})
_LEAVES_OR_NONE = _LEAVES | {type(None)}
_PLAIN = tuple(name for name in _FIELD_NAMES[PromptRecord] if name not in HOLDERS)
_KEYS = _FIELD_SETS[PromptRecord] | {"kind"}


def _record_like_most(values: dict[str, Any]) -> Record:
    is_like_most = (
        values.get("kind") == PromptRecord.kind
        and type(values.get("record_id")) is str
        and _LEAVES_OR_NONE.issuperset(map(type, map(values.get, _PLAIN)))
        and _KEYS.issuperset(values)
        and None not in values.values()
    )
    if not is_like_most:
        return record_from_dict(values)
    del values["kind"]
    values.setdefault("metadata", _FACTORIES[PromptRecord]["metadata"])
    return record_of(PromptRecord, values)


def _read(line: bytes, from_dict: Callable[[dict[str, Any]], Record]) -> Record | None:
    for text in (line, line[line.rfind(_LINE_BEGINS) :]):
        try:
            return from_dict(from_json(text))
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue
    return None


def thawed(value: Any) -> Any:
    """Return the value with dicts and lists of its own, free to be changed."""
    if isinstance(value, FrozenDict):
        return {
            key: item if type(item) in _LEAVES else thawed(item)
            for key, item in value.items()
        }
    if isinstance(value, tuple):
        return [item if type(item) in _LEAVES else thawed(item) for item in value]
    return value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return FrozenDict(
            {
                key: item if type(item) in _LEAVES else _frozen(item)
                for key, item in value.items()
            }
        )
    if isinstance(value, list):
        return tuple([item if type(item) in _LEAVES else _frozen(item) for item in value])
    return value
