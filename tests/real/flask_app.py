"""One Flask site thrice: behind the extension, with the decorator alone, and bare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request, stream_with_context
from langchain_core.language_models import FakeListChatModel
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from trubrics_trace import identify, trubrics_trace
from trubrics_trace.integrations.flask import Trubrics

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
    return stream(prompt)


def stream_in_request(prompt: str) -> Response:
    """Answer as a stream that keeps the request while it lasts."""

    def parts() -> Iterator[str]:
        introduce()
        for chunk in llm.stream(str((request.view_args or {})["prompt"])):
            yield str(chunk.content)

    return Response(stream_with_context(parts()))


def stream_with_headers(prompt: str) -> tuple[Iterator[str], dict[str, str]]:
    """Answer as a stream that comes with headers, in a tuple."""
    introduce()
    parts = (str(chunk.content) for chunk in llm.stream(prompt))
    return parts, {"Content-Type": "text/plain"}


def generate(prompt: str) -> Iterator[str]:
    """Answer as a bare generator."""
    for chunk in llm.stream(prompt):
        yield str(chunk.content)


@stream_with_context
def generate_in_request(prompt: str) -> Iterator[str]:
    """Answer as a bare generator that keeps the request."""
    introduce()
    yield from generate(prompt)


VIEWS: dict[str, Any] = {
    "sync": answer,
    "async": answer_soon,
    "stream": stream,
    "async-stream": stream_soon,
    "stream-with-context": stream_in_request,
    "stream-with-headers": stream_with_headers,
    "generator": generate,
    "generator-with-context": generate_in_request,
}

door, decorated, bare = Flask("door"), Flask("decorated"), Flask("bare")
Trubrics(door, user_id=user_in_header)
for name, view in VIEWS.items():
    door.add_url_rule(f"/{name}/<prompt>", name, view)
    bare.add_url_rule(f"/{name}/<prompt>", name, view)
    traced = trubrics_trace(user_id=user_in_header)(view)
    decorated.add_url_rule(f"/{name}/<prompt>", name, traced)

app = DispatcherMiddleware(
    NotFound(), {"/door": door, "/decorator": decorated, "/bare": bare}
)
