"""Wherever a framework, or LangChain, keeps what it will stream, it is followed there."""

from __future__ import annotations

import asyncio
import gc
import importlib
import io
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, request, stream_with_context
from langchain_core.language_models import FakeListChatModel
from starlette.responses import StreamingResponse
from werkzeug.wsgi import ClosingIterator, wrap_file

from trubrics_trace import (
    PromptRecord,
    Scope,
    current_scope,
    trubrics_scope,
    trubrics_trace,
)

llm = FakeListChatModel(responses=["42"])
alice = trubrics_trace(user_id="alice")


def user() -> str:
    """Return the current user; a str that no test uses where no scope is current."""
    scope = current_scope()
    return "no scope" if scope is None else str(scope.user_id)


def users() -> Iterator[str]:
    """Name the user, twice."""
    yield user()
    yield user()


async def users_later() -> AsyncIterator[str]:
    """Name the user, twice, later."""
    for name in users():
        await asyncio.sleep(0)
        yield name


def traced(make: Callable[[], Any], scopes: list[Scope]) -> Any:
    """Return what a traced function makes of `make`, and remember its scope."""

    @alice
    def function() -> Any:
        scope = current_scope()
        assert scope is not None
        scopes.append(scope)
        return make()

    return function()


@pytest.fixture
def scopes() -> list[Scope]:
    """Return where a test finds the scopes that were opened."""
    return []


class TestWerkzeug:
    """Flask's responses, made of what is iterated over."""

    def test_generators(self, scopes: list[Scope]) -> None:
        """A streamed body has the scope, which closes when it has ended."""
        response = traced(lambda: Response(users(), 202), scopes)
        assert (Response, 202, True) == (
            type(response),
            response.status_code,
            response.is_streamed,
        )
        assert scopes[0].is_open
        assert ["alice", "alice"] == list(response.response)
        assert not scopes[0].is_open

    def test_closed_unread(self, scopes: list[Scope]) -> None:
        """A body that nobody reads is closed with its response, and so is the scope."""
        response = traced(lambda: Response(users()), scopes)
        response.close()
        assert not scopes[0].is_open

    def test_iterators_with_a_close(self, scopes: list[Scope]) -> None:
        """An iterator's own `close` is called as PEP 3333 wants it, read or not."""
        closed: list[str] = []
        body: Any = users
        for is_read in (True, False):
            response = traced(
                lambda: Response(ClosingIterator(body(), lambda: closed.append("closed"))),
                scopes,
            )
            if is_read:
                assert ["alice", "alice"] == list(response.response)
            response.close()
        assert 2 <= len(closed)
        assert [False, False] == [scope.is_open for scope in scopes]

    def test_views(self) -> None:
        """A Flask view's stream has the view's user, with its request context or not."""
        app = Flask(__name__)

        @trubrics_trace(user_id=lambda: request.headers["x-user-id"])
        def view() -> Response:
            return Response(users())

        @trubrics_trace(user_id=lambda: request.headers["x-user-id"])
        def view_with_context() -> Response:
            return Response(stream_with_context(users()))

        app.get("/plain")(view)
        app.get("/context")(view_with_context)
        client = app.test_client()
        assert ["bobbob", "bobbob"] == [
            client.get(path, headers={"x-user-id": "bob"}).text
            for path in ("/plain", "/context")
        ]

    @pytest.mark.parametrize("body", ["text", [b"a", b"list"], None])
    def test_whole_bodies(self, body: Any, scopes: list[Scope]) -> None:
        """A body that is there whole stays as it is."""
        response = traced(lambda: Response(body), scopes)
        assert response.is_sequence
        assert not scopes[0].is_open

    def test_files(self, scopes: list[Scope]) -> None:
        """A file is handed on, for the server to send it in its own way."""
        file = wrap_file({}, io.BytesIO(b"a file"))
        response = traced(lambda: Response(file, direct_passthrough=True), scopes)
        assert file is response.response
        assert not scopes[0].is_open


def test_quart(scopes: list[Scope]) -> None:
    """A Quart response's async or sync body has the scope, as has that of its view."""
    quart = pytest.importorskip("quart", reason="Quart is not installed here")

    async def read(body: Any) -> list[str]:
        response = traced(lambda: quart.Response(body), scopes)
        async with response.response as parts:
            return [part async for part in parts]

    assert ["alice", "alice"] == asyncio.run(read(users_later()))
    assert ["alice", "alice"] == asyncio.run(read(users()))
    assert [False, False] == [scope.is_open for scope in scopes]


@pytest.mark.parametrize("make", [users, users_later])
def test_litestar(make: Callable[[], Any], scopes: list[Scope]) -> None:
    """A Litestar stream's iterator has the scope."""
    streaming = pytest.importorskip(
        "litestar.response", reason="Litestar is not installed here"
    )
    response = traced(lambda: streaming.Stream(make()), scopes)

    async def read() -> list[str]:
        if make is users:
            return list(response.iterator)
        return [part async for part in response.iterator]

    assert ["alice", "alice"] == asyncio.run(read())
    assert not scopes[0].is_open


def test_events_of_sse(scopes: list[Scope]) -> None:
    """An `EventSourceResponse` has the scope to its last event."""
    sse = pytest.importorskip("sse_starlette", reason="sse-starlette is not installed here")
    response = traced(lambda: sse.EventSourceResponse(users_later()), scopes)

    async def read() -> list[str]:
        return [part async for part in response.body_iterator]

    assert ["alice", "alice"] == asyncio.run(read())
    assert not scopes[0].is_open


