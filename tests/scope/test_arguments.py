"""A user read from a call's arguments: by callables, by `arg`, by their names."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncGenerator, Callable, Generator
from types import SimpleNamespace
from typing import Any

import pytest

from trubrics_trace import arg, configure, current_scope, stats, trubrics_scope
from trubrics_trace import trubrics_trace as trace
from trubrics_trace.errors import ConfigurationError, TelemetryError
from trubrics_trace.scope._arguments import Recipe
from trubrics_trace.scope._parameters import place_of


def user() -> str | None:
    """Return the current user; a str that no test uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else scope.user_id


def of_request(request: Any) -> Any:
    """Return a request's user, as an app's own callable would."""
    return request["user"]


async def of_request_later(request: Any) -> Any:
    """Return a request's user, once it is known."""
    await asyncio.sleep(0)
    return request["user"]


class OfRequest:
    """An object that is called like a function."""

    def __call__(self, request: Any) -> Any:
        """Return a request's user."""
        return request["user"]


class OfRequestLater:
    """An object that is called like an async function."""

    async def __call__(self, request: Any) -> Any:
        """Return a request's user, when it is awaited."""
        return request["user"]


ALICE, BOB = {"user": "alice"}, {"user": "bob"}


class TestByName:
    """A callable takes the function's arguments by the names that it declares."""

    @pytest.mark.parametrize(
        ("args", "kwargs", "expected"),
        [
            (("q", "alice"), {}, "alice"),
            (("q",), {"user_id": "alice"}, "alice"),
            ((), {"question": "q", "user_id": "alice"}, "alice"),
            (("q",), {}, "default"),
        ],
    )
    def test_however_it_was_passed(
        self, args: tuple[str, ...], kwargs: dict[str, str], expected: str
    ) -> None:
        """By position, by keyword or by default: the callable gets what the body gets."""

        @trace(user_id=lambda user_id: user_id)
        def chat(question: str, user_id: str = "default") -> bool:
            return user() == user_id

        @trace(user_id=arg("user_id"))
        def chat_too(question: str, user_id: str = "default") -> str | None:
            return user()

        assert chat(*args, **kwargs)
        assert expected == chat_too(*args, **kwargs)

    def test_several(self) -> None:
        """It may take several, in an order of its own, and leave others alone."""

        @trace(user_id=lambda tenant, name: f"{tenant}/{name}")
        def chat(name: str, question: str, *, tenant: str) -> str | None:
            return user()

        assert "acme/alice" == chat("alice", "?", tenant="acme")

    def test_none(self) -> None:
        """It may take none."""

        @trace(user_id=lambda: "alice")
        def chat(question: str) -> str | None:
            return user()

        assert "alice" == chat("?")

    def test_every_keyword(self) -> None:
        """Each keyword of the vocabulary may be read, and so may any metadata."""

        @trace(
            thread_id=lambda thread: thread,
            tags=lambda kind: [kind, "chat"],
            metadata=lambda extra: extra,
            plan=lambda thread: thread.upper(),
        )
        def chat(thread: str, kind: str, extra: dict[str, int]) -> Any:
            scope = current_scope()
            return scope and (scope.thread_id, scope.tags, dict(scope.metadata))

        expected = ("t", ("support", "chat"), {"n": 1, "plan": "T"})
        assert expected == chat("t", "support", {"n": 1})

    def test_rest_of_the_positions(self) -> None:
        """`*args` is taken under its own name, and holds the rest."""

        @trace(user_id=lambda names: names[0])
        def chat(question: str, *names: str) -> str | None:
            return user()

        assert "alice" == chat("?", "alice", "bob")

    def test_rest_of_the_keywords(self) -> None:
        """`**kwargs` is taken under its own name, and holds the rest."""

        @trace(user_id=lambda more: ",".join(sorted(more)))
        def chat(question: str, /, plan: str, **more: str) -> str | None:
            return user()

        assert "alice,question" == chat("?", plan="x", alice="", question="")

    def test_out_of_the_keywords(self) -> None:
        """A name that only `**kwargs` can hold is taken out of them."""

        @trace(user_id=lambda name: name)
        def chat(**more: str) -> str | None:
            return user()

        assert "alice" == chat(name="alice")

    def test_missing_among_the_keywords(self) -> None:
        """Where `**kwargs` lack it, nobody is asking, and that is counted."""

        @trace(user_id=lambda name: name)
        def chat(**more: str) -> str | None:
            return user()

        with trubrics_scope(user_id="bob"):
            assert chat() is None
        assert {"user_id_failed": 1} == stats().noticed

    def test_keyword_only_is_no_position(self) -> None:
        """An argument that only goes by keyword is never read from `*args`."""

        @trace(user_id=lambda name: name)
        def chat(question: str, *history: str, name: str = "alice") -> str | None:
            return user()

        assert "alice" == chat("?", "mallory", "mallory", "mallory")

    def test_position_only_is_no_keyword(self) -> None:
        """An argument that only goes by position is never read from `**kwargs`."""

        @trace(user_id=lambda name: name)
        def chat(name: str = "alice", /, **more: str) -> str | None:
            return user()

        assert "alice" == chat("alice", name="mallory")
        assert "alice" == chat(name="mallory")

    @pytest.mark.parametrize(
        ("given", "expected"), [({"name": "alice"}, "alice"), ({}, "nobody in particular")]
    )
    def test_declared_with_a_default(self, given: dict[str, str], expected: str) -> None:
        """A name with a default is taken where the call has it, and may be missing."""

        @trace(user_id=lambda name="nobody in particular", other="": name + other)
        def chat(**more: str) -> str | None:
            return user()

        @trace(user_id=lambda name, other="": name + other)
        def chat_too(name: str = expected) -> str | None:
            return user()

        assert expected == chat(**given)
        assert expected == chat_too(**given)

    @pytest.mark.parametrize(
        "reader",
        [of_request, OfRequest(), arg("request.user"), functools.partial(of_request)],
    )
    def test_what_may_read(self, reader: Any) -> None:
        """A function, an object that is called like one, a partial and `arg` all read."""

        @trace(user_id=reader)
        def chat(request: Any) -> str | None:
            return user()

        assert "alice" == chat(ALICE)

    def test_once_before_the_body(self) -> None:
        """A callable is asked once a call, before the body, outside the new scope."""
        told = []

        def ask(request: Any) -> str:
            told.append(("asked", user()))
            return str(request["user"])

        @trace(user_id=ask)
        def chat(request: Any) -> None:
            told.append(("body", user()))

        with trubrics_scope(user_id="outer"):
            chat(ALICE)
            chat(BOB)
        expected = [("asked", "outer"), ("body", "alice"), ("asked", "outer")]
        assert [*expected, ("body", "bob")] == told

    def test_calls_that_cannot_be_made(self) -> None:
        """A call with wrong arguments raises what it would raise, and nothing else."""

        @trace(user_id=lambda request: request["user"])
        def chat(request: Any, question: str) -> None:
            pytest.fail("the body never runs")

        with pytest.raises(TypeError, match=r"chat\(\) missing 2 required"):
            chat()  # type: ignore[call-arg] # what is tested
        assert current_scope() is None


