"""Who is asking: frozen, and how two merge.

Rule 1: not given is not nobody. What is left out is inherited; None or "" is nobody, and
nobody is never the outer user.
Rule 2: a value that cannot be an id is nobody, counted, and said once with its place.
Rule 3: of two, the inner one wins; tags add up, outer first; metadata merges by key.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from .. import _notices
from .._frozen import FrozenDict
from .._ledger import ledger


class NotGiven(enum.Enum):
    """What stands where nothing was said; None would say: nobody."""

    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN

Given: TypeAlias = "str | None | Literal[NotGiven.NOT_GIVEN]"

IDENTITY_NAMES: Final = (
    "user_id",
    "thread_id",
    "session_id",
    "assistant_id",
    "run_name",
)
VOCABULARY: Final = (*IDENTITY_NAMES, "tags", "metadata")

_NEAR_MISSES: Final = {
    "user": "user_id",
    "userid": "user_id",
    "tag": "tags",
    "thread": "thread_id",
    "session": "session_id",
    "conversation_id": "thread_id",
}


_NO_METADATA: Final = FrozenDict()


class Attributes(NamedTuple):
    """Who is asking, and in what connection; in the order of VOCABULARY."""

    user_id: Given = NOT_GIVEN
    thread_id: Given = NOT_GIVEN
    session_id: Given = NOT_GIVEN
    assistant_id: Given = NOT_GIVEN
    run_name: Given = NOT_GIVEN
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = _NO_METADATA


NOTHING: Final = Attributes()
NOBODY: Final = Attributes(user_id=None)


def merge(outer: Attributes, inner: Attributes) -> Attributes:
    """Return what holds inside `inner` when it is opened inside `outer`."""
    if outer is NOTHING:
        return inner
    if inner is NOTHING:
        return outer
    return Attributes(
        _inner_wins(outer.user_id, inner.user_id),
        _inner_wins(outer.thread_id, inner.thread_id),
        _inner_wins(outer.session_id, inner.session_id),
        _inner_wins(outer.assistant_id, inner.assistant_id),
        _inner_wins(outer.run_name, inner.run_name),
        union(outer.tags, inner.tags),
        FrozenDict({**outer.metadata, **inner.metadata}),
    )


def without_identity(said: Attributes) -> Attributes:
    """Return the same without who it was: what is over tells only the rest."""
    return said._replace(user_id=NOT_GIVEN, thread_id=NOT_GIVEN, session_id=NOT_GIVEN)


@functools.lru_cache(maxsize=256)  # most calls have the tags of the one before
def union(outer: tuple[str, ...], inner: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tags of both, outer first, each once."""
    if not inner:
        return outer
    return tuple(dict.fromkeys((*outer, *inner)))


def attributes_of(keywords: Mapping[str, Any]) -> Attributes:
    """Return the attributes that these keywords, free of callables, say.

    Any keyword outside the vocabulary is metadata. Never raises, save when strict.
    """
    if not keywords:
        return NOTHING
    metadata = {
        name: value
        for name, value in keywords.items()
        if name not in VOCABULARY and value is not NOT_GIVEN
    }
    if "metadata" in keywords:
        metadata = {**_metadata(keywords["metadata"]), **metadata}
    return Attributes(
        **{
            name: _identity(name, keywords[name])
            for name in IDENTITY_NAMES
            if name in keywords
        },
        tags=_tags(keywords.get("tags")),
        metadata=FrozenDict(metadata),
    )


def warn_of_near_misses(names: Iterable[str]) -> None:
    """Count and say once each keyword that was hardly meant to be metadata."""
    for name in names:
        if name in _NEAR_MISSES:
            ledger.fault(
                f"near_miss_{name}",
                f"the keyword {name!r} at {_notices.place_of_caller()} is metadata; "
                f"if it was meant as {_NEAR_MISSES[name]}=, write that",
            )


def _inner_wins(outer: Given, inner: Given) -> Given:
    return outer if inner is NOT_GIVEN else inner


def _identity(name: str, value: object) -> Given:
    if value is NOT_GIVEN:
        return NOT_GIVEN
    if isinstance(value, str):
        return str.__str__(value) or None  # a str Enum says its value
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)  # and so an IntEnum, on every Python
    if isinstance(value, UUID):
        return str(value)
    ledger.fault(
        f"bad_{name}",
        f"{name} at {_notices.place_of_caller()} is of type {type(value).__name__}, "
        "which names nobody; give a str, an int or a UUID",
    )
    return None


def _tags(value: object) -> tuple[str, ...]:
    if value is None or value is NOT_GIVEN:
        return ()
    if isinstance(value, str):
        return (str.__str__(value),)
    if isinstance(value, Iterable) and not isinstance(value, (Mapping, bytes)):
        tags = tuple(value)
        if all(isinstance(tag, str) for tag in tags):
            return tuple(dict.fromkeys(map(str.__str__, tags)))  # a str Enum's value
    ledger.fault(
        "bad_tags",
        f"tags at {_notices.place_of_caller()} are of type {type(value).__name__} "
        "and left out; give a str or a list of str",
    )
    return ()


def _metadata(value: object) -> Mapping[str, Any]:
    if value is None or value is NOT_GIVEN:
        return {}
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    ledger.fault(
        "bad_metadata",
        f"metadata at {_notices.place_of_caller()} is of type {type(value).__name__} "
        "and left out; give a dict",
    )
    return {}
