"""What is open, what is closed, and what is current; also under many threads and tasks."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace import (
    Scope,
    configure,
    current_scope,
    identify,
    stats,
    trubrics_scope,
    trubrics_trace,
)
from trubrics_trace.errors import TelemetryError
from trubrics_trace.scope._current import scope_was_opened_here


def user() -> str | None:
    """Return the current user; a str that no test uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else scope.user_id


def open_by(scope: trubrics_scope) -> Scope:
    """Enter a scope object for good, or until `close_by`."""
    return scope.__enter__()


def close_by(scope: trubrics_scope) -> None:
    """Leave a scope object."""
    scope.__exit__(None, None, None)


class TestOpenAndClosed:
    """A scope is current inside its block, and nowhere once it has closed."""

    def test_a_scope_is_current_inside_its_block(self) -> None:
        """The scope that the block opened is current in it, and not after it."""
        with trubrics_scope(user_id="alice") as scope:
            assert scope is current_scope()
            assert scope.is_open
        assert current_scope() is None
        assert not scope.is_open

    def test_async_with(self) -> None:
        """A scope may be opened by `async with` as well."""

        async def main() -> None:
            async with trubrics_scope(user_id="alice") as scope:
                assert scope is current_scope()
            assert current_scope() is None
            assert not scope.is_open

        asyncio.run(main())

    def test_leaving_restores_the_outer_scope(self) -> None:
        """After an inner block the outer scope is current again."""
        with trubrics_scope(user_id="alice") as outer:
            with trubrics_scope(user_id="bob"):
                assert "bob" == user()
            assert outer is current_scope()

    @pytest.mark.parametrize(
        "error",
        [ValueError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()],
    )
    def test_exceptions_pass_unchanged(self, error: BaseException) -> None:
        """What is raised inside a block leaves it as it is, and the scope closed."""
        with pytest.raises(type(error)) as raised, trubrics_scope(user_id="alice"):
            raise error
        assert error is raised.value
        assert error.__context__ is None
        assert current_scope() is None

    def test_a_closed_scope_is_never_current(self) -> None:
        """A context that outlives a scope has no scope."""
        with trubrics_scope(user_id="alice"):
            kept = copy_context()
        assert "no scope" == kept.run(user)
        assert kept.run(scope_was_opened_here)

    @pytest.mark.parametrize(
        ("outer", "inner", "expected"),
        [
            ({"user_id": "alice"}, {"user_id": "bob"}, "no scope"),
            ({"user_id": "alice"}, {"user_id": None}, "no scope"),
            ({}, {"user_id": "bob"}, "no scope"),
            ({"user_id": "alice"}, {"user_id": "alice"}, "alice"),
            ({"user_id": "alice"}, {"tags": "inner"}, "alice"),
            ({}, {}, None),
            ({"user_id": "alice"}, {"fresh": True}, "no scope"),
            ({"user_id": "alice"}, {"user_id": "alice", "fresh": True}, "no scope"),
        ],
    )
    def test_falling_back(
        self, outer: dict[str, Any], inner: dict[str, Any], expected: str | None
    ) -> None:
        """From a closed scope only an open enclosing one of the same user takes over."""
        with trubrics_scope(**outer):
            with trubrics_scope(**inner):
                kept = copy_context()
            assert expected == kept.run(user)
        assert "no scope" == kept.run(user)

    def test_the_same_user_twice(self) -> None:
        """It is the same user whose id is equal, each made of a number anew."""
        with trubrics_scope(user_id=1001):
            with trubrics_scope(user_id=1001):
                kept = copy_context()
            assert "1001" == kept.run(user)

    def test_falling_back_passes_over_closed_ones(self) -> None:
        """The nearest *open* enclosing scope answers, however many have closed."""
        with trubrics_scope(user_id="alice") as outer:
            with trubrics_scope(), trubrics_scope(), trubrics_scope():
                kept = copy_context()
            assert outer is kept.run(current_scope)

    def test_a_new_scope_has_no_closed_parent(self) -> None:
        """What is opened where only a closed scope is found inherits nothing from it."""
        with trubrics_scope(user_id="alice", tags="outer"):
            kept = copy_context()

        def open_another() -> tuple[str | None, tuple[str, ...]]:
            with trubrics_scope() as scope:
                return scope.user_id, scope.tags

        assert (None, ()) == kept.run(open_another)

    def test_closed_scopes_are_not_kept(self) -> None:
        """Of many scopes that closed, the context they were opened in keeps a few."""
        kept = copy_context()
        closed = []
        for number in range(100):
            scope = kept.run(open_by, trubrics_scope(user_id=number))
            scope.close()  # by somebody else: the context still holds it
            closed.append(weakref.ref(scope))
        del scope
        gc.collect()
        assert 3 >= sum(reference() is not None for reference in closed)


