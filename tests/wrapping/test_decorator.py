"""A decorated function is the same to everybody, and its calls have a scope."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import sys
import threading
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest
import wrapt

from trubrics_trace import Scope, configure, current_scope, trubrics_scope, trubrics_trace
from trubrics_trace.errors import ConfigurationError, TelemetryError

APPS_OWN: ContextVar[str] = ContextVar("apps_own", default="unset")


def user() -> str | None:
    """Return the current user; a str that no test uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else scope.user_id


# One function of each kind, which tells whom it was called by and what with.


def plain(question: str, *, user_id: str = "u", **kwargs: int) -> object:
    """Answer at once."""
    return user(), question, user_id, kwargs


async def coroutine(question: str, *, user_id: str = "u", **kwargs: int) -> object:
    """Answer later."""
    await asyncio.sleep(0)
    return user(), question, user_id, kwargs


def generator(
    question: str, *, user_id: str = "u", **kwargs: int
) -> Generator[object, object, str]:
    """Answer in parts."""
    yield user(), question, user_id, kwargs
    return "returned"


async def async_generator(
    question: str, *, user_id: str = "u", **kwargs: int
) -> AsyncGenerator[object, None]:
    """Answer in parts, later."""
    await asyncio.sleep(0)
    yield user(), question, user_id, kwargs


KINDS = [plain, coroutine, generator, async_generator]
INSPECTED = (
    inspect.isfunction,
    inspect.ismethod,
    inspect.isroutine,
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    asyncio.iscoroutinefunction if sys.version_info < (3, 14) else callable,
)
NAMES = (
    "__name__",
    "__qualname__",
    "__doc__",
    "__module__",
    "__annotations__",
    "__defaults__",
    "__kwdefaults__",
    "__dict__",
)

alice = trubrics_trace(user_id="alice")
traced_plain, traced_coroutine = alice(plain), alice(coroutine)
traced_generator, traced_async_generator = alice(generator), alice(async_generator)


class Undecorated:
    """Methods of each kind, and each kind of method."""

    def plain(self, question: str) -> object:
        """Answer as an object."""
        return user(), type(self).__name__, question

    async def coroutine(self, question: str) -> object:
        """Answer as an object, later."""
        return user(), type(self).__name__, question

    def generator(self, question: str) -> Generator[object, None, None]:
        """Answer as an object, in parts."""
        yield user(), type(self).__name__, question

    async def async_generator(self, question: str) -> AsyncGenerator[object, None]:
        """Answer as an object, in parts, later."""
        yield user(), type(self).__name__, question

    @classmethod
    def of_class(cls, question: str) -> object:
        """Answer as a class."""
        return user(), cls.__name__, question

    @classmethod
    async def of_class_later(cls, question: str) -> object:
        """Answer as a class, later."""
        return user(), cls.__name__, question

    @staticmethod
    def of_nobody(question: str) -> object:
        """Answer as a function."""
        return user(), None, question

    @staticmethod
    async def of_nobody_in_parts(question: str) -> AsyncGenerator[object, None]:
        """Answer as a function, in parts."""
        yield user(), None, question


METHODS = [name for name in vars(Undecorated) if not name.startswith("_")]


def traced_inside(method: Any) -> Any:
    """Return a method with the decorator below `classmethod` and `staticmethod`."""
    if isinstance(method, (classmethod, staticmethod)):
        return type(method)(alice(method.__func__))
    return alice(method)


class Above(Undecorated):
    """The same, each with the decorator above."""


class Below(Undecorated):
    """The same, each with the decorator below."""


for _name in METHODS:
    setattr(Above, _name, alice(vars(Undecorated)[_name]))
    setattr(Below, _name, traced_inside(vars(Undecorated)[_name]))


def finished(result: Any) -> Any:
    """Return what a call of any kind ends with: an answer, or a list of its parts."""

    async def later() -> Any:
        if inspect.isasyncgen(result):
            return [part async for part in result]
        return await result

    if inspect.isgenerator(result):
        return list(result)
    if inspect.isasyncgen(result) or inspect.isawaitable(result):
        return asyncio.run(later())
    return result


