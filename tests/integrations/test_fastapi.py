"""The FastAPI dependency, under a real uvicorn."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Body, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import PromptRecord, Scope, errors, identify, stats
from trubrics_trace.integrations.fastapi import trubrics_dependency

Serve = Callable[[Any], str]
Prompt = Annotated[str, Body()]

llm = FakeListChatModel(responses=["42"])
by_header = trubrics_dependency(
    user_id=lambda request: request.headers.get("x-user-id"), tags="web"
)


def current_user(request: Request) -> str:
    """Identify the user in a dependency."""
    user = request.headers["x-user-id"]
    identify(user)
    return user


def chat_app(  # noqa: C901 - a table of endpoints
    *, opened: list[Scope] | None = None
) -> FastAPI:
    """Every kind of endpoint, each behind the dependency."""
    app = FastAPI(dependencies=[Depends(by_header)])

    @app.post("/async")
    async def answer_soon(prompt: Prompt) -> str:
        return str((await llm.ainvoke(prompt)).content)

    @app.post("/sync")
    def answer(prompt: Prompt) -> str:
        return str(llm.invoke(prompt).content)

    @app.post("/async-stream")
    async def stream_soon(prompt: Prompt) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            async for chunk in llm.astream(prompt):
                yield str(chunk.content)

        return StreamingResponse(parts())

    @app.post("/sync-stream")
    def stream(
        prompt: Prompt, scope: Annotated[Scope, Depends(by_header)]
    ) -> StreamingResponse:
        if opened is not None:
            opened.append(scope)

        def parts() -> Iterator[str]:
            for chunk in llm.stream(prompt):
                yield str(chunk.content)

        return StreamingResponse(parts())

    @app.post("/background")
    async def answer_later(prompt: Prompt, tasks: BackgroundTasks) -> None:
        tasks.add_task(llm.invoke, prompt)

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(
            str((await llm.ainvoke(await socket.receive_text())).content)
        )

    return app


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for a fact; fail where it has not come true in time."""
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline, "waited for 5 s"
        time.sleep(0.001)


@pytest.mark.parametrize(
    "path", ["/async", "/sync", "/async-stream", "/sync-stream", "/background"]
)
def test_endpoints(
    serve_asgi: Serve, captured_prompts: list[PromptRecord], path: str
) -> None:
    """Any endpoint's model calls, also in its stream, belong to the request's user."""
    response = httpx.post(
        serve_asgi(chat_app()) + path, json="Hi", headers={"x-user-id": "alice"}
    )
    wait_until(lambda: bool(captured_prompts))

    assert 200 == response.status_code
    assert [("alice", ("langchain", "web"), "Hi")] == [
        (record.user_id, record.tags, record.prompt) for record in captured_prompts
    ]


@pytest.mark.parametrize("path", ["/async", "/sync", "/async-stream", "/sync-stream"])
def test_anonymous_request(
    serve_asgi: Serve, captured_prompts: list[PromptRecord], path: str
) -> None:
    """A request without the header is nobody's, also after one that had it."""
    with httpx.Client(base_url=serve_asgi(chat_app())) as client:
        client.post(path, json="x" * 100_000, headers={"x-user-id": "alice"})
        client.post(path, json="Hi")

    assert ["alice", None] == [record.user_id for record in captured_prompts]


