"""What a traced function returns is followed, if it still has work to do."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.http import HttpResponse, StreamingHttpResponse
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from trubrics_trace import (
    PromptRecord,
    Scope,
    current_scope,
    trubrics_scope,
    trubrics_trace,
)

if not django_settings.configured:
    django_settings.configure(DEFAULT_CHARSET="utf-8")

alice = trubrics_trace(user_id="alice")


def user() -> str | None:
    """Return the current user; a str that no test uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else scope.user_id


async def coroutine() -> str | None:
    """Answer later."""
    await asyncio.sleep(0)
    return user()


def generator() -> Generator[str, str, str]:
    """Answer in parts."""
    sent = yield f"{user()},"
    yield f"{sent or user()}."
    return "returned"


async def async_generator() -> AsyncGenerator[str, str]:
    """Answer in parts, later."""
    await asyncio.sleep(0)
    sent = yield f"{user()},"
    await asyncio.sleep(0)
    yield f"{sent or user()}."


class Parts:
    """An iterator, of both kinds, that is no generator."""

    def __init__(self) -> None:
        self.left = 2

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return f"{user()};"

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        await asyncio.sleep(0)
        if not self.left:
            raise StopAsyncIteration
        return next(self)


class OnlyAsync:
    """An async iterable that is no generator."""

    def __aiter__(self) -> AsyncIterator[str]:
        return Parts().__aiter__()


