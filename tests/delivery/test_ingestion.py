"""The ingestion API: our words for it are the official client's, and its answers known."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trubrics import Trubrics, config
from trubrics.enums import IngestionEndpoints  # type: ignore[import-untyped]

from tests.delivery.parts import record
from tests.delivery.servers import answer, serve_raw, unused_url
from trubrics_trace import EventRecord, FeedbackRecord, PromptRecord, Record
from trubrics_trace._frozen import FrozenDict
from trubrics_trace._record import TrackedRecord, record_from_dict
from trubrics_trace._settings import DEFAULT_HOST
from trubrics_trace.delivery import _ingestion
from trubrics_trace.delivery._http import Answer
from trubrics_trace.delivery._ingestion import (
    EVENTS,
    LLM_EVENTS,
    MAX_BATCH,
    IngestionTransport,
    outcome_of,
    payload_of,
)
from trubrics_trace.delivery._transport import Delivered, Outcome, Rejected, Retry
from trubrics_trace.testing import IngestionServer, serve_ingestion

WHEN = datetime(2026, 1, 2, 3, 4, 7, tzinfo=timezone.utc)


@pytest.fixture
def transport(trubrics_server: IngestionServer) -> Iterator[IngestionTransport]:
    """Return a transport to the loopback server."""
    made = IngestionTransport(trubrics_server.url, "test-key", "anonymous")
    yield made
    made.close()


def event(**fields: Any) -> EventRecord:
    """Return an event."""
    said = {"record_id": "1", "user_id": "alice", "event_name": "Signed up", **fields}
    return EventRecord(**said)


def bodies_of(requests: list[bytes]) -> dict[str, list[dict[str, Any]]]:
    """Return what was posted, by endpoint; an empty post says nothing."""
    posted: dict[str, list[dict[str, Any]]] = {}
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        endpoint = head.split(b" ", 2)[1].decode().rsplit("/", 1)[1]
        posted.setdefault(endpoint, []).extend(json.loads(body))
    return posted


def test_constants_are_the_official_clients() -> None:
    """Endpoints, batch limit and default host are those of the installed client."""
    host = inspect.signature(Trubrics).parameters["host"].default
    assert (
        IngestionEndpoints.events.value,
        IngestionEndpoints.llm_events.value,
        config.MAX_FLUSH_BATCH_SIZE,
        host,
    ) == (EVENTS, LLM_EVENTS, MAX_BATCH, DEFAULT_HOST)


def test_contract() -> None:
    """Our records are posted as the official client posts the same calls, key by key."""
    ours = [
        PromptRecord(
            record_id="1",
            user_id="alice",
            thread_id="thread",
            prompt="Hi",
            generation="Hello",
            model="gpt-4o-mini",
            started_at="2026-01-02T03:04:05+00:00",
            latency_seconds=2.0,
            metadata=FrozenDict(plan="pro"),
        ),
        EventRecord(
            record_id="2",
            user_id="alice",
            event_name="Signed up",
            started_at=WHEN.isoformat(),
            metadata=FrozenDict(plan="pro"),
        ),
    ]
    with serve_raw(answer("200 OK", b"{}")) as server:
        mine = IngestionTransport(server.url, "test-key", "anonymous")
        for one in ours:
            assert mine.send(mine.route_of(one), [one]) == Delivered()
        mine.close()
        our_requests = server.requests[:]
    with serve_raw(answer("200 OK", b"{}")) as server:
        official = Trubrics(api_key="test-key", host=server.url)
        official.track_llm(
            user_id="alice",
            prompt="Hi",
            generation="Hello",
            assistant_id="gpt-4o-mini",
            properties={"plan": "pro"},
            timestamp=WHEN,
            latency=2.0,
            thread_id="thread",
        )
        official.track(
            user_id="alice", event="Signed up", properties={"plan": "pro"}, timestamp=WHEN
        )
        official.close()
        official_requests = server.requests[:]
    posted, wanted = bodies_of(our_requests), bodies_of(official_requests)
    for events in posted.values():  # what we say beyond it stands in the properties
        for said in events:
            said["properties"] = {"plan": said["properties"]["plan"]}
    assert posted == wanted
    for request in (*our_requests, *official_requests):
        assert b"x-api-key: test-key" in request
        assert b"Content-Type: application/json" in request


def test_properties_of_a_prompt() -> None:
    """What has no place of its own on the wire is a property; what nobody said is not."""
    told = PromptRecord(
        record_id="1",
        run_name="answer",
        session_id="session",
        tags=("langchain", "support"),
        status="error",
        error_type="TimeoutError",
        started_at="2026-01-02T03:04:05+00:00",
        input_tokens=3,
        environment="test",
    )
    assert {
        "record_id": "1",
        "langchain_run_id": "1",
        "run_name": "answer",
        "session_id": "session",
        "tags": ("langchain", "support"),
        "status": "error",
        "error_type": "TimeoutError",
        "started_at": "2026-01-02T03:04:05+00:00",
        "input_tokens": 3,
        "attempts": 1,
        "environment": "test",
    } == payload_of(told, "anonymous")["properties"]


def test_metadata_never_covers_ours() -> None:
    """Metadata under one of our names is sent under another, and ours stands."""
    told = record(1, metadata=FrozenDict(record_id="theirs", model=None, plan="pro"))
    properties = payload_of(told, "anonymous")["properties"]
    assert "1" == properties["record_id"]
    assert "theirs" == properties["metadata_record_id"]
    assert (None, "pro") == (properties["metadata_model"], properties["plan"])


def test_time_is_the_generations() -> None:
    """The wire's timestamp is when the generation came: start and latency together."""
    payload = payload_of(record(1, latency_seconds=2.5), "anonymous")
    assert "2026-01-02T03:04:07.500000+00:00" == payload["timestamp"]
    assert 2.5 == payload["latency"]