class TestMethods:
    """The callable finds the arguments of methods, however they are called."""

    class Bot:
        """An object with a user, and methods of each kind."""

        user = "of the class"

        def __init__(self, user: str) -> None:
            self.user = user

        @trace(user_id=lambda self, request: f"{self.user}/{request}")
        def method(self, request: str) -> str | None:
            """Answer as an object."""
            return user()

        @trace(user_id=lambda cls, request: f"{cls.user}/{request}")
        @classmethod
        def class_method(cls, request: str) -> str | None:
            """Answer as a class, the decorator above."""
            return user()

        @classmethod
        @trace(user_id=lambda cls, request: f"{cls.user}/{request}")
        def class_method_too(cls, request: str) -> str | None:
            """Answer as a class, the decorator below."""
            return user()

        @trace(user_id=lambda request: request)
        @staticmethod
        def static_method(request: str) -> str | None:
            """Answer as a function, the decorator above."""
            return user()

        @staticmethod
        @trace(user_id=lambda request: request)
        def static_method_too(request: str) -> str | None:
            """Answer as a function, the decorator below."""
            return user()

        def plain(self, request: str) -> str | None:
            """Answer without a decorator."""
            return user()

    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            (lambda bot: bot.method("r"), "alice/r"),
            (lambda bot: bot.method(request="r"), "alice/r"),
            (lambda bot: type(bot).method(bot, "r"), "alice/r"),
            (lambda bot: type(bot).method(bot, request="r"), "alice/r"),
            (lambda bot: functools.partial(bot.method, "r")(), "alice/r"),
            (lambda bot: bot.class_method("r"), "of the class/r"),
            (lambda bot: type(bot).class_method("r"), "of the class/r"),
            (lambda bot: bot.class_method_too("r"), "of the class/r"),
            (lambda bot: type(bot).class_method_too(request="r"), "of the class/r"),
            (lambda bot: bot.static_method("r"), "r"),
            (lambda bot: type(bot).static_method(request="r"), "r"),
            (lambda bot: bot.static_method_too("r"), "r"),
            (lambda bot: type(bot).static_method_too(request="r"), "r"),
            (lambda bot: trace(user_id=arg("request"))(bot.plain)("r"), "r"),
            (lambda bot: trace(user_id=arg("request"))(bot.plain)(request="r"), "r"),
            (
                lambda bot: trace(user_id=arg("self.user"))(type(bot).plain)(bot, "r"),
                "alice",
            ),
        ],
    )
    def test_each_way_of_calling(
        self, call: Callable[[Bot], str | None], expected: str
    ) -> None:
        """Bound, unbound, by class, by instance: each name finds its argument."""
        assert expected == call(self.Bot("alice"))

    def test_callable_objects(self) -> None:
        """An object that is called like a function is read by the names of its call."""

        class Bot:
            def __call__(self, request: str) -> str | None:
                return user()

        bot = trace(user_id=arg("request"))(Bot())
        assert ["r", "r"] == [bot("r"), bot(request="r")]

    @pytest.mark.parametrize(
        ("bound", "args", "kwargs"),
        [
            ({"request": "r"}, ("?",), {}),
            ({"request": "other"}, (), {"question": "?", "request": "r"}),
            ({"question": "?"}, (), {"request": "r"}),
        ],
    )
    def test_partials(
        self, bound: dict[str, str], args: tuple[str, ...], kwargs: dict[str, str]
    ) -> None:
        """Of a partial the callable reads what was bound by keyword, or given instead."""

        def chat(question: str, request: str) -> str | None:
            return user()

        traced = trace(user_id=arg("request"))(functools.partial(chat, **bound))
        assert "r" == traced(*args, **kwargs)