class Returning:
    """A traced function that returns something, and remembers its scope."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.scope: Scope | None = None

    @trubrics_trace(user_id="alice")
    def __call__(self) -> Any:
        """Return it."""
        self.scope = current_scope()
        return self._make()

    @trubrics_trace(user_id="alice")
    async def later(self) -> Any:
        """Return it from a coroutine."""
        self.scope = current_scope()
        return self._make()

    @property
    def is_open(self) -> bool:
        """Whether the scope of the last call is open."""
        assert self.scope is not None
        return self.scope.is_open


def returned(function: Returning, is_async: bool) -> Any:
    """Call the function, or its async twin, from outside any scope."""
    return asyncio.run(function.later()) if is_async else function()


both = pytest.mark.parametrize("is_async", [False, True], ids=["function", "coroutine"])


class TestFollowed:
    """A generator, an async generator, a coroutine: in the scope to its end."""

    @both
    def test_generators(self, is_async: bool) -> None:
        """A returned generator stays one, and has the scope until it ends."""
        function = Returning(generator)
        parts = returned(function, is_async)
        assert bool(inspect.isgenerator(parts))
        assert "generator" == parts.__name__
        with trubrics_scope(user_id="bob"):
            assert ["alice,", "bob"] == [next(parts), user()]
            assert function.is_open
            assert ["sent.", "bob"] == [parts.send("sent"), user()]
            with pytest.raises(StopIteration) as stop:
                next(parts)
        assert "returned" == stop.value.value
        assert not function.is_open

    @both
    def test_async_generators(self, is_async: bool) -> None:
        """So does a returned async generator."""
        function = Returning(async_generator)
        parts = returned(function, is_async)
        assert bool(inspect.isasyncgen(parts))

        async def main() -> list[str]:
            assert function.is_open
            return [part async for part in parts]

        assert ["alice,", "alice."] == asyncio.run(main())
        assert not function.is_open

    @both
    def test_coroutines(self, is_async: bool) -> None:
        """So does a returned coroutine, under its own name."""
        function = Returning(coroutine)
        work = returned(function, is_async)
        assert inspect.iscoroutine(work)
        assert "coroutine" == work.__qualname__
        assert function.is_open
        assert "alice" == asyncio.run(work)
        assert not function.is_open

    @both
    @pytest.mark.parametrize(
        "make", [generator, async_generator, coroutine, asyncio.Future]
    )
    def test_nothing_stays_with_the_caller(
        self, make: Callable[[], Any], is_async: bool
    ) -> None:
        """Until the first step, and after the return, the caller has its own scope."""

        async def main() -> None:
            function = Returning(make)
            async with trubrics_scope(user_id="bob") as mine:
                work = await function.later() if is_async else function()
                assert mine is current_scope()
            assert function.is_open
            if inspect.iscoroutine(work):
                work.close()

        asyncio.run(main())

    @both
    def test_begun_generators(self, is_async: bool) -> None:
        """A generator that the function has begun goes on where it was."""

        def begun() -> Generator[str, str, str]:
            parts = generator()
            next(parts)
            return parts

        function = Returning(begun)
        assert "sent." == returned(function, is_async).send("sent")
        assert not function.is_open

    @pytest.mark.parametrize("ending", ["close", "throw"])
    def test_begun_generators_ended(self, ending: str) -> None:
        """Ended before its next step, it ends in its body, inside the scope."""

        def body() -> Generator[None, None, None]:
            try:
                yield
            finally:
                seen.append(user())

        def begun() -> Generator[None, None, None]:
            parts = body()
            next(parts)
            return parts

        seen: list[str | None] = []
        function = Returning(begun)
        parts = function()
        if ending == "close":
            parts.close()
        else:
            with pytest.raises(KeyError):
                parts.throw(KeyError())
        assert ["alice"] == seen
        assert not function.is_open

    @pytest.mark.parametrize("make", [generator, async_generator, coroutine])
    def test_never_begun(self, make: Callable[[], Any]) -> None:
        """What is dropped before its first step leaves no scope open."""
        function = Returning(make)
        work = function()
        assert function.is_open
        if inspect.iscoroutine(work):
            work.close()  # else it complains, as it did
        del work
        gc.collect()
        assert not function.is_open

    def test_tasks_and_futures(self) -> None:
        """A task or future is returned as it is; the scope closes when it is done."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            may_go_on = asyncio.Event()

            async def wait() -> str | None:
                await may_go_on.wait()
                return user()

            def gathered() -> asyncio.Future[Any]:
                return asyncio.gather(wait(), wait())

            task_function = Returning(lambda: asyncio.create_task(wait()))
            gather_function = Returning(gathered)
            future: asyncio.Future[str] = loop.create_future()
            future_function = Returning(lambda: future)
            task, both = task_function(), gather_function()
            assert isinstance(task, asyncio.Task)
            assert future is future_function()
            functions = (task_function, gather_function, future_function)
            assert [True] * 3 == [function.is_open for function in functions]

            may_go_on.set()
            future.set_result("")
            assert "alice" == await task
            assert ["alice", "alice"] == await both
            await asyncio.sleep(0)
            assert [False] * 3 == [function.is_open for function in functions]

        asyncio.run(main())

    def test_stacked(self) -> None:
        """What two decorators follow has the inner one's scope, and both close."""
        function = Returning(generator)

        @trubrics_trace(user_id="outer", tags="outer")
        def outer() -> Any:
            scopes.append(current_scope())
            return function()

        scopes: list[Scope | None] = []
        assert ["alice,", "alice."] == list(outer())
        assert not function.is_open
        assert [False] == [scope is None or scope.is_open for scope in scopes]

    def test_streams_of_langchain(self, captured_prompts: list[PromptRecord]) -> None:
        """A model's stream that is returned is recorded under the call's user."""
        model = FakeListChatModel(responses=["42"])
        function = Returning(lambda: model.stream("The answer?"))
        assert "42" == "".join(str(chunk.content) for chunk in function())
        function = Returning(lambda: model.astream("And async?"))

        async def main() -> str:
            return "".join([str(chunk.content) async for chunk in function()])

        assert "42" == asyncio.run(main())
        told = [(record.user_id, record.generation) for record in captured_prompts]
        assert [("alice", "42")] * 2 == told
        assert not function.is_open


