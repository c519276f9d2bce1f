"""How the chat holds its users, tested with the fixtures that the package brings along."""

import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient

from examples.stop_button.app import STORY, app, llm
from trubrics_trace import PromptRecord
from trubrics_trace.testing import assert_tracked

Prompts = list[PromptRecord]
QUESTION = {"question": "Tell me a long story."}


def headers_of(user: str) -> dict[str, str]:
    """Return what a browser sends for a user."""
    return {"x-user-id": user}


@pytest.fixture
def quickly() -> Iterator[None]:
    """Let the model answer at once."""
    llm.sleep, usual = None, llm.sleep
    yield
    llm.sleep = usual


def test_the_page_has_a_stop_button() -> None:
    """It is there, and does nothing before somebody asks."""
    assert '<button id="stop" type="button" disabled>' in TestClient(app).get("/").text


@pytest.mark.usefixtures("quickly")
def test_each_stream_is_its_users(captured_prompts: Prompts) -> None:
    """Two people ask the same, and each has a record."""
    for user in ("alice", "bob"):
        TestClient(app).post("/chat", params=QUESTION, headers=headers_of(user))

    for user in ("alice", "bob"):
        record = assert_tracked(captured_prompts, user_id=user, status="complete")
        assert record.generation == STORY


def test_stop_is_no_error(captured_prompts: Prompts, url: str) -> None:
    """Whoever presses stop is known, with the text that had come."""
    with httpx.stream(
        "POST", f"{url}/chat", params=QUESTION, headers=headers_of("carol")
    ) as answer:
        next(answer.iter_text())  # and leave

    while not captured_prompts:
        time.sleep(0.01)  # the server notices within a letter; pytest has the deadline
    record = assert_tracked(captured_prompts, user_id="carol", status="cancelled")
    assert record.generation
    assert STORY.startswith(record.generation)
    assert record.generation != STORY
