"""Each callable that may be decorated is of its own exact type, to mypy and to pyright.

`make lint` checks these lines with both, the suite runs them. Where a checker might answer
Any, an argument that must be refused stands beside it, in `refused`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar, overload

from typing_extensions import ParamSpec, Self, assert_type

from trubrics_trace import arg, carry_scope, identify, trubrics_scope, trubrics_trace

_T = TypeVar("_T")
_P = ParamSpec("_P")

alice = trubrics_trace(user_id="alice", tags=["chat"], plan="pro")


@overload
def parsed(value: str) -> int: ...
@overload
def parsed(value: bytes, *, scale: float = 1) -> float: ...
@alice
def parsed(value: str | bytes, *, scale: float = 1) -> float:
    """Return what it was given as a number."""
    return int(value) if isinstance(value, str) else float(value) * scale


@alice
def first(items: Sequence[_T]) -> _T:
    """Return the first one."""
    return items[0]


@trubrics_trace
async def first_later(items: Sequence[_T]) -> _T:
    """Return the first one, later."""
    return items[0]


@alice
def each(items: Sequence[_T]) -> Generator[_T, str, int]:
    """Yield them all."""
    yield from items
    return len(items)


@trubrics_trace
async def each_later(items: Sequence[_T]) -> AsyncGenerator[_T, str]:
    """Yield them all, later."""
    for item in items:
        yield item


def retried(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a function that tries again."""

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except OSError:
            return function(*args, **kwargs)

    return wrapper


def numbered(function: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[list[_T]]]:
    """Return a function whose answer is another."""

    @functools.wraps(function)
    async def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> list[_T]:
        return [await function(*args, **kwargs)]

    return wrapper


@alice
@retried
def outside(question: str, *, times: int = 1) -> list[str]:
    """Return an answer."""
    return [question] * times


@retried
@alice
def inside(question: str, *, times: int = 1) -> list[str]:
    """Return an answer."""
    return [question] * times


@trubrics_trace
@numbered
@alice
async def between(question: str) -> str:
    """Return an answer, later."""
    return question


@alice
@trubrics_trace(thread_id=arg("question"))
def stacked(question: str) -> str:
    """Return an answer."""
    return question


@contextlib.contextmanager
@alice
def session(name: str) -> Iterator[str]:
    """Lend a session."""
    yield name


@contextlib.asynccontextmanager
@alice
async def async_session(name: str) -> AsyncIterator[str]:
    """Lend a session, later."""
    yield name


class Store(Generic[_T]):
    """Methods of each kind, and each kind of method, in both orders."""

    def __init__(self, item: _T) -> None:
        self.item = item

    @alice
    def method(self, times: int) -> list[_T]:
        """Return it so many times."""
        return [self.item] * times

    @trubrics_trace
    async def coroutine(self, times: int) -> list[_T]:
        """Return it so many times, later."""
        return [self.item] * times

    @alice
    def generator(self, times: int) -> Generator[_T, str, int]:
        """Yield it so many times."""
        yield from [self.item] * times
        return times

    @trubrics_trace
    async def async_generator(self, times: int) -> AsyncGenerator[_T, str]:
        """Yield it so many times, later."""
        for _ in range(times):
            yield self.item

    @alice
    @classmethod
    def class_above(cls, item: _T) -> Self:
        """Return a new one."""
        return cls(item)

    @classmethod
    @alice
    def class_below(cls, item: _T) -> Self:
        """Return a new one."""
        return cls(item)

    @trubrics_trace
    @classmethod
    async def class_above_later(cls, name: str) -> str:
        """Return a name, later."""
        return f"{cls.__name__}: {name}"

    @classmethod
    @trubrics_trace
    def class_below_in_parts(cls, name: str) -> Generator[str, bytes, bool]:
        """Yield a name."""
        yield f"{cls.__name__}: {name}"
        return True

    @alice
    @staticmethod
    def static_above(items: Sequence[str]) -> str:
        """Return the first one."""
        return items[0]

    @staticmethod
    @alice
    def static_below(items: Sequence[str]) -> str:
        """Return the first one."""
        return items[0]

    @staticmethod
    @trubrics_trace
    async def static_below_later(items: Sequence[str]) -> str:
        """Return the first one, later."""
        return items[0]

    @trubrics_trace
    @staticmethod
    async def static_above_in_parts(name: str) -> AsyncGenerator[str, bytes]:
        """Yield a name, later."""
        yield name

    @property
    @alice
    def size(self) -> int:
        """Its size."""
        return 1


class Service:
    """A class that is not generic: pyright knows no partial of what is."""

    @alice
    def method(self, question: str, *, times: int = 1) -> list[str]:
        """Return an answer."""
        return [question] * times

    repeated = functools.partialmethod(method, times=2)


