"""One Litestar app thrice: behind the middleware, with the decorator alone, and bare."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.language_models import FakeListChatModel
from litestar import Litestar, MediaType, Request, Router, get
from litestar.middleware import DefineMiddleware
from litestar.response import Stream

from trubrics_trace import identify, trubrics_trace
from trubrics_trace.integrations.asgi import TrubricsMiddleware, header

# It takes its time, so that requests meet inside.
llm = FakeListChatModel(responses=["42"], sleep=0.001)


def user_in_header(request: Request[Any, Any, Any]) -> str | None:
    """Return whom the request says that it is from."""
    return request.headers.get("x-user-id")


def introduce(request: Request[Any, Any, Any]) -> None:
    """Say who asks, where only the handler may know."""
    if "x-name" in request.headers:
        identify(request.headers["x-name"])


def answer(request: Request[Any, Any, Any], prompt: str) -> str:
    """Answer at once, in the call."""
    introduce(request)
    return str(llm.invoke(prompt).content)


async def answer_soon(request: Request[Any, Any, Any], prompt: str) -> str:
    """Answer from the event loop."""
    introduce(request)
    return str((await llm.ainvoke(prompt)).content)


def stream(request: Request[Any, Any, Any], prompt: str) -> Stream:
    """Answer as a stream that outlives the view."""
    introduce(request)
    return Stream(str(chunk.content) for chunk in llm.stream(prompt))


async def stream_soon(request: Request[Any, Any, Any], prompt: str) -> Stream:
    """Answer as a stream that the event loop steps."""

    async def parts() -> AsyncIterator[str]:
        introduce(request)
        async for chunk in llm.astream(prompt):
            yield str(chunk.content)

    return Stream(parts())


IN_THREAD = {"sync_to_thread": True}
VIEWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sync": (answer, IN_THREAD),
    "async": (answer_soon, {}),
    "stream": (stream, IN_THREAD),
    "async-stream": (stream_soon, {}),
}


def routes(path: str, traced: Any, middleware: Any = ()) -> Router:
    """Return the routes below a path, each handler as `traced` makes it."""
    handlers = [
        get(f"/{name}/{{prompt:str}}", media_type=MediaType.TEXT, **options)(traced(view))
        for name, (view, options) in VIEWS.items()
    ]
    return Router(path, route_handlers=handlers, middleware=middleware)


# Any: Litestar's messages are TypedDicts, which no mapping is to a type checker.
middleware: Any = TrubricsMiddleware
app = Litestar(
    [
        routes(
            "/door",
            lambda view: view,
            [DefineMiddleware(middleware, user_id=header("x-user-id"))],
        ),
        routes("/decorator", trubrics_trace(user_id=user_in_header)),
        routes("/bare", lambda view: view),
    ],
    logging_config=None,
)
