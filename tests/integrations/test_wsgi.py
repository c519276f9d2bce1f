"""The WSGI middleware, under wsgiref and by hand."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import httpx
import pytest
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import PromptRecord, Scope, current_scope, errors, trubrics_scope
from trubrics_trace.integrations.wsgi import TrubricsWSGIMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Serve = Callable[[Any], str]

llm = FakeListChatModel(responses=["42"])


def traced(app: WSGIApplication) -> TrubricsWSGIMiddleware:
    """Return an app behind our middleware."""
    return TrubricsWSGIMiddleware(
        app, user_id=lambda environ: environ.get("HTTP_X_USER_ID"), tags="web"
    )


def prompt_of(environ: WSGIEnvironment) -> str:
    """Return what a request asks."""
    body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
    return body.decode()


def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer at once, in a list."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(llm.invoke(prompt_of(environ)).content).encode()]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Answer as a generator, of which nothing runs before the server asks."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for chunk in llm.stream(prompt_of(environ)):
        yield str(chunk.content).encode()


def by_hand(app: WSGIApplication) -> Iterable[bytes]:
    """Call an app as a server would that has a file wrapper."""
    environ: dict[str, Any] = {"HTTP_X_USER_ID": "alice"}
    setup_testing_defaults(environ)
    environ["wsgi.file_wrapper"] = FileWrapper
    return app(environ, lambda status, headers, exc_info=None: lambda data: None)


@pytest.mark.parametrize("app", [answer, stream])
def test_request(
    serve_wsgi: Serve, captured_prompts: list[PromptRecord], app: WSGIApplication
) -> None:
    """A request's calls, also in its body, belong to its user; without one, nobody."""
    with httpx.Client(base_url=serve_wsgi(traced(app))) as client:
        text = client.post("/", content="Hi", headers={"x-user-id": "alice"}).text
        client.post("/", content="Hi")

    assert "42" == text
    assert [("alice", ("langchain", "web")), (None, ("langchain", "web"))] == [
        (record.user_id, record.tags) for record in captured_prompts
    ]


def test_two_users_at_once(serve_wsgi: Serve, captured_prompts: list[PromptRecord]) -> None:
    """Two bodies that are streamed at once keep their users apart."""
    both = threading.Barrier(2, timeout=5)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        both.wait()
        yield from stream(environ, start_response)

    url = serve_wsgi(traced(app))

    def ask(user: str) -> None:
        httpx.post(url, content=f"I am {user}", headers={"x-user-id": user})

    threads = [threading.Thread(target=ask, args=(user,)) for user in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {("alice", "I am alice"), ("bob", "I am bob")} == {
        (record.user_id, record.prompt) for record in captured_prompts
    }


class Body:
    """A body that notes what was current when the server touched it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Scope | None]] = []

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(2):
            self.seen.append(("step", current_scope()))
            yield b"x"

    def close(self) -> None:
        """Note what is current."""
        self.seen.append(("close", current_scope()))


def test_steps() -> None:
    """Each step of a body and its close run in one scope, and nothing else does."""
    body = Body()
    with trubrics_scope(user_id="operator") as outer:
        served: Any = by_hand(traced(lambda environ, start_response: body))
        for _ in served:
            assert outer is current_scope()
        served.close()

    [(_, scope), *_] = body.seen
    assert scope is not None
    assert [("step", scope), ("step", scope), ("close", scope)] == body.seen
    assert ("alice", ("web",), True) == (scope.user_id, scope.tags, scope.is_root)
    assert not scope.is_open


def test_body_that_is_never_read() -> None:
    """A body that the server closes unread is closed once, inside its scope."""
    body = Body()
    served: Any = by_hand(traced(lambda environ, start_response: body))
    served.close()

    assert [("close", "alice")] == [
        (what, scope.user_id) for what, scope in body.seen if scope is not None
    ]


@pytest.mark.parametrize(
    "body", [[b"x"], (b"x",), FileWrapper(io.BytesIO(b"x")), io.BytesIO(b"x")]
)
def test_whole_body(body: Iterable[bytes]) -> None:
    """A list or a file reaches the server as it is, to be measured and sent its way."""
    assert body is by_hand(traced(lambda environ, start_response: body))


def test_app_that_raises() -> None:
    """What the app raises reaches the server, and the scope is closed."""
    scopes: list[Scope | None] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scopes.append(current_scope())
        raise LookupError("no such page")

    with pytest.raises(LookupError, match="no such page"):
        by_hand(traced(app))

    assert [False] == [scope.is_open for scope in scopes if scope is not None]
    assert current_scope() is None


def test_callable_that_takes_nothing() -> None:
    """A callable that does not take the environ is refused where it is given."""
    with pytest.raises(errors.ConfigurationError, match="the environ"):
        TrubricsWSGIMiddleware(answer, user_id=lambda: "alice")


def test_body_without_close() -> None:
    """A body that cannot be closed is none the worse, and the server closes its scope."""
    scopes: list[Scope | None] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scopes.append(current_scope())
        return iter([b"4", b"2"])

    served: Any = by_hand(traced(app))
    [scope] = scopes
    assert scope is not None
    assert b"42" == b"".join(served)
    assert scope.is_open

    served.close()

    assert not scope.is_open


def test_repr() -> None:
    """The middleware says who asks, and not what the metadata holds."""
    door = TrubricsWSGIMiddleware(answer, user_id="alice", plan="a-secret")

    assert "TrubricsWSGIMiddleware(user_id='alice', plan=...)" == repr(door)
