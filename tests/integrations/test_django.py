"""The Django middleware, under wsgiref and uvicorn."""

# mypy: disable-error-code="import-untyped, untyped-decorator"
# Django ships no types.

from __future__ import annotations

import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from django.utils.asyncio import async_unsafe
from django.utils.decorators import method_decorator
from django.views import View
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import PromptRecord, Scope, current_scope, errors, trubrics_trace
from trubrics_trace.integrations.django import TrubricsMiddleware

Serve = Callable[[Any], str]

if not settings.configured:
    settings.configure()

llm = FakeListChatModel(responses=["42"])
both = threading.Barrier(2)


@async_unsafe("a database cannot be read in the event loop")
def user_in_database(request: HttpRequest) -> str | None:
    """Return who asks, as a database would: never in the event loop."""
    user: str | None = request.headers.get("x-user-id")
    return user


SITE: dict[str, Any] = {
    "ALLOWED_HOSTS": ["*"],
    "MIDDLEWARE": ["trubrics_trace.integrations.django.TrubricsMiddleware"],
    "ROOT_URLCONF": __name__,
    "TRUBRICS": {"user_id": user_in_database, "tags": ["web"]},
}


def answer(request: HttpRequest) -> HttpResponse:
    """Answer at once, in the call."""
    return HttpResponse(str(llm.invoke(request.body.decode()).content))


async def answer_soon(request: HttpRequest) -> HttpResponse:
    """Answer from the event loop."""
    return HttpResponse(str((await llm.ainvoke(request.body.decode())).content))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer as a stream that outlives the view."""
    prompt = request.body.decode()
    return StreamingHttpResponse(str(chunk.content) for chunk in llm.stream(prompt))


async def stream_soon(request: HttpRequest) -> StreamingHttpResponse:
    """Answer as a stream that the event loop steps."""

    async def parts() -> AsyncIterator[str]:
        async for chunk in llm.astream(request.body.decode()):
            yield str(chunk.content)

    return StreamingHttpResponse(parts())


def stream_together(request: HttpRequest) -> StreamingHttpResponse:
    """Answer as a stream that begins once another has."""

    def parts() -> Iterator[str]:
        both.wait(5)
        for chunk in llm.stream(request.body.decode()):
            yield str(chunk.content)

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("sync", answer),
    path("async", answer_soon),
    path("sync-stream", stream),
    path("async-stream", stream_soon),
    path("together", stream_together),
]


@pytest.fixture(params=["wsgi", "asgi"])
def url(
    request: pytest.FixtureRequest, serve_wsgi: Serve, serve_asgi: Serve
) -> Iterator[str]:
    """Serve the site, under either kind of server."""
    with override_settings(**SITE):
        if request.param == "wsgi":
            yield serve_wsgi(WSGIHandler())
        else:
            yield serve_asgi(ASGIHandler())


# Django warns where a stream is of the other kind than the server, and serves it all the
# same.
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")
@pytest.mark.parametrize("page", ["sync", "async", "sync-stream", "async-stream"])
def test_view(captured_prompts: list[PromptRecord], url: str, page: str) -> None:
    """A view's model calls, also in its stream, belong to its user; without one, nobody."""
    with httpx.Client(base_url=url) as client:
        text = client.post(page, content="Hi", headers={"x-user-id": "alice"}).text
        client.post(page, content="Hi")

    assert "42" == text
    assert [("alice", ("langchain", "web")), (None, ("langchain", "web"))] == [
        (record.user_id, record.tags) for record in captured_prompts
    ]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")