class TestArg:
    """`arg` says by a path what a lambda says by code."""

    @pytest.mark.parametrize(
        ("path", "request_of"),
        [
            ("request", "alice"),
            ("request.user", {"user": "alice"}),
            ("request.user", SimpleNamespace(user="alice")),
            ("request.user.id", SimpleNamespace(user={"id": "alice"})),
            ("request.items", {"items": "alice"}),
            ("request.state.user.id", {"state": SimpleNamespace(user={"id": "alice"})}),
        ],
    )
    def test_paths(self, path: str, request_of: Any) -> None:
        """Each further name is a key of a mapping, or an attribute of anything else."""

        @trace(user_id=arg(path))
        def chat(request: Any) -> str | None:
            return user()

        assert "alice" == chat(request_of)

    @pytest.mark.parametrize(
        "path", ["", ".", "request.", "a b", "request[0]", "request.0"]
    )
    def test_what_is_no_path(self, path: str) -> None:
        """A path with a part that is no name is refused, with what was given."""
        with pytest.raises(ConfigurationError, match=re.escape(f"arg({path!r})")):
            arg(path)

    def test_leading_nowhere(self, caplog: pytest.LogCaptureFixture) -> None:
        """A path that leads nowhere means nobody, is counted, and said once."""

        @trace(user_id=arg("request.user"))
        def chat(request: Any) -> str | None:
            return user()

        with trubrics_scope(user_id="bob"):
            assert [None, None, None] == [chat({}), chat(None), chat(object())]
        assert {"user_id_failed": 3} == stats().noticed
        assert 1 == len(caplog.messages)
        assert "user_id=arg('request.user') raised KeyError" in caplog.text

    def test_is_a_value(self) -> None:
        """Two of the same path are equal, and say the path."""
        assert arg("request.user") == arg("request.user")
        assert "arg('request.user')" == repr(arg("request.user"))


