"""Feedback and events bear the identity that the prompts have."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import (
    EventRecord,
    FeedbackRecord,
    PromptRecord,
    Record,
    TrubricsCallbackHandler,
    configure,
    errors,
    flush,
    stats,
    track_event,
    track_feedback,
    trubrics_scope,
)
from trubrics_trace.testing import IngestionServer

llm = FakeListChatModel(responses=["42"])
USER = uuid.UUID(int=7)

Track = Callable[..., None]
both = pytest.mark.parametrize("track", [track_feedback, track_event])


def the_feedback(records: list[Record]) -> FeedbackRecord:
    """Return the one feedback among the records."""
    (feedback,) = (record for record in records if isinstance(record, FeedbackRecord))
    return feedback


def test_feedback(captured_records: list[Record]) -> None:
    """Score, comment and kind are told, and what else is said is metadata."""
    track_feedback(
        0.5, "Half right.", type="stars", page="/chat", metadata={"plan": "free"}
    )

    feedback = the_feedback(captured_records)
    assert (0.5, "Half right.", "stars") == (
        feedback.score,
        feedback.comment,
        feedback.type,
    )
    assert {"plan": "free", "page": "/chat"} == feedback.metadata
    assert uuid.UUID(feedback.record_id)
    assert feedback.started_at.endswith("+00:00")


@pytest.mark.parametrize("score", [True, 1, 0.5, "good"])
def test_score(captured_records: list[Record], score: float | str | bool) -> None:
    """A score is what the user gave, and a thumb where nothing else is said."""
    track_feedback(score)

    feedback = the_feedback(captured_records)
    assert (score, type(score)) == (feedback.score, type(feedback.score))
    assert ("thumbs", None) == (feedback.type, feedback.comment)


def test_event(captured_records: list[Record]) -> None:
    """What happened is told, and what else is said is metadata."""
    track_event("bought", price=7, metadata={"plan": "free"})

    (event,) = captured_records
    assert isinstance(event, EventRecord)
    assert ("bought", {"plan": "free", "price": 7}) == (event.event_name, event.metadata)


@both
def test_identity_of_the_scope(captured_records: list[Record], track: Track) -> None:
    """Inside a scope no user, thread or session need be said."""
    with trubrics_scope(user_id="alice", thread_id="t", session_id="s", plan="free"):
        track("good")

    (record,) = captured_records
    assert ("alice", "t", "s") == (record.user_id, record.thread_id, record.session_id)
    assert {} == record.metadata


@both
def test_identity_said_here(captured_records: list[Record], track: Track) -> None:
    """What is said here wins over the scope's, and what is not said is the scope's."""
    with trubrics_scope(user_id="alice", thread_id="t", session_id="s"):
        track("good", user_id=USER, thread_id=7)

    (record,) = captured_records
    assert (str(USER), "7", "s") == (record.user_id, record.thread_id, record.session_id)


@both
@pytest.mark.parametrize("nobody", [None, "", ["alice"]])
def test_nobody(captured_records: list[Record], track: Track, nobody: Any) -> None:
    """Nobody, and what cannot be a user, is never the scope's user."""
    with trubrics_scope(user_id="alice", thread_id="t"):
        track("good", user_id=nobody)

    (record,) = captured_records
    assert (None, "t") == (record.user_id, record.thread_id)
    assert int(isinstance(nobody, list)) == stats().noticed.get("bad_user_id", 0)


@both
def test_outside(captured_records: list[Record], track: Track) -> None:
    """Outside any scope, and after one has closed, it is kept under nobody."""
    with trubrics_scope(user_id="alice"):
        pass
    track("good")

    (record,) = captured_records
    assert (None, None, None) == (record.user_id, record.thread_id, record.session_id)


@both
def test_disabled(captured_records: list[Record], track: Track) -> None:
    """A disabled scope records nothing inside, and counts it."""
    with trubrics_scope(enabled=False), trubrics_scope(user_id="alice"):
        track("good")

    assert [] == captured_records
    assert {"scope_disabled": 1} == stats().skipped


@both
def test_prompts_alone(captured_prompts: list[PromptRecord], track: Track) -> None:
    """Where a test has asked for prompts alone, it goes nowhere."""
    track("good")
    llm.invoke("Hello", config={"callbacks": [TrubricsCallbackHandler()]})

    assert ["Hello"] == [record.prompt for record in captured_prompts]
    assert 0 == stats().accepted


class TestAbout:
    """Feedback is about an answer, if anybody knows which."""

    def test_the_last_answer(self, captured_records: list[Record]) -> None:
        """Left out, it is the last that was given in the current scope."""
        with trubrics_scope(user_id="alice"):
            llm.invoke("First")
            llm.invoke("Last")
            track_feedback(True)

        (_, last, _) = captured_records
        assert last.record_id == the_feedback(captured_records).about

    def test_an_answer_of_before(self, captured_records: list[Record]) -> None:
        """The id that a scope kept tells it later, elsewhere, under its user."""
        with trubrics_scope(user_id="alice") as scope:
            llm.invoke("Hello")
        with trubrics_scope(user_id="alice"):
            llm.invoke("Another")
            track_feedback(True, record_id=scope.last_record_id)

        assert captured_records[0].record_id == the_feedback(captured_records).about

    def test_a_uuid(self, captured_records: list[Record]) -> None:
        """LangChain's own run id will do."""
        track_feedback(True, record_id=USER)

        assert str(USER) == the_feedback(captured_records).about

    def test_no_answer(self, captured_records: list[Record]) -> None:
        """Where no scope is open, or none has an answer, it is about none."""
        track_feedback(True)
        with trubrics_scope(user_id="alice"):
            track_feedback(True)

        assert [None, None] == [getattr(record, "about", "") for record in captured_records]

    def test_an_id_that_cannot_be_told(self, captured_records: list[Record]) -> None:
        """Nothing is raised to who gives an object that raises; it says what it was."""

        class Untellable:
            def __str__(self) -> str:
                raise RuntimeError

        track_feedback(True, record_id=Untellable())  # type: ignore[arg-type]

        about = the_feedback(captured_records).about
        assert "[Untellable that cannot be told]" == about


@both
def test_strict(captured_records: list[Record], track: Track) -> None:
    """What is only counted otherwise is raised where it is strict."""
    configure(strict=True)

    with pytest.raises(errors.TelemetryError, match=r"user_id at test_feedback\.py"):
        track("good", user_id=["alice"])

    assert [] == captured_records


def test_on_the_wire(trubrics_server: IngestionServer) -> None:
    """Both arrive as events of the user's, in their thread, feedback with its answer."""
    configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
    with trubrics_scope(user_id="alice", thread_id="t") as scope:
        llm.invoke("Hello")
        track_feedback(True, "Nice.")
        track_event("bought", price=7)
    assert flush(10)

    told = {event["event"]: event for event in trubrics_server.events if "event" in event}
    assert {"Feedback", "bought"} == told.keys()
    assert [("alice", "t")] * 2 == [
        (event["user_id"], event["properties"]["$thread_id"]) for event in told.values()
    ]
    assert scope.last_record_id == told["Feedback"]["properties"]["about"]


def test_event_of_another_type(captured_records: list[Record]) -> None:
    """An event whose name is no text is told as text, and not lost."""
    track_event(404)  # type: ignore[arg-type]

    (record,) = captured_records
    assert "404" == getattr(record, "event_name", None)
