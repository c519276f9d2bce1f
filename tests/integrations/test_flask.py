"""The Flask extension, under wsgiref and Flask's own test client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from flask import Flask, Response, g, request, stream_with_context
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import PromptRecord, current_scope, errors, identify
from trubrics_trace.integrations.flask import Trubrics

Serve = Callable[[Any], str]

llm = FakeListChatModel(responses=["42"])


def user_in_header() -> str | None:
    """Return whom the request says that it is from."""
    return request.headers.get("x-user-id")


def chat_app() -> Flask:
    """Return an app with a route for each way to answer."""
    app = Flask(__name__)
    Trubrics(app, user_id=user_in_header, tags="web")

    @app.post("/sync")
    def answer() -> str:
        return str(llm.invoke(request.get_data(as_text=True)).content)

    @app.post("/async")
    async def answer_soon() -> str:
        return str((await llm.ainvoke(request.get_data(as_text=True))).content)

    @app.post("/stream")
    def stream() -> Response:
        prompt = request.get_data(as_text=True)
        return Response(str(chunk.content) for chunk in llm.stream(prompt))

    @app.post("/stream-with-context")
    def stream_in_request() -> Response:
        def parts() -> Iterator[str]:
            for chunk in llm.stream(request.get_data(as_text=True)):
                yield str(chunk.content)

        return Response(stream_with_context(parts()))

    return app


@pytest.mark.parametrize("path", ["/sync", "/async", "/stream", "/stream-with-context"])
def test_view(serve_wsgi: Serve, captured_prompts: list[PromptRecord], path: str) -> None:
    """A view's model calls, also in its stream, belong to its user; without one, nobody."""
    with httpx.Client(base_url=serve_wsgi(chat_app())) as client:
        text = client.post(path, content="Hi", headers={"x-user-id": "alice"}).text
        client.post(path, content="Hi")

    assert "42" == text
    assert [("alice", ("langchain", "web")), (None, ("langchain", "web"))] == [
        (record.user_id, record.tags) for record in captured_prompts
    ]


def test_two_users_at_once(serve_wsgi: Serve, captured_prompts: list[PromptRecord]) -> None:
    """Two bodies that are streamed at once keep their users apart."""
    app = Flask(__name__)
    Trubrics(app, user_id=user_in_header)
    both = threading.Barrier(2, timeout=5)

    @app.post("/")
    def stream() -> Response:
        prompt = request.get_data(as_text=True)

        def parts() -> Iterator[str]:
            both.wait()
            for chunk in llm.stream(prompt):
                yield str(chunk.content)

        return Response(parts())

    url = serve_wsgi(app)

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


def test_user_loaded_before_the_view(captured_prompts: list[PromptRecord]) -> None:
    """The callables see what a `before_request` function loads, registered when it may."""
    app = Flask(__name__)
    trubrics = Trubrics(user_id=lambda: g.user)
    trubrics.init_app(app)

    @app.before_request
    def load_user() -> None:
        g.user = request.headers["x-user-id"]

    @app.post("/")
    def answer() -> str:
        return str(llm.invoke("Hi").content)

    app.test_client().post("/", headers={"x-user-id": "alice"})

    assert ["alice"] == [record.user_id for record in captured_prompts]


def test_identify_before_the_view(captured_prompts: list[PromptRecord]) -> None:
    """What a `before_request` function said with `identify` stands."""
    app = Flask(__name__)
    Trubrics(app, user_id=user_in_header, thread_id="lobby")

    @app.before_request
    def load_user() -> None:
        identify("alice")

    @app.post("/")
    def answer() -> str:
        return str(llm.invoke("Hi").content)

    app.test_client().post("/")

    assert [("alice", "lobby")] == [
        (record.user_id, record.thread_id) for record in captured_prompts
    ]


def test_view_that_raises(captured_prompts: list[PromptRecord]) -> None:
    """What a view raises is answered as ever, and its scope is current nowhere after."""
    app = Flask(__name__)
    Trubrics(app, user_id="alice")

    @app.post("/")
    def answer() -> str:
        llm.invoke("Hi")
        raise LookupError("no such page")

    response = app.test_client().post("/")

    assert 500 == response.status_code
    assert ["alice"] == [record.user_id for record in captured_prompts]
    assert current_scope() is None


def test_view_without_the_server() -> None:
    """A view that a test dispatches by itself works, outside any scope."""
    app = Flask(__name__)
    Trubrics(app, user_id="alice")

    @app.get("/")
    def answer() -> str:
        return repr(current_scope())

    with app.test_request_context("/"):
        assert "None" == app.dispatch_request()


def test_callable_that_takes_something() -> None:
    """A callable that takes an argument is refused where it is given."""
    with pytest.raises(errors.ConfigurationError, match="no arguments"):
        Trubrics(user_id=lambda request: "alice")


def test_repr() -> None:
    """The extension says who asks, and not what the metadata holds."""
    trubrics = Trubrics(user_id="alice", plan="a-secret")

    assert "Trubrics(user_id='alice', plan=...)" == repr(trubrics)