class TestAsync:
    """On async functions a callable may be async."""

    @pytest.mark.parametrize("reader", [of_request_later, OfRequestLater(), of_request])
    def test_is_awaited(self, reader: Any) -> None:
        """An async callable is awaited, before the body of a coroutine or generator."""

        @trace(user_id=reader)
        async def chat(request: Any) -> str | None:
            return user()

        @trace(user_id=reader)
        async def stream(request: Any) -> AsyncGenerator[str | None, None]:
            yield user()

        async def main() -> list[str | None]:
            return [await chat(ALICE), *[part async for part in stream(BOB)]]

        assert ["alice", "bob"] == asyncio.run(main())

    def test_is_awaited_for_objects(self) -> None:
        """So it is for objects that are called like async functions."""

        class Bot:
            async def __call__(self, request: Any) -> str | None:
                return user()

        class StreamingBot:
            async def __call__(self, request: Any) -> AsyncGenerator[str | None, None]:
                yield user()

        async def main() -> list[str | None]:
            parts = trace(user_id=of_request_later)(StreamingBot())(BOB)
            answer = await trace(user_id=of_request_later)(Bot())(ALICE)
            return [answer, *[part async for part in parts]]

        assert ["alice", "bob"] == asyncio.run(main())

    def test_awaitable_of_a_plain_callable(self) -> None:
        """What a plain callable returns is awaited as well, if it can be."""

        @trace(user_id=lambda request: of_request_later(request))
        async def chat(request: Any) -> str | None:
            return user()

        assert "alice" == asyncio.run(chat(ALICE))

    def test_that_raises(self) -> None:
        """An async callable that raises means nobody, and is counted."""

        @trace(user_id=of_request_later)
        async def chat(request: Any) -> str | None:
            return user()

        async def main() -> str | None:
            async with trubrics_scope(user_id="bob"):
                return await chat({})

        assert asyncio.run(main()) is None
        assert {"user_id_failed": 1} == stats().noticed

    def test_that_is_cancelled(self) -> None:
        """A call that is cancelled while its callable waits is cancelled."""

        async def never(request: Any) -> str:
            await asyncio.Event().wait()
            return "alice"

        @trace(user_id=never)
        async def chat(request: Any) -> None:
            pytest.fail("the body never runs")

        async def main() -> bool:
            task = asyncio.create_task(chat(ALICE))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert asyncio.run(main())
        assert {} == stats().noticed

    @pytest.mark.parametrize("reader", [of_request_later, OfRequestLater()])
    def test_is_refused_on_sync_functions(self, reader: Any) -> None:
        """A function that cannot await an async callable refuses it at decoration."""

        def chat(request: Any) -> None: ...

        def stream(request: Any) -> Generator[None, None, None]:
            yield

        for function in (chat, stream):
            with pytest.raises(ConfigurationError) as raised:
                trace(user_id=reader)(function)
            assert f"user_id={place_of(reader)} is async" in str(raised.value)
            assert f"{place_of(function)} cannot await it" in str(raised.value)