class TestResponses:
    """A web framework's streaming response is edited in place."""

    @both
    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (generator, b"alice,alice."),
            (async_generator, b"alice,alice."),
            (Parts, b"alice;alice;"),
            (OnlyAsync, b"alice;alice;"),
        ],
    )
    def test_starlette(
        self, make: Callable[[], Any], expected: bytes, is_async: bool
    ) -> None:
        """A `StreamingResponse` is the same object, and its body has the scope."""
        function = Returning(
            lambda: StreamingResponse(make(), 202, {"x-own": "1"}, "text/plain")
        )
        response = returned(function, is_async)
        assert StreamingResponse is type(response)
        assert (202, "1") == (response.status_code, response.headers["x-own"])
        assert function.is_open
        assert expected == asyncio.run(sent_by(response))
        assert not function.is_open

    @pytest.mark.parametrize(
        ("make", "expected"),
        [(generator, [b"alice,", b"alice."]), (Parts, [b"alice;", b"alice;"])],
    )
    def test_django(self, make: Callable[[], Any], expected: list[bytes]) -> None:
        """A sync `StreamingHttpResponse` is the same object, and its body has the scope."""
        function = Returning(lambda: StreamingHttpResponse(make(), status=202))
        response = function()
        assert StreamingHttpResponse is type(response)
        assert 202 == response.status_code
        assert function.is_open
        assert expected == list(response)
        assert not function.is_open
        response.close()

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (async_generator, [b"alice,", b"alice."]),
            (OnlyAsync, [b"alice;", b"alice;"]),
        ],
    )
    def test_async_django(self, make: Callable[[], Any], expected: list[bytes]) -> None:
        """So it is for one with an async body."""
        function = Returning(lambda: StreamingHttpResponse(make()))
        response = returned(function, is_async=True)
        assert response.is_async

        async def main() -> list[bytes]:
            return [part async for part in response]

        assert expected == asyncio.run(main())
        assert not function.is_open
        response.close()

    def test_a_client_that_goes_away(self) -> None:
        """A body that is left half-way is ended inside its scope, which then closes."""

        async def body() -> AsyncGenerator[str, None]:
            try:
                yield "first"
                yield "second"
            finally:
                seen.append(user())

        async def main() -> None:
            response = function()
            async for _ in response.body_iterator:
                break
            await response.body_iterator.aclose()

        seen: list[str | None] = []
        function = Returning(lambda: StreamingResponse(body()))
        asyncio.run(main())
        assert ["alice"] == seen
        assert not function.is_open


class AnswersAll:
    """An object that answers to any name, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return iter("abc")


class TestUntouched:
    """Everything else is returned as it is, and its scope is closed."""

    @both
    @pytest.mark.parametrize(
        "value",
        [
            None,
            0,
            "text",
            b"bytes",
            ["list"],
            {"key": "value"},
            ("tuple",),
            {"set"},
            iter([1]),
            range(3),
            io.StringIO("a file"),
            generator,
            RunnableLambda(str),
            FakeListChatModel(responses=["42"]),
            Response("answer"),
            PlainTextResponse("answer"),
            HttpResponse("answer"),
            StreamingResponse,
        ],
        ids=lambda value: getattr(value, "__name__", type(value).__name__),
    )
    def test_returned_as_it_is(self, value: Any, is_async: bool) -> None:
        """The very same object comes back."""
        function = Returning(lambda: value)
        assert value is returned(function, is_async)
        assert not function.is_open

    def test_what_answers_to_any_name(self) -> None:
        """An object that answers to any name is not asked for one."""
        value = AnswersAll()
        function = Returning(lambda: value)
        assert value is function()
        assert [] == value.asked
        assert not function.is_open

    def test_futures_of_threads(self) -> None:
        """A thread's future is no work of the scope: it is returned as it is."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(user)
            function = Returning(lambda: future)
            assert future is function()
        assert not function.is_open


async def sent_by(response: StreamingResponse) -> bytes:
    """Return the body that a Starlette response sends to its client."""
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    return b"".join(sent)


def test_body_that_is_there_whole() -> None:
    """A response whose body is a list, or none, has no work to do, and stays as it is."""

    class Whole:
        def __init__(self, body: object) -> None:
            self.body_iterator = body

    bodies = [["all", "of it"], None]

    assert bodies == [
        alice(lambda body=body: Whole(body))().body_iterator for body in bodies
    ]
