"""A user read from arguments, each time a decorator, scope or door asks.

A callable that raises means nobody: it is counted, said once with its place, and never
reaches the caller.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeAlias
from uuid import UUID

from .._ledger import GUARD_SECONDS, ledger
from .._notices import place_of_error
from ..errors import PASSING, ConfigurationError
from ._attributes import (
    IDENTITY_NAMES,
    NOBODY,
    NOT_GIVEN,
    Attributes,
    NotGiven,
    attributes_of,
    warn_of_near_misses,
)
from ._parameters import (
    Args,
    Kwargs,
    Read,
    arg,
    function_read,
    is_read,
    place_of,
    plain_read,
)

# What the keywords of the vocabulary take, wherever they stand.
Identity: TypeAlias = "str | int | UUID | None | NotGiven | Callable[..., Any] | arg"
Tags: TypeAlias = "str | Iterable[str] | None | NotGiven | Callable[..., Any] | arg"
Metadata: TypeAlias = "Mapping[str, Any] | None | NotGiven | Callable[..., Any] | arg"

_NO_KWARGS: Kwargs = {}
_ID_PLACES = {name: Attributes._fields.index(name) for name in IDENTITY_NAMES}
_SHOWN = (*IDENTITY_NAMES, "tags")


class Recipe:
    """How a decorator, scope or door reads attributes, each time it is asked."""

    __slots__ = ("_base", "_constants", "_readers", "_reads_ids_alone", "reads", "ready")

    def __init__(
        self, keywords: Mapping[str, Any], read_of: Callable[[str, Any], Read]
    ) -> None:
        given = {name: value for name, value in keywords.items() if value is not NOT_GIVEN}
        read = {name: value for name, value in given.items() if is_read(value)}
        self._constants = {
            name: _kept(name, value) for name, value in given.items() if name not in read
        }
        self._readers = tuple(
            (name, _Guard(name, value), _read_of(name, value, read_of))
            for name, value in read.items()
        )
        self.reads = bool(self._readers)
        self._reads_ids_alone = read.keys() <= _ID_PLACES.keys()
        # Once they are known: what all calls say, and what else there is to say.
        self._base: Attributes | None = None
        self.ready: Attributes | None = None
        warn_of_near_misses(given)

    @classmethod
    def for_scope(cls, keywords: Mapping[str, Any], place: str = "a scope") -> Recipe:
        """Return the recipe of a scope, whose callables take nothing.

        Raises:
            ConfigurationError: One takes something, or is async.
        """
        return cls(keywords, lambda name, value: plain_read(name, value, place))

    @classmethod
    def for_door(cls, keywords: Mapping[str, Any], takes: str) -> Recipe:
        """Return the recipe of a door, whose callables take the one thing it has.

        Raises:
            ConfigurationError: One does not take exactly that, or is async.
        """
        return cls(
            keywords, lambda name, value: plain_read(name, value, "this door", takes)
        )

    @classmethod
    def for_function(
        cls, keywords: Mapping[str, Any], function: Callable[..., Any]
    ) -> Recipe:
        """Return a function's recipe, whose callables take its arguments by name.

        Raises:
            ConfigurationError: A declared name is no parameter of the function, or an
                async callable stands on a function that cannot await it.
        """
        return cls(keywords, lambda name, value: function_read(name, value, function))

    def attributes(
        self, instance: Any = None, args: Args = (), kwargs: Kwargs = _NO_KWARGS
    ) -> Attributes:
        """Return what holds for this call. Never raises, save when strict."""
        if self.ready is not None:
            return self.ready
        if not self._readers:
            # Not at decoration: a value that is wrong is told with the place that uses it.
            self.ready = _attributes(self._constants)
            return self.ready
        values: dict[str, Any] = {}
        for name, guard, read in self._readers:
            values[name] = guard.otherwise
            with guard:
                values[name] = read(instance, args, kwargs)
        return self._with(values)

    async def attributes_awaited(
        self, instance: Any, args: Args, kwargs: Kwargs
    ) -> Attributes:
        """Return what `attributes` does, awaiting the callables that are async."""
        values: dict[str, Any] = {}
        for name, guard, read in self._readers:
            values[name] = guard.otherwise
            with guard:
                value = read(instance, args, kwargs)
                is_there = type(value) is str  # most often; to ask the rest takes long
                if not is_there and inspect.isawaitable(value):
                    value = await value
                values[name] = value
        return self._with(values)

    def _with(self, values: Mapping[str, Any]) -> Attributes:
        """Return what was given, and what was read for this call."""
        if not self._reads_ids_alone:
            return _attributes({**self._constants, **values})
        base = self._base
        if base is None:
            base = _attributes(self._constants)
            if base is not NOBODY:  # what has failed may do better the next time
                self._base = base
        said: list[Any] = list(base)
        for name, value in values.items():
            if type(value) is not str or not value:  # somebody else's idea of an id
                return _attributes({**self._constants, **values})
            said[_ID_PLACES[name]] = value
        return Attributes._make(said)

    def __repr__(self) -> str:
        # Metadata by its keys: a value may be a secret.
        said = {
            name: _shown(name, value) if name in _SHOWN else "..."
            for name, value in self._constants.items()
        }
        said.update((name, place_of(guard.reader)) for name, guard, _ in self._readers)
        return ", ".join(f"{name}={text}" for name, text in said.items())


def _kept(name: str, value: Any) -> Any:
    """Return a value as it is now, for every call.

    An iterator can be read only once, and what an app may change says one thing to all.
    """
    if name in ("metadata", "tags") and type(value) in (dict, list, set):
        return value.copy()
    if name != "tags" or not issubclass(type(value), Iterator):
        return value
    with _Guard(name, type(value)):
        return tuple(value)
    return _otherwise(name)


def _read_of(name: str, value: Any, read_of: Callable[[str, Any], Read]) -> Read:
    """Return what asks a callable; nobody's where it cannot be looked at."""
    answer: Read | ConfigurationError = lambda *_: _otherwise(name)  # noqa: E731
    with _Guard(name, type(value)):
        try:
            answer = read_of(name, value)
        except ConfigurationError as error:  # the guard would end it here
            answer = error
    if isinstance(answer, ConfigurationError):
        raise answer
    return answer


