"""Feedback and events from views and tasks, on both of Trubrics' platforms.

An answer's id goes to the front end, and comes back with what the user thinks of it.
"""

# mypy: disable-error-code="untyped-decorator"
# Celery ships no types.

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, NamedTuple

import httpx
import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from fastapi import Body, Depends, FastAPI
from flask import Flask, request
from langchain_core.language_models import FakeListChatModel

from tests.delivery.parts import wait_until
from tests.delivery.platform_server import (
    EMAIL,
    PASSWORD,
    PlatformServer,
    serve_platform,
)
from trubrics_trace import (
    configure,
    current_scope,
    flush,
    stats,
    track_event,
    track_feedback,
    trubrics_scope,
)
from trubrics_trace.integrations.celery import install
from trubrics_trace.integrations.fastapi import trubrics_dependency
from trubrics_trace.integrations.flask import Trubrics
from trubrics_trace.testing import IngestionServer

Serve = Callable[[Any], str]
Arrives = Callable[[dict[str, str]], None]

USERS = ("alice", "bob", "carol")
PATIENCE_SECONDS = 40.0

llm = FakeListChatModel(responses=["42"])


class Place(NamedTuple):
    """Where an app asks, answering the record's id, and where it is told of it later."""

    ask: Callable[[str], str]
    rate: Callable[[str, str], object]


def last_record_id() -> str | None:
    """Return the id of the last answer in this scope."""
    scope = current_scope()
    return None if scope is None else scope.last_record_id


def flask_app() -> Flask:
    """Two sync views."""
    app = Flask(__name__)
    Trubrics(
        app,
        user_id=lambda: request.headers["x-user-id"],
        thread_id=lambda: request.headers["x-thread-id"],
    )

    @app.post("/ask")
    def ask() -> str:
        llm.invoke(request.get_json())
        return last_record_id() or ""

    @app.post("/rate")
    def rate() -> str:
        track_feedback(True, "Good.", record_id=request.get_json())
        track_event("rated", page="/chat")
        return ""

    return app


def fastapi_app() -> FastAPI:
    """Two async views."""
    by_header = trubrics_dependency(
        user_id=lambda request: request.headers["x-user-id"],
        thread_id=lambda request: request.headers["x-thread-id"],
    )
    app = FastAPI(dependencies=[Depends(by_header)])

    @app.post("/ask")
    async def ask(prompt: Annotated[str, Body()]) -> str | None:
        await llm.ainvoke(prompt)
        return last_record_id()

    @app.post("/rate")
    async def rate(record_id: Annotated[str, Body()]) -> None:
        track_feedback(True, "Good.", record_id=record_id)
        track_event("rated", page="/chat")

    return app


celery_app = Celery(
    "places", broker="memory://", backend="cache+memory://", set_as_current=False
)
celery_app.conf.broker_transport_options = {"polling_interval": 0.001}
install(celery_app)


@signals.setup_logging.connect
def leave_logging_alone(**_: Any) -> None:
    """Keep the worker from setting the level of everybody's root logger."""


@celery_app.task
def ask_later(prompt: str) -> str | None:
    """Ask, in a worker."""
    llm.invoke(prompt)
    return last_record_id()


@celery_app.task
def rate_later(record_id: str) -> None:
    """Rate, in a worker."""
    track_feedback(True, "Good.", record_id=record_id)
    track_event("rated", page="/chat")


def views_at(url: str) -> Place:
    """Return the place that an app's two views are."""

    def post(path: str, user: str, body: str) -> str:
        headers = {"x-user-id": user, "x-thread-id": f"thread of {user}"}
        response = httpx.post(url + path, json=body, headers=headers, timeout=30)
        return response.raise_for_status().text.strip('"')

    return Place(
        lambda user: post("/ask", user, f"I am {user}"),
        lambda user, record_id: post("/rate", user, record_id),
    )


def task_of(user: str, task: Any, argument: str) -> Any:
    """Send a task in a user's scope, and wait for what it answers."""
    with trubrics_scope(user_id=user, thread_id=f"thread of {user}"):
        sent = task.delay(argument)
    return sent.get(timeout=PATIENCE_SECONDS, interval=0.001)