class TestRaising:
    """What a callable raises ends there: nobody is asking."""

    @pytest.mark.parametrize("error", [ValueError("?"), StopIteration(), AssertionError()])
    def test_means_nobody(self, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
        """A callable that raises means nobody, is counted, and said once with its place."""

        def ask() -> str:
            raise error

        @trace(user_id=ask)
        def chat() -> str | None:
            return user()

        with trubrics_scope(user_id="bob"):
            assert [None, None] == [chat(), chat()]
        assert {"user_id_failed": 2} == stats().noticed
        assert 1 == len(caplog.messages)
        line = ask.__code__.co_firstlineno
        assert f"ask at test_arguments.py:{line} raised" in caplog.text
        assert "?" not in caplog.text

    def test_leaves_the_others(self) -> None:
        """What cannot be read of tags and metadata is left out; the rest stays."""

        @trace(
            user_id=arg("name"),
            tags=arg("name.tags"),
            metadata=arg("name.more"),
            plan=arg("name.plan"),
        )
        def chat(name: str) -> Any:
            scope = current_scope()
            return scope and (scope.user_id, scope.tags, dict(scope.metadata))

        with trubrics_scope(tags="outer", city="Bern"):
            assert ("alice", ("outer",), {"city": "Bern"}) == chat("alice")
        expected = {"tags_failed": 1, "metadata_failed": 2}
        assert expected == stats().noticed

    @pytest.mark.parametrize(
        "wish",
        [KeyboardInterrupt(), SystemExit(), GeneratorExit(), asyncio.CancelledError()],
    )
    def test_a_wish_to_stop_passes(self, wish: BaseException) -> None:
        """An interrupt, an exit and a cancellation reach the caller."""

        def ask() -> str:
            raise wish

        @trace(user_id=ask)
        def chat() -> None:
            pytest.fail("the body never runs")

        with pytest.raises(type(wish)) as raised:
            chat()
        assert wish is raised.value
        assert current_scope() is None

    def test_a_made_up_wish_ends_here(self) -> None:
        """A BaseException of somebody's own making is a failure like any other."""

        class Odd(BaseException):
            pass

        def ask() -> str:
            raise Odd

        @trace(user_id=ask)
        def chat() -> None:
            assert current_scope() is not None

        chat()

        assert 1 == stats().noticed["user_id_failed"]

    def test_when_strict(self) -> None:
        """In strict mode a callable that raises is an error, told with its cause."""
        configure(strict=True)

        @trace(user_id=arg("request.user"))
        def chat(request: Any) -> None:
            pytest.fail("the body never runs")

        with pytest.raises(TelemetryError, match="user_id_failed") as raised:
            chat({})
        assert isinstance(raised.value.__context__, KeyError)
        assert current_scope() is None


class Misdeclared:
    """A callable whose signature is none."""

    __signature__ = "request"

    def __call__(self) -> str:
        """Name somebody."""
        return "alice"


class TestRefusedAtDecoration:
    """What can never work is refused where it is written, with value and remedy."""

    @staticmethod
    def chat(request: Any, *, question: str) -> None:
        """Do nothing."""

    @pytest.mark.parametrize(
        ("reader", "told"),
        [
            (lambda req: req, "asks for 'req'"),
            (lambda request, req: req, "asks for 'req'"),
            (arg("req.user.id"), "user_id=arg('req.user.id') asks for 'req'"),
            (len, "user_id=len does not declare what it takes by name"),
            (dict.get, "user_id=dict.get does not declare what it takes by name"),
            (Misdeclared(), "user_id=Misdeclared does not declare what it takes by name"),
        ],
    )
    def test_names_that_the_function_lacks(self, reader: Any, told: str) -> None:
        """A declared name that the function lacks is refused, with those that it has."""
        with pytest.raises(ConfigurationError) as raised:
            trace(user_id=reader)(self.chat)
        assert told in str(raised.value)
        remedy = "it takes request, question" if "asks" in told else "wrap it, as in"
        assert remedy in str(raised.value)

    def test_of_a_function_without_arguments(self) -> None:
        """A function that takes nothing is told so."""
        with pytest.raises(ConfigurationError, match="it takes nothing"):
            trace(user_id=lambda request: request)(lambda: None)

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (lambda request: request, "must take no arguments in a scope"),
            (arg("request"), "user_id=arg('request') reads a decorated function's"),
            (of_request_later, "is async, and a scope cannot await it"),
            (OfRequestLater(), "user_id=OfRequestLater is async"),
        ],
    )
    def test_callables_of_a_scope(self, value: Any, told: str) -> None:
        """In a scope a callable takes nothing, and is not async."""
        with pytest.raises(ConfigurationError) as raised:
            trubrics_scope(user_id=value)
        assert told in str(raised.value)

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (lambda: "alice", "must take one argument, the request, in this door"),
            (lambda a, b: a, "must take one argument, the request, in this door"),
            (arg("request"), "in this door give a value or a callable"),
            (of_request_later, "is async, and this door cannot await it"),
        ],
    )
    def test_callables_of_a_door(self, value: Any, told: str) -> None:
        """In a door a callable takes the one thing that the door has."""
        with pytest.raises(ConfigurationError) as raised:
            Recipe.for_door({"user_id": value}, "request")
        assert told in str(raised.value)