def test_coroutine_of_a_response(scopes: list[Scope]) -> None:
    """What a returned coroutine returns is followed in turn."""

    async def respond() -> StreamingResponse:
        return StreamingResponse(users_later())

    async def read() -> list[Any]:
        response = await traced(respond, scopes)
        assert scopes[0].is_open
        return [part async for part in response.body_iterator]

    assert ["alice", "alice"] == asyncio.run(read())
    assert not scopes[0].is_open


def test_coroutine_of_what_is_done(scopes: list[Scope]) -> None:
    """A coroutine that returns what is done, or raises, closes the scope."""

    async def answer() -> str:
        return user()

    async def fail() -> str:
        raise LookupError

    async def main() -> None:
        assert "alice" == await traced(answer, scopes)
        with pytest.raises(LookupError):
            await traced(fail, scopes)

    asyncio.run(main())
    assert [False, False] == [scope.is_open for scope in scopes]


@pytest.fixture
def experimental() -> Iterator[None]:
    """Let LangChain's `version="v3"` be used, or skip where it is not there."""
    if not hasattr(FakeListChatModel, "stream_events"):
        pytest.skip('this langchain-core has no `version="v3"`')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is in beta, and says so
        yield


@pytest.mark.usefixtures("experimental")
class TestTypedStreams:
    """LangChain's `version="v3"` begins when it is first read, wherever that is."""

    def test_model(self, captured_prompts: list[PromptRecord], scopes: list[Scope]) -> None:
        """A model's stream belongs to the function that returned it."""
        stream = traced(lambda: llm.stream_events("?", version="v3"), scopes)
        with trubrics_scope(user_id="bob"):
            assert "42" == str(stream.text)
            assert "42" == str(stream.text)
        assert ["alice"] == [record.user_id for record in captured_prompts]
        assert not scopes[0].is_open

    def test_async_model(
        self, captured_prompts: list[PromptRecord], scopes: list[Scope]
    ) -> None:
        """So does an async one, in whatever task it is read."""

        async def main() -> None:
            stream = await traced(lambda: llm.astream_events("?", version="v3"), scopes)
            with trubrics_scope(user_id="bob"):
                assert "42" == await asyncio.create_task(read(stream))
                await stream

        async def read(stream: Any) -> str:
            return "".join([part async for part in stream.text])

        asyncio.run(main())
        assert ["alice"] == [record.user_id for record in captured_prompts]
        assert not scopes[0].is_open

    def test_never_read(self, scopes: list[Scope]) -> None:
        """One that is dropped unread leaves no scope open."""
        stream = traced(lambda: llm.stream_events("?", version="v3"), scopes)
        assert scopes[0].is_open
        del stream
        gc.collect()
        assert not scopes[0].is_open

    def test_failing_start(self, scopes: list[Scope]) -> None:
        """One whose start raises says so, and leaves no scope open."""

        class Stream:
            _ensure_started: Any

            def set_start(self, start: Any) -> None:
                self._ensure_started = start

        def fail() -> None:
            raise LookupError

        stream = Stream()
        stream.set_start(fail)
        with pytest.raises(LookupError):
            traced(lambda: stream, scopes)._ensure_started()
        assert not scopes[0].is_open

    def test_graph(self, captured_prompts: list[PromptRecord], scopes: list[Scope]) -> None:
        """A graph's stream belongs to the function that returned it, sync and async."""
        graph = compiled_graph()
        if not hasattr(graph, "stream_events"):
            pytest.skip('this langgraph has no `version="v3"`')

        async def main() -> None:
            stream = await traced(
                lambda: graph.astream_events({"messages": ["?"]}, version="v3"), scopes
            )
            with trubrics_scope(user_id="bob"):
                await stream.output()

        stream = traced(
            lambda: graph.stream_events({"messages": ["?"]}, version="v3"), scopes
        )
        with trubrics_scope(user_id="bob"):
            assert stream.output
        asyncio.run(main())
        assert ["alice", "alice"] == [record.user_id for record in captured_prompts]
        assert [False, False] == [scope.is_open for scope in scopes]


def compiled_graph() -> Any:
    """Return a graph of one node that asks a model; skips where there is no LangGraph."""
    pytest.importorskip("langgraph", reason="LangGraph is not installed here")
    graph = importlib.import_module("langgraph.graph")
    built = graph.StateGraph(graph.MessagesState)
    built.add_node("node", lambda _: {"messages": [llm.invoke("?")]})
    built.add_edge(graph.START, "node")
    return built.compile()


def test_body_with_headers(scopes: list[Scope]) -> None:
    """A body that a view returns with its status and headers, in a tuple, is followed."""
    body, *rest = traced(lambda: (users(), 202, {"x-own": "1"}), scopes)
    assert [202, {"x-own": "1"}] == rest
    assert ["alice", "alice"] == list(body)
    assert not scopes[0].is_open


@pytest.mark.parametrize("value", [(), ("text", users), ((users(),), 1)])
def test_tuples_of_what_is_done(value: tuple[Any, ...], scopes: list[Scope]) -> None:
    """Any other tuple comes back as it is."""
    assert value is traced(lambda: value, scopes)
    assert not scopes[0].is_open
