"""One Django site thrice: behind the middleware, with the decorator alone, and bare."""

# mypy: disable-error-code="import-untyped"
# Django ships no types.

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import identify, trubrics_trace

# It takes its time, so that requests meet inside.
llm = FakeListChatModel(responses=["42"], sleep=0.001)


def user_in_header(request: HttpRequest) -> str | None:
    """Return whom the request says that it is from."""
    user: str | None = request.headers.get("x-user-id")
    return user


def introduce(request: HttpRequest) -> None:
    """Say who asks, where only the view may know."""
    if "x-name" in request.headers:
        identify(request.headers["x-name"])


def answer(request: HttpRequest, prompt: str) -> HttpResponse:
    """Answer at once, in the call."""
    introduce(request)
    return HttpResponse(str(llm.invoke(prompt).content))


async def answer_soon(request: HttpRequest, prompt: str) -> HttpResponse:
    """Answer from the event loop."""
    introduce(request)
    return HttpResponse(str((await llm.ainvoke(prompt)).content))


def stream(request: HttpRequest, prompt: str) -> StreamingHttpResponse:
    """Answer as a stream that outlives the view."""
    introduce(request)
    return StreamingHttpResponse(str(chunk.content) for chunk in llm.stream(prompt))


async def stream_soon(request: HttpRequest, prompt: str) -> StreamingHttpResponse:
    """Answer as a stream that the event loop steps."""

    async def parts() -> AsyncIterator[str]:
        introduce(request)
        async for chunk in llm.astream(prompt):
            yield str(chunk.content)

    return StreamingHttpResponse(parts())


VIEWS: dict[str, Any] = {
    "sync": answer,
    "async": answer_soon,
    "stream": stream,
    "async-stream": stream_soon,
}

urlpatterns = []
for name, view in VIEWS.items():
    traced = trubrics_trace(user_id=user_in_header)(view)
    urlpatterns.append(path(f"door/{name}/<prompt>", view))
    urlpatterns.append(path(f"bare/{name}/<prompt>", view))
    urlpatterns.append(path(f"decorator/{name}/<prompt>", traced))

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["trubrics_trace.integrations.django.TrubricsMiddleware"],
    ROOT_URLCONF=__name__,
    TRUBRICS={"user_id": user_in_header},
)
django.setup()
wsgi_door, asgi_door = WSGIHandler(), ASGIHandler()
with override_settings(MIDDLEWARE=[]):
    wsgi_bare, asgi_bare = WSGIHandler(), ASGIHandler()


def is_behind_door(path: str) -> bool:
    """Whether the site answers a path from behind the middleware."""
    return path.startswith("/door/")


def wsgi(environ: Any, start_response: Any) -> Any:
    """Let the app behind the door answer, or the bare one, by the path."""
    handler = wsgi_door if is_behind_door(environ["PATH_INFO"]) else wsgi_bare
    return handler(environ, start_response)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Let Django answer a request; no lifespan."""
    if scope["type"] == "http":
        handler = asgi_door if is_behind_door(scope["path"]) else asgi_bare
        await handler(scope, receive, send)
