"""A user's own block around a `yield` is found, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from trubrics_trace import (
    configure,
    current_scope,
    stats,
    trubrics_scope,
    trubrics_trace,
)
from trubrics_trace.errors import TelemetryError


def around_a_yield() -> Iterator[int]:
    """Yield inside a block."""
    with trubrics_scope(user_id="alice"):
        yield 1
        yield 2


def around_half_a_yield() -> Generator[int, int, None]:
    """Take what is sent, inside a block of two lines."""
    with (
        contextlib.nullcontext(),
        trubrics_scope(
            user_id="alice",
        ),
    ):
        if True:
            sent = yield 1
    yield sent


def around_another() -> Iterator[int]:
    """Delegate inside a block."""
    with trubrics_scope():
        yield from (1, 2)


def by_hand() -> Iterator[int]:
    """Open a scope that no block shows."""
    scope = trubrics_scope()
    scope.__enter__()
    yield 1
    scope.__exit__(None, None, None)


def before_a_yield() -> Iterator[int]:
    """Close the block before the first step ends, and have a generator inside."""
    with trubrics_scope(user_id="alice"):

        def inner() -> Iterator[int]:
            yield 1

        found = [*inner(), 2]
    yield from found


async def around_an_async_yield() -> AsyncIterator[int]:
    """Yield inside an async block."""
    async with trubrics_scope(user_id="alice"):
        await asyncio.sleep(0)
        yield 1


async def around_an_await() -> AsyncIterator[int]:
    """Await, but not yield, inside a block."""
    async with trubrics_scope(user_id="alice"):
        await asyncio.sleep(0)
    yield 1


def around_another_once() -> Iterator[None]:
    """Delegate, as a context manager does that is made of another."""

    def inner() -> Iterator[None]:
        with trubrics_scope():
            yield

    yield from inner()


FOUND = [around_a_yield, around_half_a_yield, around_another, by_hand]
MADE_AT_RUN_TIME = """
def hidden():
    with trubrics_scope(user_id="alice"):
        yield 1
"""


def spanned() -> int:
    """Return how often it was counted."""
    return stats().noticed.get("scope_across_yield", 0)


async def consume(generator: AsyncIterator[int]) -> list[int]:
    """Return all of it."""
    return [number async for number in generator]


@pytest.mark.parametrize("generator", FOUND)
def test_block_around_a_yield(
    generator: Callable[[], Iterator[int]], caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted each time, and said once with the place and the remedy."""
    list(generator())
    list(generator())

    assert 2 == spanned()
    [said] = caplog.messages
    assert f"stands around a yield of {generator.__name__}()" in said
    assert "test_spanning.py:" in said
    assert "put trubrics_trace above the generator" in said


def test_block_around_an_async_yield() -> None:
    """An async block in an async generator is found as well."""
    asyncio.run(consume(around_an_async_yield()))
    assert 1 == spanned()


def test_consumed_by_a_generator() -> None:
    """A generator that iterates over another is a consumer, traced or not."""

    def consumer() -> Iterator[int]:
        for number in around_a_yield():
            yield number + 1  # not `yield from`: here its user would leak

    list(consumer())
    list(trubrics_trace(consumer)())
    assert 2 == spanned()


def test_source_that_nobody_can_read() -> None:
    """Where the source is not at hand, a generator's block counts as one around it."""
    namespace: dict[str, Any] = {"trubrics_scope": trubrics_scope}
    exec(MADE_AT_RUN_TIME, namespace)
    list(namespace["hidden"]())
    assert 1 == spanned()


def test_strict() -> None:
    """In strict mode it is an error where the block opens, and no scope is left."""
    configure(strict=True)
    with pytest.raises(TelemetryError, match="around_a_yield"):
        list(around_a_yield())
    assert current_scope() is None


def test_block_before_a_yield() -> None:
    """A block that ends before the generator rests is nobody's trap."""
    list(before_a_yield())
    asyncio.run(consume(around_an_await()))
    assert 0 == spanned()


def test_traced_generators() -> None:
    """The body of a traced generator may open what it likes, also what it delegates to."""

    @trubrics_trace
    def delegating() -> Iterator[int]:
        yield from around_a_yield()

    assert [1, 2] == list(trubrics_trace(around_a_yield)())
    assert [1, 2] == list(delegating())
    assert [1] == asyncio.run(consume(trubrics_trace(around_an_async_yield)()))
    assert 0 == spanned()


def test_context_managers() -> None:
    """A `yield` that stands for a block is no pause."""

    @contextlib.asynccontextmanager
    async def managed() -> AsyncGenerator[None, None]:
        async with trubrics_scope(user_id="bob"):
            yield

    async def use() -> None:
        async with managed():
            pass

    with contextlib.contextmanager(around_another_once)():
        assert current_scope() is not None
    asyncio.run(use())
    assert 0 == spanned()


@pytest.fixture
def scoped() -> Iterator[None]:
    """Open a scope for the test that asks for it."""
    with trubrics_scope(user_id="alice"):
        yield


def test_fixtures(scoped: None) -> None:
    """A fixture of pytest's stands for the test as its block."""
    assert 0 == spanned()


@pytest.fixture
def anyio_backend() -> str:
    """Return the loop that anyio's plugin runs."""
    return "asyncio"


@pytest.fixture
async def scoped_in_a_loop() -> AsyncIterator[None]:
    """Open a scope for the test that asks for it."""
    async with trubrics_scope(user_id="alice"):
        yield


@pytest.mark.anyio
async def test_async_fixtures(scoped_in_a_loop: None) -> None:
    """So does an async one, with a loop in between."""
    assert 0 == spanned()


def test_plain_functions(caplog: pytest.LogCaptureFixture) -> None:
    """A function that is no generator opens what it likes, and nothing is said."""
    with caplog.at_level(logging.DEBUG), trubrics_scope(user_id="alice"):
        pass
    assert ([], 0) == (caplog.messages, spanned())