class Bot:
    """An object that is called like a function."""

    name = "bot"

    def __call__(self, question: str, *, times: int = 1) -> list[str]:
        """Return an answer."""
        return [question] * times


class LaterBot:
    """An object that is called like a coroutine function, itself decorated."""

    @alice
    async def __call__(self, question: str) -> int:
        """Return an answer, later."""
        return len(question)


class PartsBot:
    """An object that is called like a generator, itself decorated."""

    @trubrics_trace
    def __call__(self, question: str) -> Generator[str, int, bool]:
        """Yield an answer."""
        yield question
        return True


class Answers(Protocol):
    """What a framework wants of a handler."""

    def __call__(self, question: str, *, times: int = 1) -> list[str]:
        """Return an answer."""
        raise NotImplementedError


def test_generic_functions() -> None:
    """A generic function stays generic, of each kind, bare and called."""
    assert_type(first([1]), int)
    assert_type(first("text"), str)
    assert_type(each(["a"]), Generator[str, str, int])
    assert_type(each_later([b"a"]), AsyncGenerator[bytes, str])
    assert_type(asyncio.run(first_later([1.5])), float)
    for decorated in (trubrics_trace(first), alice(first)):
        assert_type(decorated([True]), bool)


def test_overloads() -> None:
    """An overloaded function keeps its overloads, decorated within or by hand."""
    by_hand = trubrics_trace(parsed)
    called = alice(parsed)
    assert_type(parsed("1"), int)
    assert_type(parsed(b"1", scale=2), float)
    assert_type(by_hand("1"), int)
    assert_type(by_hand(b"1", scale=2), float)
    assert_type(called("1"), int)
    assert_type(called(b"1", scale=2), float)


def test_other_decorators() -> None:
    """Above, below and between decorators of others nothing is lost."""
    assert_type(outside("a", times=2), list[str])
    assert_type(inside("a", times=2), list[str])
    assert_type(stacked("a"), str)

    async def ask() -> None:
        assert_type(await between("a"), list[str])
        async with async_session("a") as name:
            assert_type(name, str)

    asyncio.run(ask())
    with session("a") as name:
        assert_type(name, str)


def test_methods() -> None:
    """Methods of a generic class know its parameter, in either order of decorators."""
    store = Store(b"item")
    assert_type(store.method(2), list[bytes])
    assert_type(Store[bytes].method(store, 2), list[bytes])
    assert_type(store.generator(2), Generator[bytes, str, int])
    assert_type(store.async_generator(2), AsyncGenerator[bytes, str])
    assert_type(store.size, int)
    assert_type(Store[int].class_above(1), Store[int])
    assert_type(Store[int].class_below(1), Store[int])
    assert_type(Store.class_below_in_parts("a"), Generator[str, bytes, bool])
    assert_type(store.static_above(["a"]), str)
    assert_type(Store.static_below(["a"]), str)
    assert_type(Store.static_above_in_parts("a"), AsyncGenerator[str, bytes])

    async def ask() -> None:
        assert_type(await store.coroutine(2), list[bytes])
        assert_type(await Store.class_above_later("a"), str)
        assert_type(await store.static_below_later(["a"]), str)

    asyncio.run(ask())


def test_objects() -> None:
    """A callable object stays what it is, decorated itself or in its class."""
    bot = alice(Bot())
    assert_type(bot, Bot)
    assert_type(bot.name, str)
    assert_type(bot("a", times=2), list[str])
    assert_type(PartsBot()("a"), Generator[str, int, bool])
    assert_type(trubrics_trace(LaterBot()), LaterBot)
    assert_type(asyncio.run(trubrics_trace(LaterBot())("a")), int)


def test_partials() -> None:
    """A partial may be decorated, be made of what is decorated, and be a method."""
    decorated, partial = alice(functools.partial(outside, "a")), functools.partial(inside)
    assert_type(decorated, "functools.partial[list[str]]")
    assert_type(decorated(times=2), list[str])
    assert_type(partial("a", times=2), list[str])
    assert_type(Service().repeated("a"), list[str])


def test_where_a_type_is_wanted() -> None:
    """What is decorated fits where the undecorated one does, and a lambda is inferred."""
    handlers: list[Answers] = [outside, inside, alice(Bot())]
    simple: Callable[[str], int] = alice(lambda question: len(question))
    later: Callable[[Sequence[str]], Coroutine[Any, Any, str]] = first_later
    assert_type(handlers[0]("a", times=2), list[str])
    assert 1 == simple("a")
    assert "a" == asyncio.run(later(["a"]))