def use(place: Place) -> dict[str, str]:
    """Ask and rate as several users at once; return the id of each one's answer."""
    with ThreadPoolExecutor(len(USERS)) as pool:
        record_ids = dict(zip(USERS, pool.map(place.ask, USERS), strict=True))
        list(pool.map(place.rate, *zip(*record_ids.items(), strict=True)))
    assert len(USERS) == len(set(record_ids.values()))
    return record_ids


@pytest.fixture(scope="module")
def tasks() -> Iterator[Place]:
    """Return the place that two tasks are, in a worker."""
    with start_worker(celery_app, pool="threads", concurrency=3, perform_ping_check=False):
        yield Place(
            lambda user: str(task_of(user, ask_later, f"I am {user}")),
            lambda user, record_id: task_of(user, rate_later, record_id),
        )


@pytest.fixture(params=["today's", "older"])
def arrives(
    request: pytest.FixtureRequest,
    trubrics_server: IngestionServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Arrives]:
    """Configure one platform; return what holds there what was done."""
    if request.param == "today's":
        configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
        yield partial(arrives_today, trubrics_server)
        return
    with serve_platform() as server:
        for variable in ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
            monkeypatch.setenv(variable, server.address)
        configure(email=EMAIL, password=PASSWORD)
        yield partial(arrives_at_the_older, server)


def arrives_today(server: IngestionServer, record_ids: dict[str, str]) -> None:
    """Prompt, feedback and event have one user and thread; the feedback has the id."""
    assert flush(PATIENCE_SECONDS)

    prompts = [event for event in server.events if "prompt" in event]
    events = [event for event in server.events if "event" in event]
    assert {
        (user, f"thread of {user}", f"I am {user}", record_id)
        for user, record_id in record_ids.items()
    } == {
        (
            prompt["user_id"],
            prompt["thread_id"],
            prompt["prompt"],
            prompt["properties"]["record_id"],
        )
        for prompt in prompts
    }
    assert {
        (user, name, f"thread of {user}", about)
        for user, record_id in record_ids.items()
        for name, about in (("Feedback", record_id), ("rated", None))
    } == {
        (
            event["user_id"],
            event["event"],
            event["properties"]["$thread_id"],
            event["properties"].get("about"),
        )
        for event in events
    }
    assert (len(record_ids), 2 * len(record_ids)) == (len(prompts), len(events))


def arrives_at_the_older(server: PlatformServer, record_ids: dict[str, str]) -> None:
    """Feedback names user and prompt, which has the thread; events have no place there."""
    wait_until(lambda: flush(0.1).pending == 0, PATIENCE_SECONDS)

    said = [
        {name: value.get("stringValue") for name, value in response.items()}
        for response in server.stored_in("default/feedback/default/responses")
    ]
    assert sorted(record_ids.items()) == sorted(
        (str(response["user_id"]), str(response["prompt_id"])) for response in said
    )
    for user, record_id in record_ids.items():
        prompt = server.documents[f"default/prompts/{record_id}"]
        assert [user, f"thread of {user}", f"I am {user}"] == [
            prompt[name]["stringValue"] for name in ("user_id", "session_id", "prompt")
        ]
    assert 2 * len(record_ids) == len(server.documents)
    assert {"the e-mail and password platform takes no events": len(record_ids)} == (
        stats().rejected
    )


def test_sync_views(serve_wsgi: Serve, arrives: Arrives) -> None:
    """What Flask's sync views are told arrives under who told it, about their answer."""
    arrives(use(views_at(serve_wsgi(flask_app()))))


def test_async_views(serve_asgi: Serve, arrives: Arrives) -> None:
    """What FastAPI's async views are told arrives so, too."""
    arrives(use(views_at(serve_asgi(fastapi_app()))))


def test_tasks(tasks: Place, arrives: Arrives) -> None:
    """What Celery tasks are told arrives under who sent them, about their answer."""
    arrives(use(tasks))
