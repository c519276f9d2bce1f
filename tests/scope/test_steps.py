"""A scope around each step, and around nothing between: the protocols stay as they are."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace import Scope, current_scope, trubrics_scope
from trubrics_trace.scope._attributes import Attributes
from trubrics_trace.scope._steps import (
    step_async_generator,
    step_async_iterable,
    step_awaitable,
    step_generator,
    step_iterable,
)

Log: TypeAlias = "list[object]"


def user() -> str | None:
    """Return the current user; a str that no test uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else scope.user_id


def scope_of_alice() -> Scope:
    """Return an open scope, current nowhere."""
    return Scope(Attributes(user_id="alice"))


# Bodies that do with what they are sent and thrown whatever a body can do.


def talkative(log: Log) -> Generator[object, object, object]:
    """Tell what is sent and caught, and end by itself."""
    try:
        for number in range(3):
            try:
                log.append((yield number))
            except ValueError as error:
                log.append(error)
                yield "caught"
    finally:
        log.append("finally")
    return "returned"


def stubborn(log: Log) -> Generator[object, object, object]:
    """Go on, whatever is thrown."""
    for number in range(4):
        try:
            yield number
        except BaseException as error:
            log.append(error)
    return "returned"


def delegating(log: Log) -> Generator[object, object, object]:
    """Do what another body does, then raise."""
    log.append((yield from talkative(log)))
    raise KeyError("at the end")


def yielding_at_the_end(log: Log) -> Generator[object, object, object]:
    """Yield, and raise, while it is being ended."""
    try:
        yield 1
    finally:
        log.append((yield "not yet"))
        raise RuntimeError("at the end")


async def async_talkative(log: Log) -> AsyncGenerator[object, object]:
    """Tell what is sent and caught, and end by itself, with pauses."""
    try:
        for number in range(3):
            try:
                await pause()
                log.append((yield number))
            except ValueError as error:
                await pause()
                log.append(error)
                yield "caught"
    finally:
        await pause()
        log.append("finally")


async def async_stubborn(log: Log) -> AsyncGenerator[object, object]:
    """Go on, whatever is thrown."""
    for number in range(4):
        try:
            yield number
        except BaseException as error:
            log.append(error)


async def async_failing(log: Log) -> AsyncGenerator[object, object]:
    """Yield, pause and raise while it is being ended."""
    try:
        yield 1
    finally:
        await pause()
        log.append("finally")
        raise RuntimeError("at the end")


