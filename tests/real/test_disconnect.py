"""Streams that are read to their end, and streams that their reader leaves half-way."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from tests.real.uvicorn_server import SERVERS, Server, serve_uvicorn
from trubrics_trace import PromptRecord, Scope, current_scope, stats, trubrics_trace
from trubrics_trace.integrations.asgi import TrubricsMiddleware, header

FOR_EVER = 1_000_000


class Talker(BaseChatModel):
    """A model that says as many words as it is asked for, one a millisecond."""

    @property
    def _llm_type(self) -> str:
        return "talker"

    def _generate(self, messages: Any, *_: Any, **__: Any) -> ChatResult:
        answer = "".join(words(messages))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])

    def _stream(self, messages: Any, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for word in words(messages):
            time.sleep(0.001)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))

    async def _astream(
        self, messages: Any, *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in words(messages):
            await asyncio.sleep(0.001)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def words(messages: Any) -> Iterator[str]:
    """Yield the words that the last message asks for."""
    how_many = int(str(messages[-1].content).split()[0])
    return (f"word-{number} " for number in range(how_many))


def said(how_many: int) -> str:
    """Return what the model says when it is asked for so many words."""
    return "".join(f"word-{number} " for number in range(how_many))


def streaming(opened: list[Scope | None]) -> dict[str, Callable[..., Any]]:
    """Return endpoints that return a stream, by what kind of body they give it."""
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    chain: Runnable[Any, str] = prompt | Talker() | StrOutputParser()

    async def stream(request: Request, question: str) -> StreamingResponse:
        opened.append(current_scope())
        return StreamingResponse(chain.astream({"question": question}))

    def stream_from_thread(request: Request, question: str) -> StreamingResponse:
        def parts() -> Iterator[str]:  # a chain's own would read the model to its end
            for chunk in Talker().stream(question):
                yield str(chunk.content)

        opened.append(current_scope())
        return StreamingResponse(parts())

    async def stream_events(request: Request, question: str) -> Response:
        from sse_starlette import EventSourceResponse

        opened.append(current_scope())
        return EventSourceResponse(chain.astream({"question": question}))

    return {"async": stream, "sync": stream_from_thread, "events": stream_events}


def site(door: str, opened: list[Scope | None]) -> Any:
    """Return an app of these endpoints, their user told by the decorator or outside."""
    app = FastAPI()
    for body, endpoint in streaming(opened).items():
        traced = trubrics_trace(user_id=user_of)(endpoint)
        app.get(f"/{body}")(traced if door == "decorator" else endpoint)
    return app if door == "decorator" else TrubricsMiddleware(app, user_id=by_header)


by_header = header("x-user-id")


def user_of(request: Request) -> str:
    """Return whom the request says that it is from."""
    return request.headers["x-user-id"]


async def read(
    client: httpx.AsyncClient, body: str, user: str, how_many: int, until: int = FOR_EVER
) -> str:
    """Ask for so many words, read `until` so many have come, and hang up."""
    params, headers = {"question": f"{how_many} words, for {user}"}, {"x-user-id": user}
    read = ""
    async with client.stream("GET", f"/{body}", params=params, headers=headers) as answer:
        assert 200 == answer.status_code
        async for text in answer.aiter_text():
            read += "".join(re.findall(r"word-\d+ ", text))
            if read.count(" ") >= until:
                break
    return read


def read_all(
    address: tuple[str, int], *reads: Callable[[httpx.AsyncClient], Awaitable[str]]
) -> list[str]:
    """Return what each reader has read, all at once."""

    async def read_together() -> list[str]:
        url = "http://{}:{}".format(*address)
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            return await asyncio.gather(*(read(client) for read in reads))

    return asyncio.run(read_together())


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for a fact; fail where it has not come true in time."""
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until, "waited 30 s"
        time.sleep(0.001)


def assert_all_is_told(opened: list[Scope | None], prompts: list[PromptRecord]) -> None:
    """Wait until each scope has closed; nothing is late, nothing given up."""

    def is_told() -> bool:
        gc.collect()  # Starlette closes no sync body that its reader has left
        return len(opened) == len(prompts)

    wait_until(is_told)
    assert None not in opened
    wait_until(lambda: not any(scope.is_open for scope in opened if scope))
    assert ({}, {}) == (stats().noticed, stats().dropped)


@pytest.fixture(params=[SERVERS[0], SERVERS[-1]], ids="-".join)
def server(request: pytest.FixtureRequest) -> Server:
    """Return each of the servers in turn."""
    kind: Server = request.param
    return kind


@pytest.fixture(params=["async", "sync", "events"])
def body(request: pytest.FixtureRequest) -> str:
    """Return each kind of body in turn."""
    if request.param == "events":
        pytest.importorskip("sse_starlette")
    return str(request.param)


@pytest.mark.parametrize("door", ["decorator", "middleware"])
def test_stream_read_to_its_end(
    server: Server, captured_prompts: list[PromptRecord], door: str, body: str
) -> None:
    """A stream that is read to its end is one complete record under its user."""
    opened: list[Scope | None] = []
    with serve_uvicorn(site(door, opened), server) as address:
        [text] = read_all(address, lambda client: read(client, body, "alice", 20))
        assert_all_is_told(opened, captured_prompts)

    [record] = captured_prompts
    assert ("alice", "complete", said(20)) == (
        record.user_id,
        record.status,
        record.generation,
    )
    assert said(20) == text


@pytest.mark.parametrize("door", ["decorator", "middleware"])
def test_stream_left_half_way(
    server: Server, captured_prompts: list[PromptRecord], door: str, body: str
) -> None:
    """A stream that its reader leaves is told as left, with the text until then."""
    opened: list[Scope | None] = []
    with serve_uvicorn(site(door, opened), server) as address:
        [text] = read_all(address, lambda client: read(client, body, "alice", FOR_EVER, 10))
        assert_all_is_told(opened, captured_prompts)

    [record] = captured_prompts
    assert "alice" == record.user_id
    assert record.status in {"stopped", "cancelled"}
    assert record.error_type is None
    assert str(record.generation).startswith(text)


@pytest.mark.parametrize("door", ["decorator", "middleware"])
def test_half_of_many_readers_leave(
    server: Server, captured_prompts: list[PromptRecord], door: str, body: str
) -> None:
    """Of twenty users at once, half of whom leave, each has a record of their own."""
    opened: list[Scope | None] = []
    staying = {f"user-{number}" for number in range(0, 20, 2)}
    leaving = {f"user-{number}" for number in range(1, 20, 2)}
    with serve_uvicorn(site(door, opened), server) as address:
        read_all(
            address,
            *(partial(read, body=body, user=user, how_many=50) for user in staying),
            *(
                partial(read, body=body, user=user, how_many=FOR_EVER, until=25)
                for user in leaving
            ),
        )
        assert_all_is_told(opened, captured_prompts)

    prompts = {f"50 words, for {user}": user for user in staying}
    prompts |= {f"{FOR_EVER} words, for {user}": user for user in leaving}
    assert prompts == {record.prompt: record.user_id for record in captured_prompts}
    assert 20 == len(captured_prompts)
    complete = [record for record in captured_prompts if record.status == "complete"]
    assert staying == {record.user_id for record in complete}
    assert {said(50)} == {record.generation for record in complete}
    left = [record for record in captured_prompts if record.status != "complete"]
    assert {record.status for record in left} <= {"stopped", "cancelled"}
    assert all(str(record.generation).startswith(said(25)) for record in left)