def only(parts: Any) -> Any:
    """Return the one part of an answer in parts, else the answer."""
    return parts[0] if isinstance(parts, list) else parts


class TestSameShape:
    """Nobody can tell a decorated function from before."""

    def test_looking_at_the_class(self) -> None:
        """Who looks at a wrapper's class takes no function's annotations away."""

        @trubrics_trace
        def answer(question: str) -> int:
            return len(question)

        for kind in type(answer).__mro__:
            typing.get_type_hints(kind)
            getattr(kind, "__annotations__", None)
        assert {"question": "str", "return": "int"} == answer.__annotations__

    @pytest.mark.parametrize("function", KINDS)
    @pytest.mark.parametrize(
        "decorate",
        [
            trubrics_trace,
            trubrics_trace(),
            alice,
            lambda function: alice(trubrics_trace(tags="twice")(function)),
        ],
        ids=["bare", "called", "with a user", "stacked"],
    )
    def test_functions(self, function: Any, decorate: Callable[[Any], Any]) -> None:
        """Kind, signature, names, docstring and annotations are the function's own."""
        traced = decorate(function)
        for is_kind in INSPECTED:
            assert is_kind(function) == is_kind(traced)
        for name in NAMES:
            assert getattr(function, name) == getattr(traced, name)
        assert inspect.signature(function) == inspect.signature(traced)
        assert typing.get_type_hints(function) == typing.get_type_hints(traced)
        assert inspect.getsource(function) == inspect.getsource(traced)
        assert inspect.unwrap(traced) is function
        assert function == traced
        assert hash(function) == hash(traced)

    @pytest.mark.parametrize("kind", [Above, Below])
    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("of", [lambda kind: kind, lambda kind: kind()])
    def test_methods(self, kind: type, name: str, of: Callable[[type], object]) -> None:
        """So are those of a method, found in its class or in an instance."""
        expected, actual = getattr(of(Undecorated), name), getattr(of(kind), name)
        for is_kind in INSPECTED:
            assert is_kind(expected) == is_kind(actual)
        for attribute in NAMES:
            assert getattr(expected, attribute) == getattr(actual, attribute)
        assert inspect.signature(expected) == inspect.signature(actual)

    @pytest.mark.parametrize("function", KINDS)
    def test_nested_functions(self, function: Any) -> None:
        """A function inside a function keeps its names as well."""

        def nested() -> None: ...

        assert nested.__qualname__ == trubrics_trace(nested).__qualname__

    def test_attributes(self) -> None:
        """What is set on a decorated function is found on it."""

        @trubrics_trace
        def chat() -> None: ...

        chat.route = "/chat"  # type: ignore[attr-defined] # as frameworks do
        assert "/chat" == chat.route  # type: ignore[attr-defined] # as frameworks do

    @pytest.mark.parametrize(
        "traced",
        [traced_plain, traced_coroutine, traced_generator, traced_async_generator],
    )
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickled_by_name(self, traced: Any, protocol: int, monkeypatch: Any) -> None:
        """A decorated function is pickled by its name, as functions are."""
        module = sys.modules[__name__]
        monkeypatch.setitem(vars(module), traced.__name__, traced)
        assert traced is pickle.loads(pickle.dumps(traced, protocol))

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("kind", [Above, Below])
    def test_pickled_methods(self, name: str, kind: type, monkeypatch: Any) -> None:
        """So are methods: bound ones with their object, as methods are."""
        monkeypatch.setitem(globals(), "Undecorated", kind)  # where they say they are
        for method in (getattr(kind, name), getattr(kind(), name)):
            again = pickle.loads(pickle.dumps(method))
            assert type(method) is type(again)
            assert method.__qualname__ == again.__qualname__
        answer = only(finished(again("?")))
        assert ("alice", "?") == (answer[0], answer[-1])

    def test_copied(self) -> None:
        """A copy of a function is the function, whatever it lies in."""
        assert traced_plain is copy.copy(traced_plain)
        assert traced_plain is copy.deepcopy({"key": [traced_plain]})["key"][0]

    def test_copied_methods(self) -> None:
        """A deep copy of a bound method is bound to a deep copy of its object."""
        bound: Any = Above()
        method, copied = copy.copy(bound.plain), copy.deepcopy(bound.plain)
        assert method.__self__ is bound
        assert copied.__self__ is not bound
        assert ("alice", "Above", "?") == method("?") == copied("?")