class TestAnyOrder:
    """Scopes may be closed in any order, in any context."""

    def test_out_of_order(self) -> None:
        """Two scopes closed in the order of their opening give back what was before."""
        first, second = trubrics_scope(user_id="alice"), trubrics_scope(user_id="bob")
        with trubrics_scope(user_id="outer"):
            open_by(first)
            open_by(second)
            close_by(first)
            assert "bob" == user()
            close_by(second)
            assert "outer" == user()
        assert "no scope" == user()
        assert not scope_was_opened_here()

    @given(st.permutations(range(5)))
    def test_every_order(self, order: list[int]) -> None:
        """The youngest open scope is current, in whatever order they are closed."""
        scopes = [trubrics_scope(user_id=number) for number in range(5)]
        still_open = {number: open_by(scope) for number, scope in enumerate(scopes)}
        for number in order:
            close_by(scopes[number])
            assert not still_open.pop(number).is_open
            expected = still_open[max(still_open)] if still_open else None
            assert expected is current_scope()
        assert not scope_was_opened_here()

    def test_closed_in_another_context(self) -> None:
        """A scope that is closed from another context is current in neither."""
        scope = trubrics_scope(user_id="alice")
        elsewhere = copy_context()
        open_by(scope)
        elsewhere.run(close_by, scope)
        assert "no scope" == user()
        assert "no scope" == elsewhere.run(user)

    def test_closing_elsewhere_disturbs_nobody(self) -> None:
        """Closing a scope of another context leaves what is current here alone."""
        scope, elsewhere = trubrics_scope(user_id="alice"), copy_context()
        elsewhere.run(open_by, scope)
        with trubrics_scope(user_id="bob"):
            close_by(scope)
            assert "bob" == user()
        assert "no scope" == elsewhere.run(user)

    def test_closing_twice_is_closing_once(self) -> None:
        """A scope object left more often than it was entered closes nothing else."""
        scope = trubrics_scope(user_id="bob")
        with trubrics_scope(user_id="alice"):
            open_by(scope)
            close_by(scope)
            close_by(scope)
            assert "alice" == user()


class TestKeptScope:
    """A scope object may be kept, and entered again and again."""

    def test_each_entry_is_a_new_scope(self) -> None:
        """A kept scope object opens another scope at each entry."""
        kept = trubrics_scope(user_id="alice")
        with kept as first:
            pass
        with kept as second:
            assert second is current_scope()
        assert first is not second
        assert not first.is_open

    def test_entered_recursively(self) -> None:
        """A scope object entered inside itself is left as often as it was entered."""
        kept = trubrics_scope(user_id="alice", tags="kept")
        with kept as outer, trubrics_scope(user_id="bob") as middle:
            with kept as inner:
                assert "alice" == user()
                assert ("kept",) == inner.tags
            assert middle is current_scope()
            assert not inner.is_open
            assert outer.is_open
        assert not outer.is_open
        assert "no scope" == user()

    def test_callables_are_asked_at_each_entry(self) -> None:
        """A callable says anew who it is, each time that the scope is entered."""
        users = iter(["alice", "bob"])
        kept = trubrics_scope(user_id=lambda: next(users))
        with kept as first, kept as second:
            assert ["alice", "bob"] == [first.user_id, second.user_id]

    def test_shared_by_tasks(self) -> None:
        """Tasks that share one scope object each leave the scope that they entered."""
        kept = trubrics_scope(user_id=lambda: next(numbers))
        numbers = iter(range(100))

        async def work(order: random.Random) -> None:
            async with kept as mine:
                for _ in range(order.randrange(5)):
                    await asyncio.sleep(0)
                    assert mine is current_scope()
                    assert mine.is_open
            assert not mine.is_open
            assert current_scope() is None

        async def main() -> None:
            await asyncio.gather(*(work(random.Random(seed)) for seed in range(100)))

        asyncio.run(main())

    def test_shared_by_threads(self) -> None:
        """Threads that share one scope object each leave the scope that they entered."""
        kept = trubrics_scope(user_id=threading.get_ident)
        together = threading.Barrier(8)

        def work(_: int) -> bool:
            together.wait(timeout=10)
            for _ in range(200):
                with kept as mine:
                    found = current_scope()
                    if mine is not found or str(threading.get_ident()) != mine.user_id:
                        return False
                if mine.is_open or current_scope() is not None:
                    return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert [True] * 8 == list(pool.map(work, range(8)))