class pause:  # noqa: N801 - read as a word: await pause()
    """One turn of whatever drives the coroutine; no event loop needed."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def drive(work: Awaitable[Any]) -> Any:
    """Run something awaitable to its end."""
    steps = work.__await__()
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


ERRORS = (ValueError, KeyError, GeneratorExit, StopIteration, StopAsyncIteration)
OPERATIONS = st.lists(
    st.one_of(
        st.just(("send", None)),
        st.tuples(st.just("send"), st.integers(1, 2)),
        st.tuples(st.just("throw"), st.sampled_from(ERRORS)),
        st.just(("close", None)),
    ),
    max_size=6,
)


def transcript(
    body: Any, log: Log, operations: list[tuple[str, Any]], run: Callable[[Any], Any]
) -> list[object]:
    """Return what a consumer sees, and what the body saw, operation by operation."""
    seen: list[object] = []
    prefix = "a" if inspect.isasyncgen(body) else ""
    for name, value in operations:
        method = getattr(body, prefix + name)
        thrown = value("thrown") if name == "throw" else None
        try:
            seen.append(run(method() if name == "close" else method(thrown or value)))
        except BaseException as error:
            cause, context = type(error.__cause__), type(error.__context__)
            seen.append((type(error), error.args, error is thrown, cause, context))
        seen.append([(type(e), e.args) if isinstance(e, BaseException) else e for e in log])
    return seen


class TestSameProtocol:
    """To its consumer, and to its body, a stepped generator is the generator itself."""

    @pytest.mark.parametrize("body", [talkative, stubborn, delegating, yielding_at_the_end])
    @given(operations=OPERATIONS, steps_before=st.integers(0, 2))
    def test_generators(
        self,
        body: Callable[[Log], Generator[object, object, object]],
        operations: list[tuple[str, Any]],
        steps_before: int,
    ) -> None:
        """`next`, `send`, `throw`, `close` and what is returned are as they were."""
        seen = []
        for is_stepped in (False, True):
            log: Log = []
            work = body(log)
            for _ in range(steps_before):
                next(work)
            if is_stepped:
                work = step_generator(work, scope_of_alice())
            seen.append(transcript(work, log, operations, lambda result: result))
            finish(work)
        expected, actual = seen
        assert expected == actual

    @pytest.mark.parametrize("body", [async_talkative, async_stubborn, async_failing])
    @given(operations=OPERATIONS)
    def test_async_generators(
        self,
        body: Callable[[Log], AsyncGenerator[object, object]],
        operations: list[tuple[str, Any]],
    ) -> None:
        """`asend`, `athrow` and `aclose` are as they were."""
        seen = []
        for is_stepped in (False, True):
            log: Log = []
            work = body(log)
            if is_stepped:
                work = step_async_generator(work, scope_of_alice())
            seen.append(transcript(work, log, operations, drive))
            drive(async_finish(work))
        expected, actual = seen
        assert expected == actual

    def test_the_same_exception(self) -> None:
        """What is thrown arrives in the body as the very same object, and leaves as it."""
        log: Log = []
        stepped = step_generator(talkative(log), scope_of_alice())
        next(stepped)
        error, fatal = ValueError(), KeyError()
        stepped.throw(error)
        assert error is log[-1]
        next(stepped)
        with pytest.raises(KeyError) as raised:
            stepped.throw(fatal)
        assert fatal is raised.value
        assert fatal.__context__ is None

    def test_names(self) -> None:
        """A stepped generator, async generator and coroutine are called as their bodies."""

        async def coroutine() -> None: ...

        each: list[tuple[Any, Any]] = [
            (step_generator, talkative([])),
            (step_async_generator, async_talkative([])),
            (step_awaitable, coroutine()),
        ]
        for step, body in each:
            stepped = step(body, scope_of_alice())
            assert body.__name__ == stepped.__name__
            assert body.__qualname__ == stepped.__qualname__
            if inspect.iscoroutine(stepped):
                stepped.close()

    def test_readable_traceback(self) -> None:
        """A traceback leads through one frame of ours a step, to the line that raised."""

        def fail() -> Generator[None, None, None]:
            yield
            raise ValueError

        stepped = step_generator(fail(), scope_of_alice())
        next(stepped)
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - it says nothing
            next(stepped)
        names = [entry.name for entry in raised.traceback]
        assert ["test_readable_traceback", "_steps", "fail"] == names


class TestScopeOfSteps:
    """The scope is current inside each step, and nowhere else."""

    def test_generators(self) -> None:
        """The body sees the scope at every step, the consumer at none."""

        def body() -> Generator[str | None, None, None]:
            yield user()
            try:
                yield user()
            finally:
                seen_at_the_end.append(user())

        seen_at_the_end: list[str | None] = []
        stepped = step_generator(body(), scope_of_alice())
        with trubrics_scope(user_id="bob"):
            seen = [user(), next(stepped), user(), next(stepped), user()]
            stepped.close()
            assert ["bob", "alice", "bob", "alice", "bob"] == seen
            assert "bob" == user()
        assert ["alice"] == seen_at_the_end

    def test_async_generators(self) -> None:
        """So it is for async generators, through every pause."""

        async def body() -> AsyncGenerator[str | None, None]:
            yield user()
            await asyncio.sleep(0)
            yield user()

        async def main() -> None:
            stepped = step_async_generator(body(), scope_of_alice())
            async with trubrics_scope(user_id="bob"):
                seen = [user()]
                async for part in stepped:
                    seen += [part, user()]
                assert ["bob", "alice", "bob", "alice", "bob"] == seen

        asyncio.run(main())

    def test_awaitables(self) -> None:
        """What is awaited has the scope to its end; who awaits it gets its own back."""

        async def body() -> list[str | None]:
            first = user()
            await asyncio.sleep(0)
            return [first, user()]

        async def main() -> list[str | None]:
            return [*await step_awaitable(body(), scope_of_alice()), user()]

        assert ["alice", "alice", "no scope"] == asyncio.run(main())

    def test_iterables(self) -> None:
        """Iterables that are no generators are taken step by step as well."""

        class Users:
            def __iter__(self) -> Users:
                return self

            def __next__(self) -> str | None:
                return user()

            __aiter__ = __iter__

            async def __anext__(self) -> str | None:
                return user()

        stepped = step_iterable(Users(), scope_of_alice())
        assert ["alice", "no scope"] == [next(stepped), user()]
        async_stepped = step_async_iterable(Users(), scope_of_alice())
        assert ["alice", "no scope"] == [drive(async_stepped.asend(None)), user()]

    @pytest.mark.parametrize("closes", [False, True])
    def test_inner_scopes_survive(self, closes: bool) -> None:
        """A scope that the body opened is current again when the body goes on."""

        def body() -> Generator[str | None, None, None]:
            with trubrics_scope(user_id="bob") as inner:
                opened.append(inner)
                yield user()
                yield user()
            yield user()

        opened: list[Scope] = []
        stepped = step_generator(body(), scope_of_alice())
        seen = [next(stepped), user(), next(stepped), user()]
        assert ["bob", "no scope", "bob", "no scope"] == seen
        if closes:
            stepped.close()
        else:
            assert ["alice", "no scope"] == [next(stepped), user()]
        assert not opened[0].is_open
        assert "no scope" == user()

    def test_async_inner_scopes_survive(self) -> None:
        """So it is for async generators."""

        async def body() -> AsyncGenerator[str | None, None]:
            async with trubrics_scope(user_id="bob"):
                yield user()
                await asyncio.sleep(0)
                yield user()
            yield user()

        async def main() -> list[str | None]:
            stepped = step_async_generator(body(), scope_of_alice())
            return [who async for part in stepped for who in (part, user())]

        expected = ["bob", "no scope", "bob", "no scope", "alice", "no scope"]
        assert expected == asyncio.run(main())

    def test_interleaved(self) -> None:
        """Generators that take turns do not see each other's scopes."""

        def body() -> Generator[str | None, None, None]:
            with trubrics_scope(tags="inner"):
                while True:
                    yield user()

        names = ["alice", "bob", "carol"]
        stepped = [
            step_generator(body(), Scope(Attributes(user_id=name))) for name in names
        ]
        for _ in range(3):
            assert names == [next(one) for one in stepped]
        assert "no scope" == user()

    def test_nested(self) -> None:
        """One inside another has its own scope, and the other then its own again."""

        def inner() -> Generator[str | None, None, None]:
            yield user()

        def outer() -> Generator[str | None, None, None]:
            yield from step_generator(inner(), Scope(Attributes(user_id="bob")))
            yield user()

        assert ["bob", "alice"] == list(step_generator(outer(), scope_of_alice()))


