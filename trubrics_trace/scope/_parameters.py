"""Where a callable finds what it asks for, looked up once, at decoration.

A call only picks. `arg` is the same without a lambda. What a callable declares and the
function does not have is an error where the decorator stands, not a missing user in
production.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..errors import ConfigurationError

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = Mapping[str, Any]
# One value read from a call: its instance (or None), its arguments, its keywords.
Read: TypeAlias = Callable[[Any, Args, Kwargs], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class arg:  # noqa: N801 - read as a word: user_id=arg("request.user.id")
    """An argument of the decorated function, or what is inside it, by path.

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


def place_of(value: Any) -> str:
    """Return how a callable is told to people: its name, file and line."""
    if isinstance(value, arg):
        return repr(value)
    if isinstance(value, str):
        return value
    while isinstance(value, functools.partial):
        value = value.func
    name = getattr(value, "__qualname__", type(value).__qualname__)
    code = getattr(value, "__code__", None)
    if code is None:
        return str(name)
    return f"{name} at {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def is_read(value: object) -> bool:
    """Whether a value is asked at each call, and not taken as it is."""
    # By its type: what a proxy says of its class may raise.
    return issubclass(type(value), arg) or callable(value)


def _is_async(value: Any) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004 - an object may have it async
    )


def _is_async_generator(value: Any) -> bool:
    return inspect.isasyncgenfunction(value) or inspect.isasyncgenfunction(
        getattr(value, "__call__", None)  # noqa: B004 - as above
    )


def plain_read(name: str, value: Any, place: str, *takes: str) -> Read:
    """Return what asks a callable that takes what its scope or door has.

    Raises:
        ConfigurationError: It takes something else, or is async.
    """
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


def function_read(name: str, value: Any, function: Callable[..., Any]) -> Read:
    """Return what asks a callable at each call, by the names it declares.

    Raises:
        ConfigurationError: The function does not take what it declares, or cannot await it.
    """
    if isinstance(value, arg):
        fetch = _fetch(name, value, value.path.split(".")[0], function)
        return lambda instance, args, kwargs: value.read(fetch(instance, args, kwargs))
    if _is_async(value) and not (_is_async(function) or _is_async_generator(function)):
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
    if len(fetches) == 1:  # most often; at half of what any number costs
        [(wanted, fetch)] = fetches.items()
        return lambda instance, args, kwargs: value(
            **{wanted: fetch(instance, args, kwargs)}
        )
    return lambda instance, args, kwargs: value(
        **{wanted: fetch(instance, args, kwargs) for wanted, fetch in fetches.items()}
    )


def _wanted_by(name: str, value: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return what a callable declares by name; a default makes it optional."""
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
    parameters = _parameters_of(function)
    return wanted in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return what a call takes; of a partial, not what it claims to wrap.

    Django's `method_decorator` dresses one up as the method that it has bound.
    """
    is_partial = isinstance(function, functools.partial)
    return inspect.signature(function, follow_wrapped=not is_partial).parameters


def _fetch(
    name: str,
    value: Any,
    wanted: str,
    function: Callable[..., Any],
    otherwise: Any = inspect.Parameter.empty,
) -> Read:
    """Return what finds the argument `wanted` in a call of the function.

    Args:
        otherwise: What is found where `**kwargs` might hold it, and do not.
    """
    parameters = _parameters_of(function)
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
        return lambda instance, args, kwargs: (
            args if instance is None or is_bound else (instance, *args)
        )[index:]
    return _fetch_parameter(parameter, index, is_bound=is_bound)


def _fetch_parameter(parameter: inspect.Parameter, index: int, *, is_bound: bool) -> Read:
    """Return what finds an argument by its place or its name."""
    wanted, default = parameter.name, parameter.default
    # Of `def f(a, /, **more)` more may hold an "a", and `*more` ends where it begins.
    by_keyword = parameter.kind is not parameter.POSITIONAL_ONLY
    by_position = parameter.kind is not parameter.KEYWORD_ONLY

    def fetch(instance: Any, args: Args, kwargs: Kwargs) -> Any:
        # By name first: what dresses up as the function may drop what stands before.
        if by_keyword and kwargs and wanted in kwargs:
            return kwargs[wanted]
        if by_position:
            given = args if instance is None or is_bound else (instance, *args)
            if index < len(given):
                return given[index]
        if default is parameter.empty:
            raise TypeError(wanted)  # the call itself is about to fail in the same way
        return default

    return fetch