class TestSameCall:
    """A decorated function does what it does, with what it was given."""

    @pytest.mark.parametrize("function", KINDS)
    def test_arguments(self, function: Any) -> None:
        """Every argument reaches the body, whatever it is called."""
        words = ("tags", "wrapped", "instance", "args", "kwargs", "self", "function")
        kwargs = {name: number for number, name in enumerate(words)}
        answer = only(finished(alice(function)("?", user_id="me", **kwargs)))
        assert ("alice", "?", "me", kwargs) == answer
        assert current_scope() is None

    @pytest.mark.parametrize("function", KINDS)
    def test_wrong_arguments(self, function: Any) -> None:
        """Wrong arguments raise what they raised."""
        with pytest.raises(TypeError) as expected:
            finished(function("?", "too many"))
        with pytest.raises(TypeError) as actual:
            finished(alice(function)("?", "too many"))
        assert str(expected.value) == str(actual.value)
        assert current_scope() is None

    @pytest.mark.parametrize("kind", [Above, Below])
    @pytest.mark.parametrize("name", METHODS)
    def test_methods(self, kind: type, name: str) -> None:
        """Each kind of method, called on a class and on an instance, is bound as before."""
        called_by = None if name.startswith("of_nobody") else kind.__name__
        on_instance = only(finished(getattr(kind(), name)("?")))
        assert ("alice", called_by, "?") == on_instance
        unbound = getattr(kind, name)
        arguments = ("?",) if name.startswith("of_") else (kind(), "?")
        assert ("alice", called_by, "?") == only(finished(unbound(*arguments)))

    def test_methods_are_inherited(self) -> None:
        """A subclass inherits a decorated method, and calls it by `super`."""

        class Child(Above):
            def plain(self, question: str) -> object:
                return super().plain(question + "!")

        assert ("alice", "Child", "?!") == Child().plain("?")

    @pytest.mark.parametrize("function", KINDS)
    def test_partials(self, function: Any) -> None:
        """A partial may be decorated, and a decorated function made a partial."""
        inside = functools.partial(alice(function), "?", user_id="me")
        outside = alice(functools.partial(function, "?", user_id="me"))
        for traced in (inside, outside):
            assert ("alice", "?", "me", {}) == only(finished(traced()))
        assert inspect.iscoroutinefunction(function) == inspect.iscoroutinefunction(outside)

    @pytest.mark.parametrize("function", KINDS)
    def test_callable_objects(self, function: Any) -> None:
        """An object that is called like a function may be decorated, and stays itself."""

        class Bot:
            name = "bot"
            __call__ = staticmethod(function)

        bot = Bot()
        traced = alice(bot)
        assert ("alice", "?", "u", {}) == only(finished(traced("?")))
        assert isinstance(traced, Bot)
        assert "bot" == traced.name

    @pytest.mark.parametrize("function", KINDS)
    def test_stacked(self, function: Any) -> None:
        """Of two decorators the inner one's user wins, and both have their tags."""

        def tagged() -> Any:
            scope = current_scope()
            return scope and (scope.user_id, scope.tags)

        same_kind = like(function, tagged)
        inner = trubrics_trace(user_id="bob", tags="inner")(same_kind)
        both = trubrics_trace(user_id="alice", tags="outer")(inner)
        assert ("bob", ("outer", "inner")) == only(finished(both()))
        assert current_scope() is None

    def test_recursive(self) -> None:
        """A function that calls itself opens a scope for each call."""

        @trubrics_trace(user_id=lambda depth: depth)
        def count(depth: int) -> list[str | None]:
            before = user()
            deeper = count(depth - 1) if depth else []
            return [before, *deeper, user()]

        assert ["2", "1", "0", "0", "1", "2"] == count(2)

    @pytest.mark.parametrize("function", KINDS)
    def test_inside_a_scope(self, function: Any) -> None:
        """The scope around a call is inherited, and is current again after it."""

        def tagged() -> Any:
            scope = current_scope()
            return scope and (scope.user_id, scope.tags)

        traced = trubrics_trace(tags="inner")(like(function, tagged))
        with trubrics_scope(user_id="bob", tags="outer") as outer:
            assert ("bob", ("outer", "inner")) == only(finished(traced()))
            assert outer is current_scope()

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("told"),
            KeyboardInterrupt(),
            SystemExit(3),
            GeneratorExit(),
            BaseException(),
            asyncio.CancelledError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("function", KINDS)
    def test_exceptions(self, function: Any, error: BaseException) -> None:
        """What the body raises leaves as the very same object, and the scope closed."""

        def fail() -> None:
            scopes.append(current_scope())
            raise error

        scopes: list[Scope | None] = []
        error.__traceback__ = error.__context__ = error.__cause__ = None
        with pytest.raises(type(error)) as raised:
            one_step(alice(like(function, fail))())
        assert error is raised.value
        assert error.__context__ is None
        assert error.__cause__ is None
        assert [False] == [scope is None or scope.is_open for scope in scopes]
        assert current_scope() is None

    def test_the_apps_own_context(self) -> None:
        """What a body sets in the context, its caller finds there."""

        def set_plain() -> None:
            APPS_OWN.set("plain")

        async def set_later() -> None:
            APPS_OWN.set("coroutine")

        def set_in_parts() -> Generator[None, None, None]:
            APPS_OWN.set("generator")
            yield

        async def set_in_parts_later() -> AsyncGenerator[None, None]:
            APPS_OWN.set("async generator")
            yield

        async def main() -> list[str]:
            seen = []
            trubrics_trace(set_plain)()
            seen.append(APPS_OWN.get())
            await trubrics_trace(set_later)()
            seen.append(APPS_OWN.get())
            list(trubrics_trace(set_in_parts)())
            seen.append(APPS_OWN.get())
            async for _ in trubrics_trace(set_in_parts_later)():
                seen.append(APPS_OWN.get())
            return seen

        expected = ["plain", "coroutine", "generator", "async generator"]
        assert expected == asyncio.run(main())

    def test_overlapping_calls(self) -> None:
        """Calls that overlap on threads and in tasks each have their own user."""

        @trubrics_trace(user_id=lambda name: name)
        def on_thread(name: int) -> str | None:
            together.wait(timeout=10)
            return user()

        @trubrics_trace(user_id=lambda name: name)
        async def in_task(name: int) -> str | None:
            for _ in range(name % 7):
                await asyncio.sleep(0)
            return user()

        async def main() -> list[str | None]:
            return await asyncio.gather(*map(in_task, range(1000)))

        together = threading.Barrier(32)
        with ThreadPoolExecutor(32) as pool:
            assert [str(n) for n in range(32)] == list(pool.map(on_thread, range(32)))
        assert [str(n) for n in range(1000)] == asyncio.run(main())


