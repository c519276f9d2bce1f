"""The forms of a call: a function of each kind, and how the decorator meets it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from .witness import Witness

Decorate: TypeAlias = "Callable[[Any], Any]"

# One function of each kind, which does what its witness wants.


def plain(owner: object = None, *, see: Witness) -> str:
    """Answer at once."""
    see.inside("begins", named(owner))
    see.may_raise()
    return "returned"


async def coroutine(owner: object = None, *, see: Witness) -> str:
    """Answer after two pauses."""
    see.inside("begins", named(owner))
    with see.finally_noted():
        async with see.way.around(see):
            for _ in range(2):
                try:
                    await see.pause()
                except see.way.catches as error:
                    see.inside("caught", error)
                    await asyncio.sleep(0)
            see.inside("goes on")
            see.may_raise()
    return "returned"


def generator(owner: object = None, *, see: Witness) -> Generator[object, object, str]:
    """Answer in three parts, and tell what is sent and caught."""
    see.inside("begins", named(owner))
    with see.finally_noted():
        for number in range(3):
            try:
                see.inside("was sent", (yield number))
            except see.way.catches as error:
                see.inside("caught", error)
                see.inside("was sent", (yield "caught"))
        see.may_raise()
    return "returned"


async def async_generator(
    owner: object = None, *, see: Witness
) -> AsyncGenerator[object, object]:
    """Do the same, with pauses."""
    see.inside("begins", named(owner))
    with see.finally_noted():
        async with see.way.around(see):
            for number in range(3):
                try:
                    see.inside("was sent", (yield number))
                    await see.pause()
                except see.way.catches as error:
                    see.inside("caught", error)
                    see.inside("was sent", (yield "caught"))
            see.may_raise()


@dataclass
class Form:
    """What is called: made of a decorator and a body."""

    make: Callable[[Decorate, Any], Any]
    layers: int = 1  # decorated ones, one inside the other
    is_awaited: bool = False  # the call gives a coroutine, and that the work
    delegates: bool = False  # one function of the kind stands inside another


def named(owner: object) -> str:
    """Return what is compared of whom a call is bound to."""
    return getattr(owner, "__name__", type(owner).__name__)


def owned(**members: Any) -> Any:
    """Return a class with these members."""
    return type("Owner", (), members)


def delegating(to: Any, kind: Any) -> Any:
    """Return a function of a kind that leaves its work to another."""

    def same_plain(owner: object = None, *, see: Witness) -> Any:
        return to(owner, see=see)

    async def same_coroutine(owner: object = None, *, see: Witness) -> Any:
        return await to(owner, see=see)

    def same_generator(owner: object = None, *, see: Witness) -> Any:
        return (yield from to(owner, see=see))

    async def same_async_generator(owner: object = None, *, see: Witness) -> Any:
        async with contextlib.aclosing(to(owner, see=see)) as parts:
            async for part in parts:
                yield part

    same = {
        plain: same_plain,
        coroutine: same_coroutine,
        generator: same_generator,
        async_generator: same_async_generator,
    }
    return same[kind]


def recursive(decorate: Decorate, body: Any) -> Any:
    """Return a function that calls itself three times before it calls its body."""

    def deeper(owner: object, *, see: Witness) -> Any:
        see.depth += 1
        return (body if see.depth == 3 else again)(owner, see=see)

    again = decorate(delegating(deeper, body))
    return again


def wrapped(function: Any, kind: Any) -> Any:
    """Return a function that wraps another of its kind."""
    return functools.wraps(function)(delegating(function, kind))


def wrapped_plainly(function: Any) -> Any:
    """Return a plain function that wraps another, and returns what it returns."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def returning(body: Any) -> Any:
    """Return a plain function that returns the work of another."""
    return lambda owner=None, *, see: body(owner, see=see)


def returning_later(body: Any) -> Any:
    """Return a coroutine function that returns the work of another."""

    async def later(owner: object = None, *, see: Witness) -> Any:
        return body(owner, see=see)

    return later


FORMS: dict[str, Form] = {
    "function": Form(lambda decorate, body: decorate(body)),
    "method": Form(lambda decorate, body: owned(call=decorate(body))().call),
    "class method above": Form(
        lambda decorate, body: owned(call=decorate(classmethod(body))).call
    ),
    "class method below": Form(
        lambda decorate, body: owned(call=classmethod(decorate(body))).call
    ),
    "static method above": Form(
        lambda decorate, body: owned(call=decorate(staticmethod(body))).call
    ),
    "static method below": Form(
        lambda decorate, body: owned(call=staticmethod(decorate(body)))().call
    ),
    "decorated partial": Form(
        lambda decorate, body: decorate(functools.partial(body, "bound"))
    ),
    "partial": Form(lambda decorate, body: functools.partial(decorate(body), "bound")),
    "partial method": Form(
        lambda decorate, body: owned(call=functools.partialmethod(decorate(body)))().call
    ),
    "callable object": Form(lambda decorate, body: decorate(owned(__call__=body)())),
    "decorated __call__": Form(lambda decorate, body: owned(__call__=decorate(body))()),
    "stacked": Form(lambda decorate, body: decorate(decorate(body)), layers=2),
    "nested": Form(
        lambda decorate, body: decorate(delegating(decorate(body), body)),
        layers=2,
        delegates=True,
    ),
    "recursive": Form(recursive, layers=3, delegates=True),
    "wrapper decorated": Form(
        lambda decorate, body: decorate(wrapped(body, body)), delegates=True
    ),
    "wrapped decorated": Form(
        lambda decorate, body: wrapped(decorate(body), body), delegates=True
    ),
    "plain wrapper decorated": Form(lambda decorate, body: decorate(wrapped_plainly(body))),
    "plain wrapper around": Form(lambda decorate, body: wrapped_plainly(decorate(body))),
    "returned": Form(lambda decorate, body: decorate(returning(body))),
    "returned later": Form(
        lambda decorate, body: decorate(returning_later(body)), is_awaited=True
    ),
}