def test_a_door_asks_with_what_it_has() -> None:
    """A door's callables are given its one argument, whatever they call it."""
    recipe = Recipe.for_door(
        {"user_id": of_request, "tags": lambda r: r["user"]}, "request"
    )
    attributes = recipe.attributes(args=(ALICE,))
    assert ("alice", ("alice",)) == (attributes.user_id, attributes.tags)


@pytest.mark.parametrize("builtin", [dict, str, int])
def test_a_builtin_may_be_a_scopes_callable(builtin: Callable[[], Any]) -> None:
    """A builtin that tells no signature is taken at its word, and asked."""
    with trubrics_scope(plan=builtin) as scope:
        assert {"plan": builtin()} == scope.metadata


def test_iterators_of_the_app_are_left_alone() -> None:
    """Only tags are read at once: a stream that is metadata is the app's to read."""
    stream = iter("abc")
    tags = iter(["one", "two"])
    kept = trubrics_scope(tags=tags, stream=stream)
    for _ in range(2):
        with kept as scope:
            assert ("one", "two") == scope.tags
    assert ["a", "b", "c"] == list(stream)


def test_a_wrapper_that_drops_what_stands_before() -> None:
    """What is given by name is found by name, whatever stands before it."""

    def resolver(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(parent: object, info: object, **kwargs: Any) -> Any:
            return function(**kwargs)

        return inner

    @trace(user_id=lambda user: user)
    @resolver
    def answer(user: str, question: str) -> str | None:
        scope = current_scope()
        return None if scope is None else scope.user_id

    assert "alice" == answer("the parent's", None, user="alice", question="Hello")


def test_constants_are_what_they_were() -> None:
    """What every call says is as it was at decoration, whatever type an id has."""
    release, tags = {"release": "1"}, ["a"]

    @trace(user_id=lambda user: user, metadata=release, tags=tags)
    def said(user: object) -> tuple[Any, ...]:
        scope = current_scope()
        assert scope is not None
        return scope.user_id, dict(scope.metadata), scope.tags

    first = said("alice")
    release["release"] = "2"
    tags.append("b")

    rest = ({"release": "1"}, ("a",))
    assert [("alice", *rest), ("bob", *rest), ("7", *rest)] == [
        first,
        said("bob"),
        said(7),
    ]


def test_constants_that_fail_once() -> None:
    """What cannot be read at one call may be read at the next."""

    class Moody(dict[str, Any]):
        asked = 0

        def items(self) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise OSError
            return super().items()

    recipe = Recipe.for_scope({"user_id": lambda: "alice", "metadata": Moody(plan="pro")})

    assert recipe.attributes().metadata == {}
    assert ("alice", {"plan": "pro"}) == (
        recipe.attributes().user_id,
        recipe.attributes().metadata,
    )
