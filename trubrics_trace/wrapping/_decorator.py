"""`trubrics_trace`: a scope around a callable, whose shape stays the same.

What kind of function it is, is found out once, at decoration. The wrapper is wrapt's, so
name, signature, kind and binding are the function's own; four short functions below open
the scope, each for one kind.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import operator
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any, Protocol, TypeVar, overload

import wrapt

from .._ledger import ledger
from ..errors import ConfigurationError
from ..scope._arguments import Identity, Metadata, Recipe, Tags
from ..scope._attributes import NOT_GIVEN, NOTHING
from ..scope._current import (
    begin_step,
    end_step,
    enter_new,
    finish,
    leave,
    open_scope,
    step_out,
    switch,
)
from ..scope._scope import Scope
from ..scope._steps import Steps, step_async_generator, step_generator
from ._returned import FINISHED, close_with

_F = TypeVar("_F")

_Wrapper = Callable[[Any, Any, "tuple[Any, ...]", "Mapping[str, Any]"], Any]


class Decorator(Protocol):
    """What `trubrics_trace(...)` gives: it returns what it is put above."""

    def __call__(self, function: _F, /) -> _F:
        """Return the function, traced."""


@overload
def trubrics_trace(function: _F, /) -> _F: ...
@overload
def trubrics_trace(
    *,
    user_id: Identity = NOT_GIVEN,
    thread_id: Identity = NOT_GIVEN,
    session_id: Identity = NOT_GIVEN,
    assistant_id: Identity = NOT_GIVEN,
    run_name: Identity = NOT_GIVEN,
    tags: Tags = NOT_GIVEN,
    metadata: Metadata = NOT_GIVEN,
    **more_metadata: Any,
) -> Decorator: ...
def trubrics_trace(function: Any = NOT_GIVEN, /, **keywords: Any) -> Any:
    """Record each LangChain call made inside a function, under the right user.

    Bare or called, above any callable: functions, coroutines, generators and async
    generators, methods, class and static methods in either order. The decorated function
    is the same to everybody: kind, signature, type, name, and what `send`, `throw` and
    `close` do. What it returns is followed: a stream that is consumed later still belongs
    to the call that returned it.

    Args:
        user_id, thread_id, session_id, assistant_id, run_name: As in `trubrics_scope`. A
            callable is asked at each call, once, before the body, and takes the
            function's arguments by the names that it declares; `arg("request.user.id")`
            says the same without a lambda. On an async function it may be async.
        tags, metadata: As in `trubrics_scope`; any other keyword is metadata.

    Raises:
        ConfigurationError: A callable asks for an argument that the function does not
            take, or is async where the function cannot await it, or what is decorated
            is no callable.

    Example:
        >>> from trubrics_trace import current_scope, trubrics_trace
        >>> @trubrics_trace(tags="support", user_id=lambda request: request["user"])
        ... def answer(request, question):
        ...     return current_scope().user_id
        >>> answer({"user": "alice"}, "Where is my parcel?")
        'alice'
    """
    if function is NOT_GIVEN:
        return lambda function: _traced(function, keywords)
    return _traced(function, keywords)


# Stands in our classes, too: who looks at the annotations of a class that has none of its
# own makes empty ones there, and they would stand before those of every function. Only
# compiled proxies look them up so; the others keep them in each object.
_ANNOTATIONS: Any = next(
    (
        found
        for kind in wrapt.FunctionWrapper.__mro__
        if hasattr(found := vars(kind).get("__annotations__"), "__set__")
    ),
    {},
)


class _TracedMethod(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg] # not at runtime
    """A traced function found in a class, or in an instance of it."""

    __annotations__ = _ANNOTATIONS

    def __reduce_ex__(self, protocol: Any) -> Any:
        if isinstance(self.__wrapped__, MethodType):
            return self.__wrapped__.__reduce_ex__(protocol)
        return _named, (self.__module__, self.__qualname__)

    def __copy__(self) -> _TracedMethod:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        find, where = self.__reduce_ex__(2)
        return find(*copy.deepcopy(where, memo))


class TracedFunction(wrapt.FunctionWrapper):  # type: ignore[type-arg] # not at runtime
    """A function with a scope around each call, pickled and copied like any."""

    __annotations__ = _ANNOTATIONS
    __bound_function_wrapper__ = _TracedMethod

    def __reduce_ex__(self, protocol: object) -> str:
        return str(self.__wrapped__.__qualname__)

    def __copy__(self) -> TracedFunction:
        return self

    def __deepcopy__(self, memo: object) -> TracedFunction:
        return self


def _named(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))


def _traced(function: Any, keywords: Mapping[str, Any]) -> Any:
    target = function.__func__ if _is_descriptor(function) else function
    if not callable(target) or isinstance(target, type):
        message = (
            f"trubrics_trace decorates functions, not {type(target).__name__!r}; put it "
            "above a function or a method, below the framework's own decorator"
        )
        raise ConfigurationError(message)
    if ledger.strict or type(target) is not FunctionType:
        from ._misplaced import warn_of_object, warn_of_registered  # where it may be needed

        warn_of_object(target)
        if ledger.strict:
            warn_of_registered([target])
    recipe = Recipe.for_function(keywords, target)
    name = getattr(target, "__qualname__", type(target).__qualname__)
    return TracedFunction(function, _wrapper_of(target, recipe, name))


def _wrapper_of(target: Any, recipe: Recipe, name: str) -> _Wrapper:
    if _is_kind(inspect.iscoroutinefunction, target):
        return _around_coroutine(
            recipe, name, _body_of(target), is_native=_is_native(target)
        )
    if _is_kind(inspect.isasyncgenfunction, target):
        return _around_async_generator(recipe, name)
    if _is_kind(inspect.isgeneratorfunction, target):
        return _around_generator(recipe, name)
    return _around_call(recipe, name)


def _around_call(recipe: Recipe, name: str) -> _Wrapper:
    def wrapper(
        wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if not switch.is_on:
            return wrapped(*args, **kwargs)
        scope = enter_new(recipe.ready or recipe.attributes(instance, args, kwargs), name)
        try:
            returned = wrapped(*args, **kwargs)
            if type(returned) not in FINISHED:
                return _leave_with(returned, scope)
        except BaseException:
            leave(scope)
            raise
        leave(scope)
        return returned

    return wrapper


def _around_coroutine(recipe: Recipe, name: str, own: Any, *, is_native: bool) -> _Wrapper:
    async def around(begin: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        scope = await _open_awaited(recipe, name, instance, args, kwargs)
        try:
            body = begin() if is_native else _begin_inside(begin)
            del begin, instance, args, kwargs  # the body has what it needs of them
            return close_with(await Steps(body, scope), scope)
        except BaseException:
            finish(scope)
            raise

    def wrapper(
        wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if not switch.is_on:
            return wrapped(*args, **kwargs)
        if is_native:  # nothing of it runs; wrong arguments are an error at once
            wrapped(*args, **kwargs).close()
        begin = functools.partial(wrapped, *args, **kwargs)
        coroutine: Any = around(begin, instance, args, kwargs)
        coroutine.__name__ = own.__name__
        coroutine.__qualname__ = own.__qualname__  # what a task, or a warning, calls it
        return coroutine

    return wrapper


async def _begin_inside(begin: Callable[[], Any]) -> Any:
    return await begin()


def _around_generator(recipe: Recipe, name: str) -> _Wrapper:
    def wrapper(
        wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if not switch.is_on:
            return wrapped(*args, **kwargs)
        scope = open_scope(recipe.attributes(instance, args, kwargs), called=name)
        return step_generator(_called_inside(scope, wrapped, args, kwargs), scope)

    return wrapper


def _around_async_generator(recipe: Recipe, name: str) -> _Wrapper:
    def wrapper(
        wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if not switch.is_on:
            return wrapped(*args, **kwargs)
        known = NOTHING if recipe.reads else recipe.attributes()
        scope = open_scope(known, called=name)
        body = _called_inside(scope, wrapped, args, kwargs)
        if not recipe.reads:
            return step_async_generator(body, scope)

        async def learn() -> None:  # a reader may have to be awaited: by the first step
            scope.learn(await recipe.attributes_awaited(instance, args, kwargs))

        return step_async_generator(body, scope, learn)

    return wrapper


async def _open_awaited(
    recipe: Recipe,
    name: str,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Scope:
    if recipe.reads:
        attributes = await recipe.attributes_awaited(instance, args, kwargs)
    else:
        attributes = recipe.attributes()
    return open_scope(attributes, called=name)


def _called_inside(
    scope: Scope, wrapped: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Return a generator made inside the scope: it may be a traced one itself."""
    step = begin_step(scope, scope)
    try:
        return wrapped(*args, **kwargs)
    finally:
        end_step(step, scope)


def _leave_with(returned: Any, scope: Scope) -> Any:
    """Leave the scope, open if what is returned still has work to do."""
    step_out(scope)
    return close_with(returned, scope)


def _body_of(target: Any) -> Any:
    """Return the function whose coroutines a callable gives."""
    while isinstance(target, functools.partial):
        target = target.func
    return target if hasattr(target, "__qualname__") else type(target).__call__


def _is_native(target: Any) -> bool:
    """Whether to call it makes a coroutine, and runs nothing of the app's yet."""
    while isinstance(target, functools.partial):
        target = target.func
    if isinstance(target, TracedFunction):
        return _is_native(target.__wrapped__)
    is_plain = type(target) in (FunctionType, MethodType)
    code = getattr(target if is_plain else type(target).__call__, "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_COROUTINE)


def _is_descriptor(function: Any) -> bool:
    return isinstance(function, (classmethod, staticmethod))


def _is_kind(is_kind: Callable[[Any], bool], target: Any) -> bool:
    """Whether a function, or an object that is called like one, is of a kind."""
    return is_kind(target) or is_kind(getattr(target, "__call__", None))  # noqa: B004
