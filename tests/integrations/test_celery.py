"""Celery tasks, in a real worker over an in-memory broker, and eager."""

# mypy: disable-error-code="untyped-decorator"
# Celery ships no types.

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, chain, signals
from celery.contrib.testing.worker import start_worker
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import PromptRecord, current_scope, stats, trubrics_scope
from trubrics_trace.integrations.celery import install

llm = FakeListChatModel(responses=["42"])
app = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.broker_transport_options = {"polling_interval": 0.001}
install(app)
install(app)  # twice is once

both = threading.Barrier(2)


@signals.setup_logging.connect
def leave_logging_alone(**_: Any) -> None:
    """Keep the worker from setting the level of everybody's root logger."""


@app.task
def answer(prompt: str) -> str:
    """Ask the model in a task."""
    return str(llm.invoke(prompt).content)


@app.task
def answer_together(prompt: str) -> str:
    """Ask once another task is running, too."""
    both.wait(5)
    return str(llm.invoke(prompt).content)


@app.task(bind=True)
def answer_again(self: Any, prompt: str) -> str:
    """Ask, have the task retried, and ask again."""
    text = str(llm.invoke(prompt).content)
    if not self.request.retries:
        raise self.retry(countdown=0)
    return text


@app.task
def tell_scope() -> dict[str, Any]:
    """Return what a task sees of its scope."""
    scope = current_scope()
    assert scope is not None
    return {
        "user_id": scope.user_id,
        "tags": list(scope.tags),
        "metadata": sorted(scope.metadata),
        "is_root": scope.is_root,
        "is_enabled": scope.is_enabled,
    }


@pytest.fixture(scope="module")
def worker() -> Iterator[Any]:
    """Run a worker with two threads."""
    with start_worker(
        app, pool="threads", concurrency=2, perform_ping_check=False
    ) as started:
        yield started


def got(result: Any) -> Any:
    """Return what a task returned, waiting for it."""
    return result.get(timeout=10, interval=0.001)


@pytest.mark.usefixtures("worker")
def test_task(captured_prompts: list[PromptRecord]) -> None:
    """A task's model calls belong to whoever sent it, with the task's name and ids."""
    with trubrics_scope(user_id="alice", thread_id="t1", tags="chat", plan="free"):
        sent = answer.delay("Hi")
    got(sent)

    [record] = captured_prompts
    assert ("alice", "t1", ("langchain", "chat"), answer.name) == (
        record.user_id,
        record.thread_id,
        record.tags,
        record.run_name,
    )
    assert ("free", sent.id) == (
        record.metadata["plan"],
        record.metadata["celery_task_id"],
    )
    assert record.metadata["celery_worker"]


@pytest.mark.usefixtures("worker")
def test_two_users_at_once(captured_prompts: list[PromptRecord]) -> None:
    """Two tasks that run at once keep their users apart."""
    sent = []
    for user in ("alice", "bob"):
        with trubrics_scope(user_id=user):
            sent.append(answer_together.delay(f"I am {user}"))
    for result in sent:
        got(result)

    assert {("alice", "I am alice"), ("bob", "I am bob")} == {
        (record.user_id, record.prompt) for record in captured_prompts
    }


@pytest.mark.usefixtures("worker")
def test_task_of_nobody(captured_prompts: list[PromptRecord]) -> None:
    """A task sent from no scope is nobody's, also after somebody's on the same threads."""
    with trubrics_scope(user_id="alice"):
        for result in [answer.delay("Hi") for _ in range(4)]:
            got(result)
    for result in [answer.delay("Hi") for _ in range(4)]:
        got(result)

    assert ["alice"] * 4 + [None] * 4 == [record.user_id for record in captured_prompts]


@pytest.mark.usefixtures("worker")
def test_retry_and_chain(captured_prompts: list[PromptRecord]) -> None:
    """What a task sends in turn, its own retry too, belongs to the same user."""
    with trubrics_scope(user_id="alice"):
        sent = chain(answer_again.s("Hi"), answer.s()).delay()
    got(sent)

    assert [("alice", "Hi"), ("alice", "Hi"), ("alice", "42")] == [
        (record.user_id, record.prompt) for record in captured_prompts
    ]


@pytest.mark.usefixtures("worker")
def test_disabled_scope() -> None:
    """A scope that records nothing does so in the worker too."""
    with trubrics_scope(user_id="alice", enabled=False):
        sent = tell_scope.delay()

    assert {
        "user_id": "alice",
        "tags": [],
        "metadata": ["celery_task_id", "celery_worker"],
        "is_root": True,
        "is_enabled": False,
    } == got(sent)


@pytest.mark.usefixtures("worker")
def test_metadata_that_cannot_travel() -> None:
    """What JSON cannot say stays behind, counted; sending works as ever."""
    with trubrics_scope(user_id="alice", plan="free", connection=object()):
        sent = tell_scope.delay()

    assert ["celery_task_id", "celery_worker", "plan"] == got(sent)["metadata"]
    assert 1 == stats().noticed["celery_metadata_left_behind"]


@pytest.mark.usefixtures("worker")
def test_metadata_that_is_too_long() -> None:
    """What no broker would take as a header stays behind, counted; the user travels."""
    with trubrics_scope(user_id="alice", tags="chat", history="x" * 100_000):
        told = got(tell_scope.delay())

    assert ("alice", [], ["celery_task_id", "celery_worker"]) == (
        told["user_id"],
        told["tags"],
        told["metadata"],
    )
    assert 1 == stats().noticed["celery_header_too_long"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("header", ["{", "[]", '{"user_id": [], "tags": 1}', 7])
def test_header_of_somebody_else(header: object) -> None:
    """A header that is none of ours names nobody, and the task runs."""
    told = got(tell_scope.apply_async(headers={"trubrics_scope": header}))

    assert (None, True, True) == (told["user_id"], told["is_root"], told["is_enabled"])


def test_eager_task(captured_prompts: list[PromptRecord]) -> None:
    """An eager task does as if it had been sent, and leaves its caller's scope alone."""
    with trubrics_scope(user_id="alice") as scope:
        told = tell_scope.apply().get()
        assert scope is current_scope()

    assert ("alice", True) == (told["user_id"], told["is_root"])
    assert tell_scope.apply().get()["user_id"] is None
    assert current_scope() is None


def test_task_that_raises() -> None:
    """The scope of a task that fails is current nowhere after."""

    @app.task
    def fail() -> None:
        raise LookupError("no such page")

    assert "FAILURE" == fail.apply().state
    assert current_scope() is None


def test_task_of_another_app() -> None:
    """A task of an app that is not installed runs in its caller's scope."""
    other = Celery("other", broker="memory://", set_as_current=False)

    @other.task
    def tell_user() -> bool:
        return current_scope() is not None

    assert tell_user.apply().get() is False
