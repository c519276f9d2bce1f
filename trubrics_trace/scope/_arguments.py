"""A user read from a call's arguments: callables, `arg`, and who hands them what.

Which argument goes where is found out once, at decoration; a call only picks. A callable
that raises means nobody: it is counted, said once with its place, and never reaches the
caller.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeAlias
from uuid import UUID

from .._stats import ledger
from ..errors import ConfigurationError, TelemetryError
from ._attributes import (
    IDENTITY_NAMES,
    NOBODY,
    NOT_GIVEN,
    Attributes,
    NotGiven,
    attributes_of,
    warn_of_near_misses,
)

# What passes through every guard of ours: the user's own wish to stop, and strict mode.
PASSING = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    asyncio.CancelledError,
    TelemetryError,
)

_Args: TypeAlias = tuple[Any, ...]
_Kwargs: TypeAlias = Mapping[str, Any]
# One value read from a call: its instance (or None), its arguments, its keywords.
_Read: TypeAlias = Callable[[Any, _Args, _Kwargs], Any]

_NO_KWARGS: _Kwargs = {}

# What the keywords of the vocabulary take, wherever they stand.
Identity: TypeAlias = "str | int | UUID | None | NotGiven | Callable[..., Any] | arg"
Tags: TypeAlias = "str | Iterable[str] | None | NotGiven | Callable[..., Any] | arg"
Metadata: TypeAlias = "Mapping[str, Any] | None | NotGiven | Callable[..., Any] | arg"


@dataclasses.dataclass(frozen=True, slots=True)
class arg:  # noqa: N801 - read as a word: user_id=arg("request.user.id")
    """An argument of the decorated function, or something inside it, by its path.

    The first name is the function's parameter; each further one an attribute, or a key
    where the value before it is a mapping. `arg("request.user.id")` says what
    `lambda request: request.user.id` says.

    Raises:
        ConfigurationError: The path is empty or has a part that is no name.

    Example:
        >>> from trubrics_trace import arg, current_scope, trubrics_trace
        >>> @trubrics_trace(user_id=arg("request.user.id"))
        ... def who(request):
        ...     return current_scope().user_id
        >>> who({"user": {"id": "alice"}})
        'alice'
    """

    path: str

    def __post_init__(self) -> None:
        if not all(part.isidentifier() for part in self.path.split(".")):
            message = f"arg({self.path!r}) is no path; write arg('request.user.id')"
            raise ConfigurationError(message)

    def __repr__(self) -> str:
        return f"arg({self.path!r})"

    def read(self, value: Any) -> Any:
        """Return what the path leads to, from the value of its parameter."""
        for name in self.path.split(".")[1:]:
            value = value[name] if isinstance(value, Mapping) else getattr(value, name)
        return value


class Recipe:
    """How one decorator, scope or door reads its attributes, each time it is asked."""

    __slots__ = ("_constants", "_readers", "_ready", "reads")

    def __init__(
        self, keywords: Mapping[str, Any], read_of: Callable[[str, Any], _Read]
    ) -> None:
        self._constants = {
            name: value
            for name, value in keywords.items()
            if value is not NOT_GIVEN and not _is_read(value)
        }
        self._readers = tuple(
            (name, value, read_of(name, value))
            for name, value in keywords.items()
            if _is_read(value)
        )
        self.reads = bool(self._readers)
        self._ready: Attributes | None = None
        warn_of_near_misses(keywords)

    @classmethod
    def for_scope(cls, keywords: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a scope, whose callables take nothing.

        Raises:
            ConfigurationError: One takes something, or is async.
        """
        return cls(keywords, lambda name, value: _plain_read(name, value, "a scope"))

    @classmethod
    def for_door(cls, keywords: Mapping[str, Any], takes: str) -> Recipe:
        """Return the recipe of a door, whose callables take the one thing it has.

        Raises:
            ConfigurationError: One does not take exactly that, or is async.
        """
        return cls(
            keywords, lambda name, value: _plain_read(name, value, "this door", takes)
        )

    @classmethod
    def for_function(
        cls, keywords: Mapping[str, Any], function: Callable[..., Any]
    ) -> Recipe:
        """Return the recipe of a function, whose callables take its arguments by name.

        Raises:
            ConfigurationError: A declared name is no parameter of the function, or an
                async callable stands on a function that cannot await it.
        """
        return cls(keywords, lambda name, value: _function_read(name, value, function))

    def attributes(
        self, instance: Any = None, args: _Args = (), kwargs: _Kwargs = _NO_KWARGS
    ) -> Attributes:
        """Return what holds for this call. Never raises, save when strict."""
        if not self._readers:
            return self._constant_attributes()
        values = dict(self._constants)
        for name, reader, read in self._readers:
            values[name] = _otherwise(name)
            with _Guard(name, reader):
                values[name] = read(instance, args, kwargs)
        return _attributes(values)

    async def attributes_awaited(
        self, instance: Any, args: _Args, kwargs: _Kwargs
    ) -> Attributes:
        """Return what `attributes` does, awaiting the callables that are async."""
        values = dict(self._constants)
        for name, reader, read in self._readers:
            values[name] = _otherwise(name)
            with _Guard(name, reader):
                value = read(instance, args, kwargs)
                values[name] = await value if inspect.isawaitable(value) else value
        return _attributes(values)

    def _constant_attributes(self) -> Attributes:
        # Not at decoration: a value that is wrong is told with the place that uses it.
        if self._ready is None:
            self._ready = _attributes(self._constants)
        return self._ready

    def __repr__(self) -> str:
        said = {name: repr(value) for name, value in self._constants.items()}
        said.update((name, place_of(reader)) for name, reader, _ in self._readers)
        return ", ".join(f"{name}={text}" for name, text in said.items())