@pytest.mark.parametrize("is_async", [False, True])
def test_two_users_at_once(
    serve_asgi: Serve, captured_prompts: list[PromptRecord], is_async: bool
) -> None:
    """Two requests that are answered at once keep their users apart."""
    app = FastAPI()
    both = threading.Barrier(2, timeout=5)

    async def answer_soon(prompt: Prompt) -> None:
        await asyncio.to_thread(both.wait)
        await llm.ainvoke(prompt)

    def answer(prompt: Prompt) -> None:
        both.wait()
        llm.invoke(prompt)

    app.post("/", dependencies=[Depends(by_header)])(answer_soon if is_async else answer)
    url = serve_asgi(app)

    def ask(user: str) -> None:
        httpx.post(url, json=f"I am {user}", headers={"x-user-id": user})

    threads = [threading.Thread(target=ask, args=(user,)) for user in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {("alice", "I am alice"), ("bob", "I am bob")} == {
        (record.user_id, record.prompt) for record in captured_prompts
    }


def test_scope_closes(serve_asgi: Serve, captured_prompts: list[PromptRecord]) -> None:
    """The dependency gives its scope, which closes once the stream has ended."""
    opened: list[Scope] = []
    httpx.post(
        serve_asgi(chat_app(opened=opened)) + "/sync-stream",
        json="Hi",
        headers={"x-user-id": "alice"},
    )

    assert ["alice"] == [scope.user_id for scope in opened]
    wait_until(lambda: not opened[0].is_open)


def test_stream_left_early(serve_asgi: Serve, captured_prompts: list[PromptRecord]) -> None:
    """The scope of a stream that its reader leaves closes too."""
    opened: list[Scope] = []
    app = FastAPI()

    @app.get("/")
    async def stream(scope: Annotated[Scope, Depends(by_header)]) -> StreamingResponse:
        opened.append(scope)

        async def parts() -> AsyncIterator[str]:
            while True:
                yield "x"
                await asyncio.sleep(0.001)

        return StreamingResponse(parts())

    with httpx.stream("GET", serve_asgi(app)) as response:
        parts = response.iter_raw()  # kept: who collects it leaves the stream
        next(parts)
        assert opened[0].is_open

    wait_until(lambda: not opened[0].is_open)


def test_user_known_by_another_dependency(
    serve_asgi: Serve, captured_prompts: list[PromptRecord]
) -> None:
    """A dependency that finds the user says so with `identify`, also from a thread."""
    app = FastAPI(dependencies=[Depends(trubrics_dependency(tags="web"))])

    @app.post("/")
    async def answer(prompt: Prompt, user: Annotated[str, Depends(current_user)]) -> None:
        await llm.ainvoke(prompt)

    httpx.post(serve_asgi(app), json="Hi", headers={"x-user-id": "alice"})

    assert ["alice"] == [record.user_id for record in captured_prompts]


def test_websocket(captured_prompts: list[PromptRecord]) -> None:
    """A WebSocket's model calls belong to the user who opened it."""
    messages = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "Hi"},
    ]

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        pass

    connection = {
        "type": "websocket",
        "path": "/talk",
        "query_string": b"",
        "headers": [(b"x-user-id", b"alice")],
    }
    asyncio.run(chat_app()(connection, receive, send))

    assert ["alice"] == [record.user_id for record in captured_prompts]


def test_schema() -> None:
    """The dependency adds nothing to the app's OpenAPI schema."""

    def schema(app: FastAPI) -> dict[str, Any]:
        @app.post("/")
        def answer(prompt: Prompt) -> str:
            return prompt

        return app.openapi()

    assert schema(FastAPI()) == schema(FastAPI(dependencies=[Depends(by_header)]))


def test_callable_that_takes_nothing() -> None:
    """A callable that does not take the request is refused where it is given."""
    with pytest.raises(errors.ConfigurationError, match="the Request"):
        trubrics_dependency(user_id=lambda: "alice")


@pytest.mark.skipif(
    "scope" not in inspect.signature(Depends).parameters,
    reason="this FastAPI knows no scopes of dependencies",
)
def test_dependency_of_the_function(
    serve_asgi: Serve, captured_prompts: list[PromptRecord]
) -> None:
    """With `scope="function"` it ends before a stream begins, whose calls are late."""
    app = FastAPI()
    by_header = Depends(trubrics_dependency(user_id="alice"), scope="function")

    @app.post("/stream", dependencies=[by_header])
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            async for chunk in llm.astream("?"):
                yield str(chunk.content)

        return StreamingResponse(body())

    httpx.post(serve_asgi(app) + "/stream")

    assert [] == captured_prompts
    assert {"late": 1} == stats().noticed
