"""A scope that outlives its block on purpose."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from trubrics_trace import Scope, carry_scope, current_scope, identify, trubrics_scope
from trubrics_trace.errors import ConfigurationError


def user() -> str | None:
    """Return the current user; a str that no test uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else scope.user_id


def user_and(word: str, *, end: str = "") -> str:
    """Return the current user, and what was given."""
    return f"{user()} {word}{end}"


async def user_later() -> str | None:
    """Return the current user, after a while."""
    await asyncio.sleep(0)
    return user()


def user_twice() -> Generator[str | None, str, str]:
    """Yield the current user, then what was sent; return the current user."""
    sent = yield user()
    yield sent
    return f"returned to {user()}"


async def user_twice_later() -> AsyncGenerator[str | None, str]:
    """Yield the current user, then what was sent."""
    await asyncio.sleep(0)
    sent = yield user()
    await asyncio.sleep(0)
    yield sent
    yield user()


class Users:
    """An iterator that is no generator."""

    def __iter__(self) -> Iterator[str | None]:
        return self

    def __next__(self) -> str | None:
        return user()


class Ask:
    """An object that is called like a function."""

    def __call__(self) -> str | None:
        """Return the current user."""
        return user()


class AskLater:
    """An object that is called like an async function."""

    async def __call__(self) -> str | None:
        """Return the current user, after a while."""
        return await user_later()


class Awaitable:
    """Something to await that is no coroutine."""

    def __await__(self) -> Generator[Any, Any, str | None]:
        return user_later().__await__()


def bound(work: Any) -> Any:
    """Return the work, carried out of a scope of alice's that has closed since."""
    with trubrics_scope(user_id="alice", tags="outer"):
        return carry_scope(work)


class TestFunctions:
    """A function whose every call has the scope that was current when it was bound."""

    @pytest.mark.parametrize(
        "work", [user, Ask(), Ask().__call__, functools.partial(user), lambda: user()]
    )
    def test_after_the_scope_has_closed(self, work: Callable[[], str | None]) -> None:
        """Called when the block is long gone, it still has the scope's user."""
        carried = bound(work)
        assert ["alice", "alice"] == [carried(), carried()]
        assert current_scope() is None

    def test_inside_another_scope(self) -> None:
        """Called inside another scope it has its own, and gives the other back."""
        carried = bound(user)
        with trubrics_scope(user_id="bob") as here:
            assert "alice" == carried()
            assert here is current_scope()

    def test_looks_the_same(self) -> None:
        """It takes what the function takes, returns what it returns, and has its name."""
        carried = bound(user_and)
        assert "alice and so on." == carried("and so on", end=".")
        assert "user_and" == carried.__name__
        assert user_and.__doc__ == carried.__doc__
        assert inspect.signature(user_and) == inspect.signature(carried)

    def test_exceptions_pass(self) -> None:
        """What it raises is raised, and no scope stays behind."""
        error = KeyboardInterrupt()

        def fail() -> None:
            raise error

        with pytest.raises(KeyboardInterrupt) as raised:
            bound(fail)()
        assert error is raised.value
        assert current_scope() is None

    def test_each_call_has_a_scope_of_its_own(self) -> None:
        """A call's scope is opened inside the carried one, and closes with the call."""
        carried = bound(current_scope)
        first, second = carried(), carried()
        assert first is not second
        assert not first.is_open
        assert ("outer",) == first.tags

    def test_a_context_that_outlives_the_call(self) -> None:
        """What outlives a carried call is late, as it is after any scope."""
        assert "no scope" == bound(copy_context)().run(user)

    def test_identify(self) -> None:
        """Work that was carried learns of the user that its origin learns of."""
        with trubrics_scope() as origin:
            carried = carry_scope(user)
            identify("alice")
        assert "alice" == origin.user_id
        assert "alice" == carried()

    @pytest.mark.parametrize("work", [user_later, AskLater(), lambda: user_later()])
    def test_async(self, work: Callable[[], Any]) -> None:
        """Of an async function each call is carried to its end."""
        carried = bound(work)

        async def main() -> list[str | None]:
            return [await carried(), *await asyncio.gather(carried(), carried())]

        assert ["alice"] * 3 == asyncio.run(main())

    def test_async_stays_async(self) -> None:
        """A coroutine function stays one."""
        assert inspect.iscoroutinefunction(bound(user_later))

    def test_generator_functions(self) -> None:
        """Of a generator function each generator is carried to its end."""
        assert ["alice", None] == list(bound(user_twice)())

    def test_async_generator_functions(self) -> None:
        """Of an async generator function each generator is carried to its end."""

        async def main() -> list[str | None]:
            return [part async for part in bound(user_twice_later)()]

        assert ["alice", None, "alice"] == asyncio.run(main())