@pytest.mark.parametrize("url", ["wsgi"], indirect=True)
def test_two_users_at_once(captured_prompts: list[PromptRecord], url: str) -> None:
    """Two bodies that are streamed at once keep their users apart."""

    def ask(user: str) -> None:
        httpx.post(f"{url}/together", content=f"I am {user}", headers={"x-user-id": user})

    threads = [threading.Thread(target=ask, args=(user,)) for user in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {("alice", "I am alice"), ("bob", "I am bob")} == {
        (record.user_id, record.prompt) for record in captured_prompts
    }


def respond(response: Any) -> tuple[Any, Scope]:
    """Let the middleware answer a request; return what it does, and the scope inside."""
    scopes: list[Scope] = []

    def get_response(request: HttpRequest) -> Any:
        scope = current_scope()
        assert scope is not None
        scopes.append(scope)
        if isinstance(response, BaseException):
            raise response
        return response

    with override_settings(TRUBRICS={"user_id": "alice"}):
        answered = TrubricsMiddleware(get_response)(RequestFactory().get("/"))
    return answered, scopes[0]


def test_scope_closes() -> None:
    """The scope closes with a whole response, or when its stream has ended."""
    _, whole = respond(HttpResponse("42"))
    assert not whole.is_open

    response, streaming = respond(StreamingHttpResponse(iter(["4", "2"])))
    assert streaming.is_open
    assert b"42" == b"".join(response)
    assert not streaming.is_open
    assert current_scope() is None


def test_file() -> None:
    """A file's response keeps its file, so that the server may send it in its own way."""
    file = io.BytesIO(b"x")
    response, scope = respond(FileResponse(file))

    assert file is response.file_to_stream
    assert not scope.is_open
    response.close()


def test_view_that_raises() -> None:
    """What comes through the middleware as an exception goes on, and closes the scope."""
    with pytest.raises(SystemExit):
        respond(SystemExit())

    assert current_scope() is None


def test_settings_left_out() -> None:
    """Without the setting the middleware opens a scope of nobody."""
    scopes: list[Scope | None] = []

    def get_response(request: HttpRequest) -> HttpResponse:
        scopes.append(current_scope())
        return HttpResponse()

    TrubricsMiddleware(get_response)(RequestFactory().get("/"))

    assert [None] == [scope.user_id for scope in scopes if scope is not None]


@pytest.mark.parametrize(
    ("trubrics", "message"),
    [("alice", "make it a dict"), ({"user_id": lambda: "alice"}, "the HttpRequest")],
)
def test_wrong_settings(trubrics: object, message: str) -> None:
    """A setting that is no dict, or has a callable that takes nothing, is refused."""
    with (
        override_settings(TRUBRICS=trubrics),
        pytest.raises(errors.ConfigurationError, match=message),
    ):
        TrubricsMiddleware(lambda request: HttpResponse())


def test_nothing_to_ask() -> None:
    """Without callables an async request is answered in the loop, with no thread's help."""
    scopes: list[Scope | None] = []

    async def get_response(request: HttpRequest) -> HttpResponse:
        scopes.append(current_scope())
        return HttpResponse()

    with override_settings(TRUBRICS={"user_id": "alice", "tags": ["site"]}):
        door = TrubricsMiddleware(get_response)
    answering: Any = door(RequestFactory().get("/"))
    with pytest.raises(StopIteration):  # with the first step, outside any loop
        answering.send(None)

    [scope] = scopes
    assert scope is not None
    assert ("alice", ("site",), False) == (scope.user_id, scope.tags, scope.is_open)


def test_repr() -> None:
    """The middleware says who asks, and not what the metadata holds."""
    with override_settings(TRUBRICS={"user_id": "alice", "plan": "a-secret"}):
        door = TrubricsMiddleware(lambda request: HttpResponse())

    assert "TrubricsMiddleware(user_id='alice', plan=...)" == repr(door)


def test_decorated_class() -> None:
    """Django's `method_decorator` takes the decorator, with a user from the request."""

    @method_decorator(
        trubrics_trace(user_id=lambda request: request.headers["x-user-id"]),
        name="dispatch",
    )
    class Chat(View):  # type: ignore[misc] # it ships no types
        def get(self, request: HttpRequest) -> HttpResponse:
            scope = current_scope()
            return HttpResponse(str(scope and scope.user_id))

    request = RequestFactory().get("/", headers={"x-user-id": "alice"})
    assert b"alice" == Chat.as_view()(request).content