@pytest.mark.parametrize(
    ("said", "thread"),
    [
        ({"thread_id": "t", "session_id": "s"}, "t"),
        ({"session_id": "s"}, "s"),
        ({}, None),
    ],
)
def test_thread_on_the_wire(said: dict[str, str], thread: str | None) -> None:
    """A conversation is the thread, else the session."""
    assert payload_of(record(1, **said), "anonymous")["thread_id"] == thread


def test_assistant_on_the_wire() -> None:
    """The assistant is the scope's, else the model."""
    said, unsaid = record(1, assistant_id="bot", model="m"), record(1, model="m")
    assistants = [payload_of(one, "")["assistant_id"] for one in (said, unsaid)]
    assert ["bot", "m"] == assistants


def test_no_generation_is_empty() -> None:
    """A prompt without an answer is sent with an empty one: the API wants a string."""
    assert "" == payload_of(record(1, generation=None), "anonymous")["generation"]


@pytest.mark.parametrize(("thread", "user"), [(None, "anonymous"), ("42", "anonymous:42")])
def test_nobody_on_the_wire(thread: str | None, user: str) -> None:
    """Nobody is told apart by the conversation, where there is one."""
    told = record(1, user_id=None, thread_id=thread)
    assert payload_of(told, "anonymous")["user_id"] == user


def test_feedback_on_the_wire() -> None:
    """Feedback is an event that names the answer it is about, in its conversation."""
    told = FeedbackRecord(
        record_id="2",
        user_id="alice",
        thread_id="t",
        started_at=WHEN.isoformat(),
        score=1,
        comment="Good",
        about="1",
    )
    assert payload_of(told, "anonymous") == {
        "user_id": "alice",
        "event": "Feedback",
        "timestamp": WHEN.isoformat(),
        "properties": {
            "record_id": "2",
            "$thread_id": "t",
            "score": 1,
            "comment": "Good",
            "type": "thumbs",
            "about": "1",
        },
    }


def test_tracked_is_sent_as_it_was() -> None:
    """What was tracked by hand is posted as it was given."""
    payload = FrozenDict(user_id="alice", event="Signed up")
    told = TrackedRecord(record_id="1", endpoint=EVENTS, payload=payload)
    assert payload_of(told, "anonymous") == payload


def test_routes(transport: IngestionTransport) -> None:
    """Prompts go to one endpoint, events and feedback to the other."""
    records = [
        record(1),
        event(),
        FeedbackRecord(record_id="3"),
        TrackedRecord(record_id="4", endpoint=LLM_EVENTS),
    ]
    routes = [transport.route_of(one) for one in records]
    assert routes == [LLM_EVENTS, EVENTS, EVENTS, LLM_EVENTS]


def validation(*locations: list[Any]) -> dict[str, Any]:
    """Return the body of a 422 that names these places."""
    return {"detail": [{"loc": location, "msg": "bad"} for location in locations]}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(200, {"status": "success"}), Delivered()),
        (Answer(201, {}), Delivered()),
        (Answer(200, None), Retry("HTTP 200")),
        (Answer(200, []), Retry("HTTP 200")),
        (Answer(200, "oops"), Retry("HTTP 200")),
        (Answer(302, {}), Retry("HTTP 302")),
        (Answer(401, {}), Retry("HTTP 401", 60.0, is_refused_key=True)),
        (Answer(403, None), Retry("HTTP 403", 60.0, is_refused_key=True)),
        (Answer(408, None), Retry("HTTP 408")),
        (Answer(429, None, 20.0), Retry("HTTP 429", 20.0)),
        (Answer(413, None), Rejected("HTTP 413: too large", is_size=True)),
        (Answer(400, {"detail": "no"}), Rejected("HTTP 400", is_certain=False)),
        (Answer(400, "oops"), Rejected("HTTP 400", is_certain=False)),
        (Answer(422, {"detail": "no"}), Rejected("HTTP 422")),
        (Answer(422, {}), Rejected("HTTP 422")),
        (Answer(422, None), Retry("HTTP 422")),
        (
            Answer(422, validation(["body", 3, "prompt"], ["body", 5, "user_id"])),
            Rejected("HTTP 422: user_id is not valid", frozenset({3, 5})),
        ),
        (Answer(422, validation(["body"])), Rejected("HTTP 422")),
        (Answer(422, validation(["body", "x"])), Rejected("HTTP 422")),
        (Answer(422, {"detail": ["no", None]}), Rejected("HTTP 422")),
        (Answer(500, "oops"), Retry("HTTP 500")),
        (Answer(503, [], 5.0), Retry("HTTP 503", 5.0)),
    ],
)
def test_outcome(answer: Answer, outcome: Outcome) -> None:
    """Each answer means one thing: delivered, again, or refused with who is guilty."""
    assert outcome_of(answer) == outcome