class TestPiecesOfWork:
    """A coroutine, a generator, an iterator: carried once, to its end."""

    @pytest.mark.parametrize("begin", [user_later, Awaitable])
    def test_awaitables(self, begin: Callable[[], Any]) -> None:
        """A coroutine, or anything else to await, has the scope wherever it runs."""

        async def main() -> list[str | None]:
            task = asyncio.create_task(bound(begin()))
            return [await task, await bound(begin()), user()]

        assert ["alice", "alice", "no scope"] == asyncio.run(main())

    def test_generators(self) -> None:
        """A generator stays one, and has the scope at each step, and only there."""
        carried = bound(user_twice())
        assert bool(inspect.isgenerator(carried))
        assert "alice" == next(carried)
        assert "no scope" == user()
        assert "sent" == carried.send("sent")
        with pytest.raises(StopIteration) as stop:
            next(carried)
        assert "returned to alice" == stop.value.value

    def test_async_generators(self) -> None:
        """An async generator stays one, and has the scope at each step."""

        async def main() -> list[str | None]:
            carried = bound(user_twice_later())
            assert bool(inspect.isasyncgen(carried))
            return [
                await carried.asend(None),
                user(),
                await carried.asend("sent"),
                *[part async for part in carried],
            ]

        assert ["alice", "no scope", "sent", "alice"] == asyncio.run(main())

    def test_other_iterators(self) -> None:
        """An iterator that is no generator has the scope at each step as well."""
        carried = bound(Users())
        assert ["alice", "no scope", "alice"] == [next(carried), user(), next(carried)]

    def test_closes_its_scope(self) -> None:
        """The scope of carried work closes when the work ends."""

        def scopes() -> Generator[Scope | None, None, None]:
            yield current_scope()

        carried = bound(scopes())
        scope = next(carried)
        assert scope.is_open
        carried.close()
        assert not scope.is_open

    @pytest.mark.parametrize("work", [5, "text", None, [], {}])
    def test_what_does_not_run(self, work: object) -> None:
        """What is nothing that runs is refused, by its type."""
        with pytest.raises(ConfigurationError, match=f"cannot carry {type(work).__name__}"):
            carry_scope(work)


class TestFromNowhere:
    """Work carried from where no scope is open has none, wherever it runs."""

    def test_has_no_scope(self) -> None:
        """It does not take the scope that is current where it happens to run."""
        carried, generator = carry_scope(user), carry_scope(user_twice())
        coroutine = carry_scope(user_later())
        with trubrics_scope(user_id="bob"):
            assert "no scope" == carried()
            assert "no scope" == next(generator)
            assert "no scope" == asyncio.run(coroutine)
            assert "bob" == user()

    def test_may_open_its_own(self) -> None:
        """A scope that it opens itself is as good as any."""

        def work() -> tuple[str | None, bool]:
            with trubrics_scope(user_id="alice") as scope:
                return user(), scope.is_enabled

        assert ("alice", True) == carry_scope(work)()

    def test_after_the_scope_has_closed(self) -> None:
        """Work that is bound only after the scope has closed is too late for it."""
        with trubrics_scope(user_id="alice"):
            kept = copy_context()
        assert "no scope" == kept.run(carry_scope, user)()


class TestExecutors:
    """An executor whose work has the scope that was current at its `submit`."""

    @pytest.fixture(params=["created outside", "created inside"])
    def pool(self, request: pytest.FixtureRequest) -> Iterator[Executor]:
        """Return a carrying executor, created under another user or under none."""
        with ThreadPoolExecutor(2) as threads:
            if request.param == "created outside":
                yield carry_scope(threads)
            else:
                with trubrics_scope(user_id="creator"):
                    carrying = carry_scope(threads)
                yield carrying

    def test_submit(self, pool: Executor) -> None:
        """Each `submit` carries its own scope, also on a thread that had another."""
        futures: list[Future[str]] = []
        for name in ("alice", "bob", "carol"):
            with trubrics_scope(user_id=name):
                futures.append(pool.submit(user_and, "and", end="!"))
        futures.append(pool.submit(user_and, "outside"))
        expected = ["alice and!", "bob and!", "carol and!", "no scope outside"]
        assert expected == [future.result(10) for future in futures]

    def test_map(self, pool: Executor) -> None:
        """`map` carries the scope that is current where it is called."""
        with trubrics_scope(user_id="alice"):
            users = pool.map(user_and, "abc", timeout=10)
        assert ["alice a", "alice b", "alice c"] == list(users)

    def test_after_the_scope_has_closed(self) -> None:
        """Work that waited in the queue until its scope had closed still has it."""
        with ThreadPoolExecutor(1) as threads:
            pool = carry_scope(threads)
            may_go_on = threading.Event()
            threads.submit(may_go_on.wait, 10)
            with trubrics_scope(user_id="alice"):
                waiting = pool.submit(user)
            may_go_on.set()
            assert "alice" == waiting.result(10)

    def test_in_a_loop(self, pool: Executor) -> None:
        """`run_in_executor` takes it like any executor."""

        async def main() -> str | None:
            async with trubrics_scope(user_id="alice"):
                return await asyncio.get_running_loop().run_in_executor(pool, user)

        assert "alice" == asyncio.run(main())

    def test_as_the_default_of_a_loop(self) -> None:
        """It is of the class that it carries for, which asyncio asks of its default."""

        async def main() -> str | None:
            loop = asyncio.get_running_loop()
            carrying = carry_scope(ThreadPoolExecutor(1))
            assert isinstance(carrying, ThreadPoolExecutor)
            loop.set_default_executor(carrying)
            with trubrics_scope(user_id="alice"):
                return await loop.run_in_executor(None, user)

        assert "alice" == asyncio.run(main())

    def test_shutdown(self) -> None:
        """It is left, shut down and asked like the executor that it carries for."""
        with ThreadPoolExecutor(1, thread_name_prefix="mine") as threads:
            with carry_scope(threads) as pool:
                assert threads._threads is pool._threads
                assert f"<carrying {threads!r}>" == repr(pool)
            with pytest.raises(RuntimeError, match="after shutdown"):
                threads.submit(user)

    def test_other_processes(self) -> None:
        """A pool of processes is refused: a scope cannot go there."""
        refused = pytest.raises(ConfigurationError, match="to another process")
        with ProcessPoolExecutor(1) as processes, refused:
            carry_scope(processes)