def test_carried_work() -> None:
    """Work of each kind is of its own type when it is carried."""
    assert_type(carry_scope(first)([1]), int)
    assert_type(carry_scope(parsed)(b"1", scale=2), float)
    assert_type(carry_scope(Store("a").method)(2), list[str])
    assert_type(carry_scope(each([1])), Generator[int, str, int])
    assert_type(carry_scope(each_later([1])), AsyncGenerator[int, str])
    assert_type(carry_scope(functools.partial(outside, "a"))(), list[str])

    async def ask() -> None:
        assert_type(await carry_scope(first_later([1])), int)
        assert_type(await carry_scope(first_later)(["a"]), str)

    asyncio.run(ask())
    with ThreadPoolExecutor(1) as pool:
        assert_type(carry_scope(pool), ThreadPoolExecutor)
        assert_type(carry_scope(pool).submit(first, [1]).result(), int)


def returned_from_a_scope() -> str:
    """Return from a block, which swallows no exception: no `return` is missing."""
    with trubrics_scope(user_id=lambda: "alice", tags=("chat", "search")):
        return "a"


async def returned_from_an_async_scope() -> str:
    """Return from an async one."""
    async with trubrics_scope(user_id=7, metadata={"plan": "pro"}):
        return "a"


def test_scopes() -> None:
    """A block in a scope returns what it returns, and identifying returns nothing."""
    assert "a" == returned_from_a_scope()
    assert "a" == asyncio.run(returned_from_an_async_scope())
    identify("alice", tags=["chat"], metadata={"plan": "pro"}, plan="pro")


def refused_keywords() -> None:
    """Hold the keywords that a checker refuses; nobody calls it."""
    trubrics_trace(user_id=3.5)  # type: ignore[call-overload]
    trubrics_trace(thread_id=b"1")  # type: ignore[call-overload]
    trubrics_trace(session_id=["1"])  # type: ignore[call-overload]
    trubrics_trace(assistant_id={"1": 1})  # type: ignore[call-overload]
    trubrics_trace(run_name=1.5)  # type: ignore[call-overload]
    trubrics_trace(tags=[1])  # type: ignore[list-item]
    trubrics_trace(metadata=[1])  # type: ignore[call-overload]
    trubrics_trace("alice", tags="chat")  # type: ignore[call-overload]
    trubrics_scope(user_id=3.5)  # type: ignore[arg-type]
    trubrics_scope(thread_id=["1"])  # type: ignore[arg-type]
    trubrics_scope(tags=5)  # type: ignore[arg-type]
    trubrics_scope(tags=b"chat")  # type: ignore[arg-type]
    trubrics_scope(metadata=[1])  # type: ignore[arg-type]
    trubrics_scope(fresh="yes")  # type: ignore[arg-type]
    trubrics_scope(enabled=None)  # type: ignore[arg-type]
    trubrics_scope(outside)  # type: ignore[arg-type]
    identify(3.5)  # type: ignore[arg-type]
    identify("alice", thread_id=3.5)  # type: ignore[arg-type]
    identify("alice", tags=5)  # type: ignore[arg-type]
    identify("alice", metadata=[1])  # type: ignore[arg-type]
    identify()  # type: ignore[call-arg]
    carry_scope()  # type: ignore[call-arg]
    carry_scope(outside, inside)  # type: ignore[call-arg]


async def refused_calls() -> None:
    """Hold the calls that a checker refuses, though the function is decorated."""
    parsed(5)  # type: ignore[call-overload]
    parsed("1", scale=2)  # type: ignore[call-overload]
    alice(parsed)(5)  # type: ignore[call-overload]
    first(5)  # type: ignore[arg-type]
    outside(5)  # type: ignore[arg-type]
    inside("a", 2)  # type: ignore[call-arg]
    stacked()  # type: ignore[call-arg]
    await between(5)  # type: ignore[arg-type]
    session(5)  # type: ignore[arg-type]
    each(["a"]).send(5)  # type: ignore[arg-type]
    await each_later(["a"]).asend(5)  # type: ignore[arg-type]
    Store("a").method("a")  # type: ignore[arg-type]
    await Store("a").coroutine("a")  # type: ignore[arg-type]
    Store("a").generator(1).send(5)  # type: ignore[arg-type]
    Store[int].class_above("a")  # type: ignore[arg-type]
    Store[int].class_below("a")  # type: ignore[arg-type]
    await Store.class_above_later(5)  # type: ignore[arg-type]
    Store.class_below_in_parts("a").send("a")  # type: ignore[arg-type]
    Store.static_above(5)  # type: ignore[arg-type]
    Store.static_below(5)  # type: ignore[arg-type]
    await Store.static_below_later(5)  # type: ignore[arg-type]
    Store.static_above_in_parts(5)  # type: ignore[arg-type]
    alice(Bot())(5)  # type: ignore[arg-type]
    await LaterBot()(5)  # type: ignore[arg-type]
    PartsBot()("a").send("a")  # type: ignore[arg-type]
    alice(functools.partial(outside, "a"))(times="2")  # type: ignore[arg-type]
    carry_scope(outside)(5)  # type: ignore[arg-type]
    carry_scope(each(["a"])).send(5)  # type: ignore[arg-type]