def said(keywords: Mapping[str, Any]) -> Attributes:
    """Return what holds where only values are taken.

    Never raises, save in strict mode.
    """
    warn_of_near_misses(keywords)
    return _attributes(keywords)


class _Guard:
    """Around foreign code that is asked who the user is; its errors end here."""

    __slots__ = ("_name", "otherwise", "reader")

    def __init__(self, name: str, reader: Any) -> None:
        self._name = name
        self.reader = reader
        self.otherwise = _otherwise(name)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exception is None or isinstance(exception, PASSING):
            return False
        is_left_out = self._name not in (*IDENTITY_NAMES, "attributes")
        reason = self._name if self._name in (*_SHOWN, "attributes") else "metadata"
        ledger.fault(
            f"{reason}_failed",
            f"{self._name}={place_of(self.reader)} raised {type(exception).__name__} "
            f"at {place_of_error(exception)}; mend it, until then it "
            f"{'is left out' if is_left_out else 'names nobody'}",
            again_after=GUARD_SECONDS,
        )
        return True


def _attributes(values: Mapping[str, Any]) -> Attributes:
    with _Guard("attributes", "what was given"):
        return attributes_of(values)
    return NOBODY  # never what is outside: in doubt, nobody


def _shown(name: str, value: Any) -> str:
    with _Guard(name, type(value)):
        return repr(value)
    return "..."


def _otherwise(name: str) -> Any:
    """Return what a reader that failed says: nobody, or else nothing."""
    return None if name in IDENTITY_NAMES else NOT_GIVEN