class TestFresh:
    """`fresh=True` starts from nothing."""

    def test_nothing_is_inherited(self) -> None:
        """A fresh scope has only what is said to it."""
        with trubrics_scope(user_id="alice", thread_id="t", tags="outer", plan="free"):
            with trubrics_scope(fresh=True, tags="inner") as scope:
                assert scope.user_id is None
                assert scope.thread_id is None
                assert ("inner",) == scope.tags
                assert {} == scope.metadata
            assert "alice" == user()

    def test_enclosing(self) -> None:
        """A fresh scope inherits nothing, yet is enclosed by what it was opened in."""
        with trubrics_scope() as outer, trubrics_scope(fresh=True) as inner:
            assert outer.encloses(inner)
            assert inner.encloses(inner)
            assert not inner.encloses(outer)
            assert not inner.encloses(None)


class TestEnabled:
    """`enabled=False` records nothing inside."""

    @pytest.mark.parametrize(
        "inner", [{}, {"enabled": True}, {"fresh": True}, {"user_id": "alice"}]
    )
    def test_nothing_inside_is_enabled(self, inner: dict[str, Any]) -> None:
        """Whatever is opened in a disabled scope is disabled as well."""
        with trubrics_scope(enabled=False) as outer, trubrics_scope(**inner) as scope:
            assert not outer.is_enabled
            assert not scope.is_enabled

    def test_the_outer_scope_stays_enabled(self) -> None:
        """Disabling an inner scope leaves the outer one as it is."""
        with trubrics_scope() as outer, trubrics_scope(enabled=False):
            assert outer.is_enabled


class TestNoDecorator:
    """A scope is no decorator, and says what is."""

    @pytest.mark.parametrize(
        "decorate",
        [trubrics_scope(), trubrics_scope(user_id="alice"), trubrics_scope],
        ids=["called", "called with a user", "bare"],
    )
    def test_used_as_a_decorator(self, decorate: Callable[..., Any]) -> None:
        """A scope put above a function is a TypeError that names the decorator."""
        with pytest.raises(TypeError, match="trubrics_trace"):
            decorate(user)


class TestTold:
    """What a scope tells of itself."""

    def test_repr(self) -> None:
        """A scope tells whether it is open, and who it is, and nothing else."""
        with trubrics_scope(
            user_id="alice", thread_id="t", tags="chat", token="secret"
        ) as scope:
            expected = "user_id='alice' thread_id='t' tags=('chat',)>"
            assert f"<Scope open {expected}" == repr(scope)
        assert f"<Scope closed {expected}" == repr(scope)

    def test_repr_of_a_scope_object(self) -> None:
        """A scope object tells what it was given, and where its callables stand."""
        scope = trubrics_scope(user_id=user, tags=["chat"])
        line = user.__code__.co_firstlineno
        expected = f"trubrics_scope(tags=['chat'], user_id=user at test_current.py:{line})"
        assert expected == repr(scope)