class TestName:
    """Calls are named after the function, unless anybody says otherwise."""

    @pytest.mark.parametrize("function", KINDS)
    def test_default(self, function: Any) -> None:
        """The run's name is the function's qualified name."""

        def name() -> Any:
            scope = current_scope()
            return scope and scope.run_name

        same_kind = like(function, name)
        assert same_kind.__qualname__ == only(finished(trubrics_trace(same_kind)()))

    @pytest.mark.parametrize(
        ("outside", "inside", "expected"),
        [
            ({}, {"run_name": "given"}, "given"),
            ({"run_name": "outer"}, {}, "outer"),
            ({"run_name": "outer"}, {"run_name": "given"}, "given"),
            ({}, {"run_name": None}, None),
            ({"run_name": "outer"}, {"run_name": ""}, None),
        ],
    )
    def test_weaker_than_any_given(
        self, outside: dict[str, Any], inside: dict[str, Any], expected: str | None
    ) -> None:
        """A name that is given, here or further out, wins over the function's."""

        @trubrics_trace(**inside)
        def chat() -> Any:
            scope = current_scope()
            return scope and scope.run_name

        with trubrics_scope(**outside):
            assert expected == chat()

    def test_inherited(self) -> None:
        """A scope inside is named after the function, a traced call inside after itself."""

        def name() -> Any:
            scope = current_scope()
            return scope and scope.run_name

        @trubrics_trace
        def outer() -> list[Any]:
            with trubrics_scope(tags="inner"):
                return [name(), trubrics_trace(plain)("?"), trubrics_trace(name)()]

        assert outer.__qualname__ == outer()[0]
        assert name.__qualname__ == outer()[2]

    def test_of_what_has_no_name(self) -> None:
        """What has no name of its own is called by its type."""
        traced = trubrics_trace(functools.partial(lambda: current_scope()))
        scope = traced()
        assert scope is not None
        assert "partial" == scope.run_name

    def test_of_tasks(self) -> None:
        """A coroutine is called what the function is called."""

        async def main() -> None:
            work: Any = traced_coroutine("?")
            assert ("coroutine", "coroutine") == (work.__name__, work.__qualname__)
            task = asyncio.create_task(work)
            assert "coro=<coroutine()" in repr(task)
            await task

        asyncio.run(main())