@given(st.text(max_size=500))
def test_reason_is_short(message: str) -> None:
    """A reason is short, whatever the server writes."""
    answer = Answer(422, {"detail": [{"loc": ["body", 0, "prompt"], "msg": message}]})
    outcome = outcome_of(answer)
    assert isinstance(outcome, Rejected)
    assert len(outcome.why) <= 200


def test_delivered(transport: IngestionTransport, trubrics_server: IngestionServer) -> None:
    """A batch that a server takes is delivered: each event once, under its id."""
    assert transport.send(LLM_EVENTS, [record(1), record(2)]) == Delivered()
    assert {"1": 1, "2": 1} == trubrics_server.record_ids


def test_server_names_the_guilty(transport: IngestionTransport) -> None:
    """A record without a string that the API wants is named by its position."""
    outcome = transport.send(LLM_EVENTS, [record(1), record(2, generation=5)])
    assert isinstance(outcome, Rejected)
    assert {1} == outcome.guilty


def test_wrong_key(trubrics_server: IngestionServer) -> None:
    """A wrong key is refused, and to be tried again in a minute."""
    transport = IngestionTransport(trubrics_server.url, "wrong", "anonymous")
    outcome = transport.send(LLM_EVENTS, [record(1)])
    assert outcome == Retry("HTTP 401", 60.0, is_refused_key=True)
    transport.close()


def test_key_stays_with_its_origin() -> None:
    """A redirect leads nowhere: the other origin sees neither key nor record."""
    with serve_ingestion("test-key") as other, serve_ingestion("test-key") as server:
        headers = {"Location": f"{other.url}/{LLM_EVENTS}"}
        for status in (301, 302, 303, 307, 308):
            server.answer_next(status, {}, headers=headers)
        transport = IngestionTransport(server.url, "test-key", "anonymous")
        outcomes = [transport.send(LLM_EVENTS, [record(1)]) for _ in range(5)]
        transport.close()
    assert [type(outcome) for outcome in outcomes] == [Retry] * 5
    assert {} == other.requests


def test_nobody_there() -> None:
    """Where nobody answers, the batch is to be sent again."""
    transport = IngestionTransport(unused_url(), "test-key", "anonymous")
    unheard = Retry("no answer: ConnectionError", is_heard=False)
    assert unheard == transport.send(LLM_EVENTS, [record(1)])
    transport.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"started_at": ""},
        {"started_at": "yesterday"},
        {"started_at": None},
        {"latency_seconds": "long"},
        {"latency_seconds": 1e300},
        {"metadata": None},
    ],
)
def test_what_cannot_be_told(
    transport: IngestionTransport, fields: Mapping[str, Any]
) -> None:
    """A record with a value that the wire has no words for is refused, and it alone."""
    spoiled = dataclasses.replace(record(2), **fields)
    outcome = transport.send(LLM_EVENTS, [record(1), spoiled])
    assert outcome == Rejected("a value that the API cannot be told", frozenset({1}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(kind=st.sampled_from(["prompt", "feedback", "event", "tracked"]), data=st.data())
def test_any_line_is_told_or_refused(kind: str, data: st.DataObject) -> None:
    """Whatever a line of the spool says, sending it raises nothing."""
    names = [name for name in _field_names(kind) if name != "record_id"]
    values = data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=4))
    told = record_from_dict({"kind": kind, "record_id": "1", **values})
    transport = IngestionTransport("http://127.0.0.1:9", "test-key", "anonymous")
    payloads, untold = transport._payloads([told])
    assert 1 == len(payloads) + len(untold)


def _field_names(kind: str) -> list[str]:
    """Return the names of the fields of a kind of record."""
    classes: list[type[Record]] = [PromptRecord, FeedbackRecord, EventRecord, TrackedRecord]
    [found] = [one for one in classes if one.kind == kind]
    return [field.name for field in dataclasses.fields(found)]


def test_key_is_never_shown(transport: IngestionTransport) -> None:
    """Neither key nor header stands in the transport's repr."""
    assert repr(transport).startswith("<IngestionTransport to http://127.0.0.1:")
    assert "test-key" not in repr(transport)


def test_every_property_is_a_field() -> None:
    """Each property that we name is a field of the record."""
    fields = {field.name for field in dataclasses.fields(PromptRecord)}
    assert set(_ingestion._PROPERTIES) <= fields


def test_renamed_metadata_covers_nothing() -> None:
    """A key with one of our names takes a name that is free, and nothing is lost."""
    told = record(1, metadata={"status": "theirs", "metadata_status": "also theirs"})

    properties = payload_of(told, "anonymous")["properties"]

    assert {"theirs", "also theirs"} <= {
        value for value in properties.values() if isinstance(value, str)
    }
    assert "also theirs" == properties["metadata_status"]