def place_of(value: Any) -> str:
    """Return how a callable is told to people: its name, file and line."""
    if isinstance(value, arg):
        return repr(value)
    name = getattr(value, "__qualname__", type(value).__qualname__)
    code = getattr(value, "__code__", None)
    if code is None:
        return str(name)
    return f"{name} at {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


class _Guard:
    """Around foreign code that is asked who the user is: what it raises ends here."""

    __slots__ = ("_name", "_reader")

    def __init__(self, name: str, reader: Any) -> None:
        self._name = name
        self._reader = reader

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        # What is no Exception is a wish to stop, of this runtime or another (trio's).
        if not isinstance(exception, Exception) or isinstance(exception, TelemetryError):
            return False
        ledger.fault(
            f"{self._name}_failed",
            f"{self._name}={place_of(self._reader)} raised "
            f"{type(exception).__name__}; mend it, until then it names nobody",
        )
        return True


def _attributes(values: Mapping[str, Any]) -> Attributes:
    with _Guard("attributes", attributes_of):
        return attributes_of(values)
    return NOBODY  # never what is outside: in doubt, nobody


def _otherwise(name: str) -> Any:
    """Return what a reader that failed says: nobody, or else nothing."""
    return None if name in IDENTITY_NAMES else NOT_GIVEN


def _is_read(value: object) -> bool:
    return isinstance(value, arg) or callable(value)


def _is_async(value: Any) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004 - an object may have it async
    )


def _plain_read(name: str, value: Any, place: str, *takes: str) -> _Read:
    if isinstance(value, arg):
        message = (
            f"{name}={value!r} reads a decorated function's argument; in {place} give "
            "a value or a callable"
        )
        raise ConfigurationError(message)
    if _is_async(value):
        message = f"{name}={place_of(value)} is async, and {place} cannot await it"
        raise ConfigurationError(message)
    if not _can_take(value, len(takes)):
        wanted = f"one argument, the {takes[0]}," if takes else "no arguments"
        message = f"{name}={place_of(value)} must take {wanted} in {place}"
        raise ConfigurationError(message)
    return lambda instance, args, kwargs: value(*args)


def _can_take(value: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(value).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a builtin that tells no signature: only the call can show
        return True
    return True


def _function_read(name: str, value: Any, function: Callable[..., Any]) -> _Read:
    if isinstance(value, arg):
        fetch = _fetch(name, value, value.path.split(".")[0], function)
        return lambda instance, args, kwargs: value.read(fetch(instance, args, kwargs))
    if _is_async(value) and not (
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    ):
        message = (
            f"{name}={place_of(value)} is async, and {place_of(function)} cannot await "
            "it; make one of them match the other"
        )
        raise ConfigurationError(message)
    fetches = {
        wanted.name: _fetch(name, value, wanted.name, function, wanted.default)
        for wanted in _wanted_by(name, value)
        if wanted.default is wanted.empty or _can_give(function, wanted.name)
    }
    return lambda instance, args, kwargs: value(
        **{wanted: fetch(instance, args, kwargs) for wanted, fetch in fetches.items()}
    )


def _wanted_by(name: str, value: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return what a callable declares by name; what has a default may be missing."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        parameters = None
    if parameters is None or any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        message = (
            f"{name}={place_of(value)} does not declare what it takes by name; wrap it, "
            "as in user_id=lambda request: ..."
        )
        raise ConfigurationError(message)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p for p in parameters if p.kind in named]


def _can_give(function: Callable[..., Any], wanted: str) -> bool:
    parameters = inspect.signature(function).parameters
    return wanted in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _fetch(
    name: str,
    value: Any,
    wanted: str,
    function: Callable[..., Any],
    otherwise: Any = inspect.Parameter.empty,
) -> _Read:
    """Return what finds the argument `wanted` in a call of the function.

    Args:
        otherwise: What is found where `**kwargs` might hold it, and do not.
    """
    parameters = inspect.signature(function).parameters
    parameter = parameters.get(wanted)
    if parameter is None:
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            message = (
                f"{name}={place_of(value)} asks for {wanted!r}, which "
                f"{place_of(function)} does not take; it takes "
                f"{', '.join(parameters) or 'nothing'}"
            )
            raise ConfigurationError(message)
        if otherwise is not inspect.Parameter.empty:
            return lambda instance, args, kwargs: kwargs.get(wanted, otherwise)
        return lambda instance, args, kwargs: kwargs[wanted]
    if parameter.kind is parameter.VAR_KEYWORD:
        taken = {p.name for p in parameters.values() if p.kind is not p.POSITIONAL_ONLY}
        return lambda instance, args, kwargs: {
            key: item for key, item in kwargs.items() if key not in taken
        }
    index = list(parameters).index(wanted)
    is_bound = hasattr(function, "__self__")  # its signature leaves the instance out
    if parameter.kind is parameter.VAR_POSITIONAL:
        return lambda instance, args, kwargs: _whole(instance, args, is_bound)[index:]
    default = parameter.default
    # Of `def f(a, /, **more)` more may hold an "a", and `*more` ends where it begins.
    by_keyword = parameter.kind is not parameter.POSITIONAL_ONLY
    by_position = parameter.kind is not parameter.KEYWORD_ONLY

    def fetch(instance: Any, args: _Args, kwargs: _Kwargs) -> Any:
        if by_keyword and wanted in kwargs:
            return kwargs[wanted]
        given = _whole(instance, args, is_bound) if by_position else ()
        if index < len(given):
            return given[index]
        if default is parameter.empty:
            raise TypeError(wanted)  # the call itself is about to fail in the same way
        return default

    return fetch


def _whole(instance: Any, args: _Args, is_bound: bool) -> _Args:
    return args if instance is None or is_bound else (instance, *args)