class TestRefused:
    """What is no function is refused at decoration, with what it is."""

    @pytest.mark.parametrize("target", [5, None, "text", property(plain), Undecorated])
    def test_refused(self, target: Any) -> None:
        """A value, a property and a class are no functions."""
        with pytest.raises(ConfigurationError) as raised:
            trubrics_trace(user_id="alice")(target)
        assert f"not {type(target).__name__!r}; put it above a function" in str(
            raised.value
        )

    def test_when_strict(self) -> None:
        """In strict mode a bad user raises before the body, at each call."""
        configure(strict=True)
        bad: Any = 1.5

        @trubrics_trace(user_id=bad)
        def chat() -> None:
            pytest.fail("the body never runs")

        for _ in range(2):
            with pytest.raises(TelemetryError, match="bad_user_id"):
                chat()
        assert current_scope() is None


class TestGenerators:
    """A decorated generator is stepped in the scope of its call."""

    def test_scope_of_the_call(self) -> None:
        """Who is asking is decided by the call, not by whoever takes the first step."""

        @trubrics_trace(tags="inner")
        def parts() -> Generator[str | None, None, None]:
            yield user()

        with trubrics_scope(user_id="alice"):
            called = parts()
        with trubrics_scope(user_id="bob"):
            assert ["alice"] == list(called)

    @pytest.mark.parametrize("keywords", [{"tags": "inner"}, {"tags": lambda: "inner"}])
    def test_async_scope_of_the_call(self, keywords: dict[str, Any]) -> None:
        """So it is for async generators, also where the first step asks a callable."""

        @trubrics_trace(**keywords)
        async def parts() -> AsyncGenerator[Any, None]:
            scope = current_scope()
            yield scope and (scope.user_id, scope.tags)

        with trubrics_scope(user_id="alice"):
            called = parts()
        with trubrics_scope(user_id="bob"):
            assert [("alice", ("inner",))] == finished(called)

    def test_send_throw_and_return(self) -> None:
        """What is sent and thrown reaches the body, what is returned its delegator."""

        @alice
        def parts() -> Generator[object, object, str]:
            sent = yield "first"
            try:
                yield sent
            except ValueError as error:
                yield error
            return "returned"

        def delegator() -> Generator[object, object, None]:
            yield (yield from parts())

        work, error = delegator(), ValueError()
        assert "first" == next(work)
        assert "sent" == work.send("sent")
        assert error is work.throw(error)
        assert "returned" == next(work)

    def test_asend_and_athrow(self) -> None:
        """So it is for async generators."""

        @alice
        async def parts() -> AsyncGenerator[object, object]:
            sent = yield "first"
            try:
                yield sent
            except ValueError as error:
                yield error

        async def main() -> None:
            work, error = parts(), ValueError()
            assert "first" == await work.asend(None)
            assert "sent" == await work.asend("sent")
            assert error is await work.athrow(error)
            with pytest.raises(StopAsyncIteration):
                await work.asend(None)

        asyncio.run(main())

    @pytest.mark.parametrize("ending", ["close", "break"])
    def test_inner_finally(self, ending: str) -> None:
        """Left early, the body runs its `finally` inside the scope, which then closes."""

        @alice
        def parts() -> Generator[Scope | None, None, None]:
            try:
                while True:
                    yield current_scope()
            finally:
                seen.append(user())

        seen: list[str | None] = []
        work = parts()
        scope = next(work)
        if ending == "close":
            work.close()
        else:
            for scope in work:  # noqa: B007 - it is needed after the loop
                break
            del work
        gc.collect()
        assert ["alice"] == seen
        assert scope is not None
        assert not scope.is_open

    def test_inner_finally_by_aclose(self) -> None:
        """`aclose` runs the body's `finally`, with its pauses, inside the scope."""

        @alice
        async def parts() -> AsyncGenerator[Scope | None, None]:
            try:
                yield current_scope()
            finally:
                await asyncio.sleep(0)
                seen.append(user())

        async def main() -> Scope | None:
            work = parts()
            scope = await work.asend(None)
            await work.aclose()
            return scope

        seen: list[str | None] = []
        scope = asyncio.run(main())
        assert ["alice"] == seen
        assert scope is not None
        assert not scope.is_open

    def test_same_task_and_context(self) -> None:
        """Each step runs in the task and the context of who asked for it."""

        @alice
        async def parts() -> AsyncGenerator[tuple[object, str], None]:
            while True:
                await asyncio.sleep(0)
                yield asyncio.current_task(), APPS_OWN.get()

        async def main() -> None:
            work = parts()
            for word in ("first", "second"):
                APPS_OWN.set(word)
                assert (asyncio.current_task(), word) == await work.asend(None)
            await work.aclose()

        asyncio.run(main())

    if sys.version_info >= (3, 11):  # which has asyncio.timeout

        def test_timeout_across_a_yield(self) -> None:
            """An `asyncio.timeout` around a `yield` cancels its consumer alone."""

            @alice
            async def parts() -> AsyncGenerator[int, None]:
                async with asyncio.timeout(0.01):
                    yield 1
                    await asyncio.Event().wait()

            async def main() -> list[int]:
                seen = []
                with pytest.raises(TimeoutError):
                    async for part in parts():
                        seen.append(part)
                return seen

            assert [1] == asyncio.run(main())

    def test_task_group_across_a_yield(self) -> None:
        """An anyio task group around a `yield` stays in its task, and has the scope."""

        @alice
        async def parts() -> AsyncGenerator[str | None, None]:
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                yield user()
                yield user()

        async def ask() -> None:
            await anyio.lowlevel.checkpoint()
            asked.append(user())

        async def main() -> list[str | None]:
            return [part async for part in parts()]

        asked: list[str | None] = []
        assert ["alice", "alice"] == asyncio.run(main())
        assert ["alice"] == asked

    def test_cancel_scope_across_a_yield(self) -> None:
        """An anyio cancel scope around a `yield` is left where it was entered."""

        @alice
        async def parts() -> AsyncGenerator[bool, None]:
            with anyio.CancelScope() as inner:
                yield True
                inner.cancel()
                await anyio.sleep(10)
            yield inner.cancelled_caught

        async def main() -> list[bool]:
            return [part async for part in parts()]

        assert [True, True] == asyncio.run(main())

    def test_cancelled(self) -> None:
        """A consumer that is cancelled cancels the body, in its scope to the end."""

        @alice
        async def parts() -> AsyncGenerator[int, None]:
            try:
                yield 1
                started.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append(user())
                raise

        async def consume() -> None:
            async for _ in parts():
                pass

        async def main() -> bool:
            task = asyncio.create_task(consume())
            await started.wait()
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        seen: list[str | None] = []
        started = asyncio.Event()
        assert asyncio.run(main())
        assert ["alice"] == seen