class TestEnds:
    """The scope closes when the body ends, however it ends."""

    @pytest.mark.parametrize("is_begun", [True, False])
    @pytest.mark.parametrize("ending", ["exhausted", "closed", "raised", "collected"])
    def test_generators(self, ending: str, is_begun: bool) -> None:
        """Exhausted, closed, raised or collected, begun or not: the scope is closed."""
        scope = scope_of_alice()
        work = step_generator(talkative([]), scope)
        if is_begun:
            next(work)
            assert scope.is_open
        if ending == "exhausted":
            list(work)
        elif ending == "closed":
            work.close()
        elif ending == "raised":
            with pytest.raises(KeyError):
                work.throw(KeyError())
        del work
        gc.collect()
        assert not scope.is_open

    @pytest.mark.parametrize("ending", ["exhausted", "closed", "raised", "closed unbegun"])
    def test_async_generators(self, ending: str) -> None:
        """So it is for async generators."""

        async def main(scope: Scope) -> None:
            work = step_async_generator(async_talkative([]), scope)
            if ending != "closed unbegun":
                await work.asend(None)
            if ending == "exhausted":
                assert [1, 2] == [part async for part in work]
            elif ending == "raised":
                with pytest.raises(KeyError):
                    await work.athrow(KeyError())
            else:
                await work.aclose()
            del work
            gc.collect()
            assert not scope.is_open

        asyncio.run(main(scope_of_alice()))

    @pytest.mark.parametrize("is_begun", [True, False])
    def test_async_generators_collected(self, is_begun: bool) -> None:
        """Of a dropped async generator the loop runs the `finally`, inside the scope."""

        async def body() -> AsyncGenerator[int, None]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                seen.append(user())

        async def main(scope: Scope) -> None:
            work = step_async_generator(body(), scope)
            if is_begun:
                await work.asend(None)
            del work
            gc.collect()
            await until(lambda: not scope.is_open)
            assert "no scope" == user()

        seen: list[str | None] = []
        asyncio.run(main(scope_of_alice()))
        assert ["alice"] * is_begun == seen

    def test_many_async_generators_collected(self) -> None:
        """Of a hundred dropped at once each runs its `finally` in its own scope."""

        async def body() -> AsyncGenerator[str | None, None]:
            before = user()
            try:
                while True:
                    yield before
            finally:
                await asyncio.sleep(0)
                seen.append((before, user()))

        async def main() -> None:
            scopes = [Scope(Attributes(user_id=str(number))) for number in range(100)]
            for scope in scopes:
                async for _ in step_async_generator(body(), scope):
                    break
            gc.collect()
            await until(lambda: not any(scope.is_open for scope in scopes))

        seen: list[tuple[str | None, str | None]] = []
        asyncio.run(main())
        assert {(str(number), str(number)) for number in range(100)} == set(seen)

    def test_at_the_end_of_the_loop(self, caplog: pytest.LogCaptureFixture) -> None:
        """A loop that ends closes an async generator once, inside its scope, in silence."""

        async def body() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                seen.append(user())

        async def main() -> None:
            kept.append(step_async_generator(body(), scope))
            await kept[0].asend(None)

        seen: list[str | None] = []
        kept: list[AsyncGenerator[int, None]] = []
        scope = scope_of_alice()
        asyncio.run(main())
        assert ["alice"] == seen
        assert [] == caplog.messages
        assert not scope.is_open

    def test_a_loop_that_leaves_generators_behind(self) -> None:
        """What a loop leaves behind unfinished stays unfinished: nothing is raised."""

        async def body() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                await asyncio.sleep(0)

        async def begin(work: AsyncGenerator[int, None]) -> int:
            return await work.asend(None)

        loop = asyncio.new_event_loop()
        work = step_async_generator(body(), scope_of_alice())
        assert 1 == loop.run_until_complete(begin(work))
        loop.close()
        del work
        gc.collect()  # an error here would be told as an unraisable one

    def test_without_a_loop(self) -> None:
        """Without any loop a dropped async generator runs its `finally` at once."""

        async def body() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                seen.append(user())

        seen: list[str | None] = []
        work = step_async_generator(body(), scope_of_alice())
        assert 1 == drive(work.asend(None))
        del work
        gc.collect()
        assert ["alice"] == seen

    @pytest.mark.parametrize("ending", ["returned", "raised", "closed", "collected"])
    def test_awaitables(self, ending: str) -> None:
        """So it is for what is awaited; closed before its first step, nothing complains."""

        async def body() -> None:
            await pause()
            if ending == "raised":
                raise KeyError

        scope = scope_of_alice()
        work = step_awaitable(body(), scope)
        if ending == "returned":
            drive(work)
        elif ending == "raised":
            with pytest.raises(KeyError):
                drive(work)
        elif ending == "closed":
            work.close()
            del work
        else:
            with pytest.warns(RuntimeWarning, match="never awaited") as warned:
                del work
                gc.collect()
            assert 1 == len(warned)
            assert "test_awaitables.<locals>.body" in str(warned[0].message)
            warned.clear()  # it keeps what it warns of
        assert not scope.is_open