class TestIdentify:
    """`identify` says who it is, to everything that shares the scope."""

    def test_the_current_scope_learns_it(self) -> None:
        """From here on the current scope has this user, and what else was said."""
        with trubrics_scope(tags="outer", plan="free") as scope:
            identify("alice", thread_id=7, tags="known", plan="paid")
            assert ("alice", "7") == (scope.user_id, scope.thread_id)
            assert ("outer", "known") == scope.tags
            assert {"plan": "paid"} == scope.metadata

    def test_outward_to_the_root(self) -> None:
        """Each enclosing scope learns it, up to the nearest root, and none beyond."""
        with (
            trubrics_scope() as beyond,
            trubrics_scope(fresh=True) as root,
            trubrics_scope(tags="middle") as middle,
            trubrics_scope() as inner,
        ):
            identify("alice")
            users = [scope.user_id for scope in (beyond, root, middle, inner)]
        assert [None, "alice", "alice", "alice"] == users

    @pytest.mark.parametrize("own", ["bob", None, ""])
    def test_stops_before_a_user_of_its_own(self, own: str | None) -> None:
        """A scope that was given a user, or nobody, keeps it, as do those around it."""
        with (
            trubrics_scope() as root,
            trubrics_scope(user_id=own) as given,
            trubrics_scope() as inner,
        ):
            identify("alice")
            users = [scope.user_id for scope in (root, given, inner)]
        assert [None, own or None, "alice"] == users

    def test_the_current_scope_is_corrected(self) -> None:
        """The current scope learns it even if it was given a user of its own."""
        with trubrics_scope(user_id="bob") as scope:
            identify("alice")
            assert "alice" == scope.user_id

    @pytest.mark.parametrize("step", range(40))
    def test_a_reader_in_the_middle_of_another(self, step: int) -> None:
        """Who reads while another thread is about to is told whom `identify` named."""
        seen: list[str | None] = []
        steps = itertools.count()

        def look(frame: FrameType, event: str, _: object) -> Any:
            if frame.f_code.co_name != "attributes":
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                sys.settrace(None)  # what comes in between is another's
                number = next(steps)
                if number == step:
                    identify("bob")
                if number >= step:
                    seen.append(scope.user_id)
                sys.settrace(look)
            return look

        with trubrics_scope(user_id="alice") as scope:
            before = sys.gettrace()
            sys.settrace(look)
            try:
                assert scope.attributes.user_id in ("alice", "bob")
            finally:
                sys.settrace(before)
            assert scope.user_id == ("bob" if seen else "alice")
        assert {"bob"} >= set(seen)

    def test_a_second_time(self) -> None:
        """Whom `identify` named, the next `identify` corrects, outward to the root."""
        with trubrics_scope(fresh=True) as root:
            with trubrics_scope() as inner:
                identify("visitor-7")
                identify("alice")
                assert ["alice"] * 2 == [root.user_id, inner.user_id]
            identify(None)
            assert root.user_id is None

    def test_scopes_opened_before_learn_it(self) -> None:
        """An open scope further in reads the new user through."""
        with trubrics_scope() as root, trubrics_scope() as inner:
            elsewhere = copy_context()
            with trubrics_scope(user_id="bob") as given:
                elsewhere.run(identify, "alice")
                users = [scope.user_id for scope in (root, inner, given)]
        assert ["alice", "alice", "bob"] == users

    def test_from_another_thread(self) -> None:
        """A thread with a copy of the context tells it to the request that it serves."""
        with trubrics_scope(fresh=True) as root:
            context = copy_context()
            thread = threading.Thread(target=context.run, args=(identify, "alice"))
            thread.start()
            thread.join(timeout=10)
            assert "alice" == root.user_id
            assert "alice" == user()

    def test_from_to_thread(self) -> None:
        """A sync dependency that runs in a worker thread tells it to the endpoint."""

        async def main() -> str | None:
            async with trubrics_scope(fresh=True):
                await asyncio.to_thread(identify, "alice")
                return user()

        assert "alice" == asyncio.run(main())

    def test_outside(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where no scope is open it has no effect, is counted, and said once."""
        with trubrics_scope() as closed:
            kept = copy_context()
        identify("alice")
        kept.run(identify, "alice")
        assert closed.user_id is None
        assert {"identify_outside": 2} == stats().noticed
        assert 1 == len(caplog.messages)
        assert "identify() at test_current.py:" in caplog.text

    def test_outside_when_strict(self) -> None:
        """In strict mode, where no scope is open, it raises."""
        configure(strict=True)
        with pytest.raises(TelemetryError, match="identify_outside"):
            identify("alice")

    @pytest.mark.parametrize("bad", [1.5, lambda: "alice", lambda request: request])
    def test_a_bad_user_is_nobody(self, bad: Any) -> None:
        """A user of a wrong type is nobody, never the one of before, and never raises."""
        with trubrics_scope(user_id="bob") as scope:
            identify(bad)
            assert scope.user_id is None
        assert {"bad_user_id": 1} == stats().noticed

    def test_metadata_that_can_be_called(self) -> None:
        """A callable among the metadata is metadata, and is not called."""
        with trubrics_scope() as scope:
            identify("alice", kind=dict)
            assert {"kind": dict} == scope.metadata

    def test_near_misses(self) -> None:
        """A keyword that was hardly meant as metadata is counted here as well."""
        with trubrics_scope():
            identify("alice", thread="t")
        assert {"near_miss_thread": 1} == stats().noticed


class TestCoroutinesClosedElsewhere:
    """A coroutine, suspended inside scopes, may be closed from anywhere."""

    opened: Scope | None = None
    ended_as: str | None = None

    async def suspended(self) -> None:
        """Wait, two scopes deep, until somebody closes it."""
        async with trubrics_scope(user_id="alice"):
            with trubrics_scope(user_id="bob") as self.opened:
                try:
                    await forever()
                finally:
                    self.ended_as = user()

    @pytest.mark.parametrize("is_traced", [False, True])
    def test_nothing_leaks(self, is_traced: bool) -> None:
        """Its scopes are left closed, and the context that closed it has its own."""
        begin = self.suspended
        work: Coroutine[Any, Any, None] = (trubrics_trace(begin) if is_traced else begin)()
        context = copy_context()
        context.run(work.send, None)
        assert ("no scope" if is_traced else "bob") == context.run(user)
        with trubrics_scope(user_id="carol") as mine:
            work.close()
            assert mine is current_scope()
        assert current_scope() is None
        assert self.opened is not None
        assert not self.opened.is_open
        assert "no scope" == context.run(user)
        assert ("bob" if is_traced else "carol") == self.ended_as

    @pytest.mark.parametrize("is_traced", [False, True])
    def test_in_a_copy_of_its_context(self, is_traced: bool) -> None:
        """Closed in a copy of its own context, it gives back what was before it there."""
        begin = self.suspended
        with trubrics_scope(user_id="carol") as outer:
            work: Coroutine[Any, Any, None] = (
                trubrics_trace(begin) if is_traced else begin
            )()
            context = copy_context()
            context.run(work.send, None)
            copied = context.run(copy_context)
            copied.run(work.close)
            assert outer is copied.run(current_scope)


class TestEverythingAtOnce:
    """Many tasks and threads, each in scopes of its own."""

    async def one_task(self, number: int) -> bool:
        """Nest, suspend, branch off and close; whether each step had its own user."""
        order = random.Random(number)
        right = True

        async def pause() -> None:
            for _ in range(order.randrange(3)):
                await asyncio.sleep(0)

        async def branch(expected: str) -> bool:
            async with trubrics_scope(tags="branch"):
                await pause()
                return user() == expected

        async with trubrics_scope(user_id=f"outer-{number}", tags=str(number)):
            await pause()
            right &= user() == f"outer-{number}"
            early, late = trubrics_scope(user_id=f"early-{number}"), trubrics_scope()
            open_by(early)
            open_by(late)
            children = [asyncio.create_task(branch(f"early-{number}")) for _ in range(2)]
            right &= all(await asyncio.gather(*children))
            close_by(early)
            await pause()
            right &= user() == f"early-{number}"
            close_by(late)
            right &= user() == f"outer-{number}"
            identify(f"known-{number}")
            await pause()
            right &= user() == f"known-{number}"
        return right and current_scope() is None

    def test_a_thousand_tasks(self) -> None:
        """A thousand tasks at once each see their own users only."""

        async def main() -> list[bool]:
            return await asyncio.gather(*map(self.one_task, range(1000)))

        assert [True] * 1000 == asyncio.run(main())

    def test_thirty_two_threads(self) -> None:
        """So do thirty-two threads, each with a loop and tasks of its own."""
        together = threading.Barrier(32)

        async def tasks(numbers: range) -> list[bool]:
            return await asyncio.gather(*map(self.one_task, numbers))

        def work(thread: int) -> list[bool]:
            together.wait(timeout=20)
            return asyncio.run(tasks(range(thread * 10, thread * 10 + 10)))

        with ThreadPoolExecutor(32) as pool:
            assert [[True] * 10] * 32 == list(pool.map(work, range(32)))


class forever:  # noqa: N801 - read as a word: await forever()
    """Something to wait for that never comes, without an event loop."""

    def __await__(self) -> Any:
        while True:
            yield