class TestCoroutines:
    """A decorated coroutine has its scope from its first step to its last."""

    def test_before_its_first_step(self) -> None:
        """A coroutine that nobody awaits opens nothing, and complains once, by its name."""
        work = traced_coroutine("?")
        assert current_scope() is None
        with pytest.warns(RuntimeWarning, match="'coroutine' was never awaited") as warned:
            del work
            gc.collect()
        assert 1 == len(warned)

    def test_closed_before_its_first_step(self) -> None:
        """A coroutine that is closed before its first step does not complain."""
        work = traced_coroutine("?")
        work.close()
        del work
        gc.collect()  # a complaint here would be an error

    def test_wrong_arguments(self) -> None:
        """Wrong arguments are an error where it is called, as without the decorator."""

        @trubrics_trace(user_id=lambda question: question)
        async def ask(question: str) -> str:
            return question

        call: Any = ask
        with pytest.raises(TypeError, match="question"):
            call()
        with pytest.raises(TypeError, match="takes 1 positional"):
            functools.partial(call, "a", "b")()

    def test_reader_that_is_cancelled(self) -> None:
        """Where the task ends while the user is looked up, nothing complains."""
        looking_up = asyncio.Event()

        async def look_up(question: str) -> str:
            looking_up.set()
            await asyncio.Event().wait()
            return question

        @trubrics_trace(user_id=look_up)
        async def ask(question: str) -> str:
            return question

        async def main() -> bool:
            task = asyncio.create_task(ask("?"))
            await looking_up.wait()
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert asyncio.run(main())
        gc.collect()  # a complaint here would be an error

    def test_called_by_another_wrapper(self) -> None:
        """What another decorator does before its coroutine is made is inside the scope."""
        seen: list[str | None] = []

        def prelude(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
            seen.append(user())
            return wrapped(*args, **kwargs)

        async def ask() -> str | None:
            return user()

        traced = alice(wrapt.FunctionWrapper(ask, prelude))
        assert "alice" == asyncio.run(traced())
        assert ["alice"] == seen

    def test_tasks_inherit_the_scope(self) -> None:
        """A task begun inside has the scope; after the scope has closed it has none."""

        async def ask(may_go_on: asyncio.Event) -> list[str | None]:
            before = user()
            await may_go_on.wait()
            return [before, user()]

        @alice
        async def begin(may_go_on: asyncio.Event) -> list[asyncio.Task[Any]]:
            task = asyncio.create_task(ask(may_go_on))
            await asyncio.sleep(0)
            return [task]

        async def main() -> Any:
            may_go_on = asyncio.Event()
            (task,) = await begin(may_go_on)
            may_go_on.set()
            return await task

        assert ["alice", "no scope"] == asyncio.run(main())

    def test_closed_from_another_context(self) -> None:
        """Suspended, and closed from another context, it leaves no scope there."""

        @alice
        async def suspended() -> None:
            scopes.append(current_scope())
            await asyncio.sleep(0)

        scopes: list[Scope | None] = []
        work = suspended()
        context = copy_context()
        context.run(work.send, None)
        with trubrics_scope(user_id="bob") as mine:
            work.close()
            assert mine is current_scope()
        assert "no scope" == context.run(user)
        assert [False] == [scope is None or scope.is_open for scope in scopes]


def like(function: Any, ask: Callable[[], Any]) -> Any:
    """Return a function of the same kind, which answers what is asked."""

    def same_plain() -> Any:
        return ask()

    async def same_coroutine() -> Any:
        return ask()

    def same_generator() -> Generator[Any, None, None]:
        yield ask()

    async def same_async_generator() -> AsyncGenerator[Any, None]:
        yield ask()

    same = [same_plain, same_coroutine, same_generator, same_async_generator]
    return same[KINDS.index(function)]


def one_step(result: Any) -> Any:
    """Take the one step that raises, without a loop, which has ways of its own."""
    if isinstance(result, Generator):
        return next(result)
    if isinstance(result, AsyncGenerator):
        result = result.asend(None)
    if isinstance(result, Awaitable):
        return next(iter(result.__await__()))
    return result
