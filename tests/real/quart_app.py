"""One Quart app thrice: behind the middleware, with the decorator alone, and bare."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.language_models import FakeListChatModel
from quart import Quart, Response, request, stream_with_context

from trubrics_trace import identify, trubrics_trace
from trubrics_trace.integrations.asgi import TrubricsMiddleware, header

# It takes its time, so that requests meet inside.
llm = FakeListChatModel(responses=["42"], sleep=0.001)


def user_in_header() -> str | None:
    """Return whom the request says that it is from."""
    return request.headers.get("x-user-id")


def introduce() -> None:
    """Say who asks, where only the view may know."""
    if "x-name" in request.headers:
        identify(request.headers["x-name"])


def answer(prompt: str) -> str:
    """Answer at once, in the call."""
    introduce()
    return str(llm.invoke(prompt).content)


async def answer_soon(prompt: str) -> str:
    """Answer from the event loop."""
    introduce()
    return str((await llm.ainvoke(prompt)).content)


def stream(prompt: str) -> Response:
    """Answer as a stream that outlives the view."""
    introduce()
    return Response(str(chunk.content) for chunk in llm.stream(prompt))


async def stream_soon(prompt: str) -> Response:
    """Answer as a stream that the event loop steps."""

    @stream_with_context
    async def parts() -> AsyncIterator[str]:
        introduce()
        async for chunk in llm.astream(prompt):
            yield str(chunk.content)

    return Response(parts())


async def generate(prompt: str) -> AsyncIterator[str]:
    """Answer as a bare generator."""
    introduce()
    return (str(chunk.content) async for chunk in llm.astream(prompt))


async def stream_with_headers(prompt: str) -> tuple[AsyncIterator[str], dict[str, str]]:
    """Answer as a stream that comes with headers, in a tuple."""
    return await generate(prompt), {"Content-Type": "text/plain"}


VIEWS: dict[str, Any] = {
    "sync": answer,
    "async": answer_soon,
    "stream": stream,
    "async-stream": stream_soon,
    "async-generator": generate,
    "stream-with-headers": stream_with_headers,
}

# Any: their messages are TypedDicts, which no mapping is to a type checker.
APPS: dict[str, Any] = {name: Quart(name) for name in ("door", "decorator", "bare")}
door = APPS["door"]
door.asgi_app = TrubricsMiddleware(door.asgi_app, user_id=header("x-user-id"))
for name, view in VIEWS.items():
    traced = trubrics_trace(user_id=user_in_header)(view)
    door.add_url_rule(f"/door/{name}/<prompt>", name, view)
    APPS["decorator"].add_url_rule(f"/decorator/{name}/<prompt>", name, traced)
    APPS["bare"].add_url_rule(f"/bare/{name}/<prompt>", name, view)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Hand a request to the app that its path begins with; no lifespan."""
    if scope["type"] == "http":
        await APPS[scope["path"].split("/")[1]](scope, receive, send)