class TestAnywhere:
    """A step may be taken on any thread, in any task, in any context."""

    def test_each_step_on_another_thread(self) -> None:
        """A generator that is handed from thread to thread has its scope on each."""

        def body() -> Generator[tuple[str | None, int], None, None]:
            with trubrics_scope(tags="inner"):
                for _ in range(4):
                    yield user(), threading.get_ident()

        scope = scope_of_alice()
        stepped = step_generator(body(), scope)
        seen = []
        for _ in range(4):
            with ThreadPoolExecutor(1) as thread:
                seen.append(thread.submit(next, stepped).result(10)[0])
                assert "no scope" == thread.submit(user).result(10)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(stepped.close).result(10)
        assert ["alice"] * 4 == seen
        assert not scope.is_open

    def test_each_step_in_another_task(self) -> None:
        """An async generator that is handed from task to task has its scope in each."""

        async def body() -> AsyncGenerator[str | None, None]:
            async with trubrics_scope(tags="inner"):
                for _ in range(3):
                    await asyncio.sleep(0)
                    yield user()

        async def step(work: AsyncGenerator[str | None, None]) -> list[str | None]:
            return [await work.asend(None), user()]

        async def main() -> None:
            work = step_async_generator(body(), scope)
            for _ in range(3):
                assert ["alice", "no scope"] == await asyncio.create_task(step(work))
            await asyncio.create_task(closing(work))

        async def closing(work: AsyncGenerator[str | None, None]) -> None:
            await work.aclose()

        scope = scope_of_alice()
        asyncio.run(main())
        assert not scope.is_open

    @pytest.mark.parametrize("ending", ["close", "throw", "collect"])
    def test_suspended_and_ended_elsewhere(self, ending: str) -> None:
        """A step that waits, and is ended from another context, leaves nothing there."""

        async def body() -> AsyncGenerator[str | None, None]:
            try:
                await pause()
                yield user()
            finally:
                seen.append(user())

        async def consume() -> None:
            async for _ in step_async_generator(body(), scope):
                pass

        seen: list[str | None] = []
        scope = scope_of_alice()
        consumer: Coroutine[Any, Any, None] = consume()
        context = copy_context()
        context.run(consumer.send, None)
        with trubrics_scope(user_id="bob") as mine:
            if ending == "close":
                consumer.close()
            elif ending == "throw":
                with pytest.raises(KeyError):
                    consumer.throw(KeyError())
            del consumer
            gc.collect()
            assert mine is current_scope()
        assert not scope.is_open
        assert "no scope" == context.run(user)
        assert 1 == len(seen)

    def test_a_suspended_awaitable_closed_elsewhere(self) -> None:
        """What waits in a scope, and is closed from another context, leaves none there."""

        async def body() -> None:
            await pause()

        scope = scope_of_alice()
        work = step_awaitable(body(), scope)
        copy_context().run(work.send, None)
        with trubrics_scope(user_id="bob") as mine:
            work.close()
            assert mine is current_scope()
        assert not scope.is_open
        assert "no scope" == user()


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop go on until something is so, ten seconds at most."""
    deadline = asyncio.get_running_loop().time() + 10
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0)


def finish(work: Generator[object, object, object]) -> None:
    """Take a generator to its end, whatever it does until then."""
    while inspect.getgeneratorstate(work) != inspect.GEN_CLOSED:
        with contextlib.suppress(BaseException):
            next(work)


async def async_finish(work: AsyncGenerator[object, object]) -> None:
    """Take an async generator to its end, whatever it does until then."""
    for _ in range(10):
        try:
            await work.asend(None)
        except BaseException:
            return
