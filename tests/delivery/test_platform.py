"""The older platform: sign-in, project, and each record as a document of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from tests.delivery.parts import record, wait_until
from tests.delivery.platform_server import (
    EMAIL,
    PASSWORD,
    PlatformServer,
    Step,
    serve_platform,
)
from tests.delivery.servers import answer, serve_raw, unused_url
from trubrics_trace import (
    EventRecord,
    FeedbackRecord,
    PromptRecord,
    configure,
    flush,
    stats,
    track_event,
    track_feedback,
    trubrics_scope,
)
from trubrics_trace._record import Record, TrackedRecord, record_from_dict
from trubrics_trace.delivery._platform import PlatformTransport, document_of, value_of
from trubrics_trace.delivery._transport import Delivered, Outcome, Rejected, Retry

EMULATORS = ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST")
STARTED_AT = "2026-01-02T03:04:05+00:00"
FULL_PROMPT = {
    "kind": "prompt",
    "record_id": "1",
    "user_id": "alice",
    "thread_id": "thread",
    "session_id": "session",
    "started_at": STARTED_AT,
    "prompt": "Hi",
    "generation": "Hello",
    "messages": [{"role": "user", "content": "Hi"}],
    "model": "gpt-4o-mini",
    "parameters": {"temperature": 0.5, "top_p": 1.0},
    "tags": ["langchain", "support"],
    "metadata": {"plan": "pro"},
}
FEEDBACK = FeedbackRecord(
    record_id="2",
    user_id="alice",
    started_at=STARTED_AT,
    score=1,
    comment="Good",
    about="1",
)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlatformServer]:
    """Serve the platform where the emulators' variables say."""
    with serve_platform() as server:
        for variable in EMULATORS:
            monkeypatch.setenv(variable, server.address)
        yield server


@pytest.fixture
def transport(platform: PlatformServer) -> Iterator[PlatformTransport]:
    """Return a transport to the project that everybody has."""
    made = PlatformTransport(EMAIL, PASSWORD, "default")
    yield made
    made.close()


def send(transport: PlatformTransport, record: Record) -> Outcome:
    """Send one record to where it belongs."""
    return transport.send(transport.route_of(record), [record])


def sent_by(email: str, password: str, project: str) -> Outcome:
    """Return what becomes of a prompt that an account sends."""
    transport = PlatformTransport(email, password, project)
    try:
        return send(transport, record(1))
    finally:
        transport.close()


def text(said: str) -> dict[str, str]:
    """Return a text as Firestore spells it."""
    return {"stringValue": said}


def mapping(**fields: Any) -> dict[str, Any]:
    """Return a mapping as Firestore spells it."""
    return {"mapValue": {"fields": fields}}


def test_prompt_as_a_document(
    transport: PlatformTransport, platform: PlatformServer
) -> None:
    """A prompt is stored with the fields, and the types, that the old client gave it."""
    assert Delivered() == send(transport, record_from_dict(FULL_PROMPT))
    [stored] = platform.stored_in("default/prompts")
    assert {
        "config_model": mapping(
            model=text("gpt-4o-mini"),
            prompt_template=text("{prompt}"),
            temperature={"doubleValue": 0.5},
        ),
        "prompt": text("Hi"),
        "generation": text("Hello"),
        "created_on": {"timestampValue": STARTED_AT},
        "user_id": text("alice"),
        "session_id": text("session"),
        "tags": {"arrayValue": {"values": [text("langchain"), text("support")]}},
        "metadata": mapping(
            plan=text("pro"),
            langchain_run_id=text("1"),
            messages={
                "arrayValue": {"values": [mapping(role=text("user"), content=text("Hi"))]}
            },
        ),
    } == stored


def test_prompt_of_which_little_is_known(
    transport: PlatformTransport, platform: PlatformServer
) -> None:
    """What nobody said is null, save the generation and the model's name."""
    assert Delivered() == send(
        transport, PromptRecord(record_id="1", started_at=STARTED_AT)
    )
    [stored] = platform.stored_in("default/prompts")
    nothing = {"nullValue": None}
    assert text("") == stored["generation"]
    assert nothing == stored["user_id"] == stored["session_id"]
    assert mapping(langchain_run_id=text("1")) == stored["metadata"]
    assert (
        mapping(model=text("NA"), prompt_template=text("{prompt}"), temperature=nothing)
        == stored["config_model"]
    )


def test_thread_serves_as_session() -> None:
    """A conversation is the session, else the thread."""
    told = document_of(record(1, thread_id="thread"))
    assert text("thread") == told["fields"]["session_id"]


def test_feedback_as_a_document(
    transport: PlatformTransport, platform: PlatformServer
) -> None:
    """Feedback is a response to the component that each project of the platform has."""
    assert Delivered() == send(transport, FEEDBACK)
    [stored] = platform.stored_in("default/feedback/default/responses")
    assert {
        "component": text("default"),
        "model": text("NA"),
        "user_response": mapping(type=text("thumbs"), score=text("1"), text=text("Good")),
        "created_on": {"timestampValue": STARTED_AT},
        "prompt_id": text("1"),
        "user_id": text("alice"),
        "tags": {"arrayValue": {"values": []}},
        "metadata": mapping(),
    } == stored


def test_feedback_names_the_prompts_document(
    transport: PlatformTransport, platform: PlatformServer
) -> None:
    """The `prompt_id` of feedback is the id of the document that holds the prompt."""
    send(transport, record(1))
    send(transport, FEEDBACK)
    [stored] = platform.stored_in("default/feedback/default/responses")
    assert f"default/prompts/{stored['prompt_id']['stringValue']}" in platform.documents


def test_prompt_that_is_sent_again(
    transport: PlatformTransport, platform: PlatformServer
) -> None:
    """A prompt that is sent twice is stored once, and delivered both times."""
    assert [Delivered()] * 2 == [send(transport, record(1)) for _ in range(2)]
    assert 1 == len(platform.documents)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, {"nullValue": None}),
        (True, {"booleanValue": True}),
        (5, {"integerValue": "5"}),
        (0.5, {"doubleValue": 0.5}),
        ("text", text("text")),
        ({"a": {"b": 1}}, mapping(a=mapping(b={"integerValue": "1"}))),
        (
            [1, None],
            {"arrayValue": {"values": [{"integerValue": "1"}, {"nullValue": None}]}},
        ),
        (("a",), {"arrayValue": {"values": [text("a")]}}),
        (complex(1, 2), text("(1+2j)")),
    ],
)
def test_value(value: Any, told: dict[str, Any]) -> None:
    """Each value is told with its type, and what has none there is told as text."""
    assert told == value_of(value)


@pytest.mark.parametrize(
    "metadata",
    [
        {"matrix": [[1, 2], [3, [4]]]},
        {"created_on": "yesterday"},
        {"nested": {"created_on": 5}},
        {"large": 2**63 - 1, "empty": [{}, ""], "deep": [{"list": [1]}]},
    ],
)
def test_any_metadata(
    transport: PlatformTransport, platform: PlatformServer, metadata: dict[str, Any]
) -> None:
    """Whatever JSON the metadata holds, the platform takes the prompt."""
    told = record_from_dict({**FULL_PROMPT, "metadata": metadata})
    assert Delivered() == send(transport, told)
    [stored] = platform.stored_in("default/prompts")
    assert metadata.keys() <= stored["metadata"]["mapValue"]["fields"].keys()


@pytest.mark.parametrize(
    "told",
    [
        EventRecord(record_id="1", event_name="Signed up"),
        TrackedRecord(record_id="1", endpoint="publish_events"),
    ],
    ids=["event", "tracked"],
)
def test_events_are_refused(
    transport: PlatformTransport, platform: PlatformServer, told: Record
) -> None:
    """The platform has no events: one is refused without a request, and is no document."""
    refusal = Rejected("the e-mail and password platform takes no events")
    assert refusal == send(transport, told)
    assert [] == platform.steps
    with pytest.raises(TypeError, match=told.kind):
        document_of(told)


@pytest.mark.parametrize("fields", [{"metadata": None}, {"parameters": 5}])
def test_what_cannot_be_told(
    transport: PlatformTransport, platform: PlatformServer, fields: dict[str, Any]
) -> None:
    """A record that no document can be made of is refused: it must not be in the way."""
    outcome = send(transport, dataclasses.replace(record(1), **fields))
    assert isinstance(outcome, Rejected)
    assert {} == platform.documents


def test_looked_up_once(transport: PlatformTransport, platform: PlatformServer) -> None:
    """Who signs in, and to which project, is asked once for many documents."""
    for number in range(3):
        assert Delivered() == send(transport, record(number))
    assert [
        "sign-in",
        "organisation",
        "projects",
        "document",
        "document",
        "document",
    ] == platform.steps


def test_email_in_another_case(platform: PlatformServer) -> None:
    """The organisation is found by the e-mail as the platform spells it."""
    assert Delivered() == sent_by(EMAIL.title(), PASSWORD, "default")


def test_token_that_ends(platform: PlatformServer, transport: PlatformTransport) -> None:
    """Before its token ends a transport signs in anew, and no document is refused."""
    platform.token_lives = "0"

    def is_renewed() -> bool:
        assert Delivered() == send(transport, record(len(platform.documents)))
        return platform.steps.count("sign-in") > 1

    wait_until(is_renewed)
    assert 1 == platform.steps.count("organisation")


def test_token_that_is_forgotten(
    transport: PlatformTransport, platform: PlatformServer
) -> None:
    """A token that is refused is given up: the next attempt signs in, and delivers."""
    send(transport, record(1))
    platform.forget_tokens()
    assert Retry("HTTP 401") == send(transport, record(2))
    assert Delivered() == send(transport, record(2))
    assert ["document", "sign-in", "document"] == platform.steps[-3:]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("step", ["organisation", "projects", "document"])
def test_token_that_is_refused(
    transport: PlatformTransport, platform: PlatformServer, step: Step, status: int
) -> None:
    """Wherever a token is refused it is given up: the next attempt signs in."""
    platform.answer_next(step, status, {})
    assert isinstance(send(transport, record(1)), Retry)
    assert Delivered() == send(transport, record(1))
    assert 2 == platform.steps.count("sign-in")


def test_wrong_password(platform: PlatformServer) -> None:
    """A wrong password is refused, said without it, and tried again in a minute."""
    outcome = sent_by(EMAIL, "wrong", "default")
    assert Retry("sign-in: HTTP 400", 60.0, is_refused_key=True) == outcome
    assert ["sign-in"] == platform.steps


@pytest.mark.parametrize(
    ("project", "why"),
    [
        ("mine", "there is no project 'mine', only default"),
        ("old", "there is no project 'old', only default"),
    ],
    ids=["unknown", "archived"],
)
def test_project_that_there_is_not(
    platform: PlatformServer, project: str, why: str
) -> None:
    """A project that is not there is named beside those that are; archived ones are not."""
    assert Retry(why, 60.0, is_refused_key=True) == sent_by(EMAIL, PASSWORD, project)


def test_no_project_at_all(platform: PlatformServer) -> None:
    """An organisation without any project is told as such."""
    platform.projects = {}
    outcome = sent_by(EMAIL, PASSWORD, "default")
    assert isinstance(outcome, Retry)
    assert "there is no project 'default', only none" == outcome.why


@pytest.mark.parametrize("project", ["two words", "C#", "why?", "100%"])
def test_name_of_a_project(platform: PlatformServer, project: str) -> None:
    """A project's name is a part of the path, whatever stands in it."""
    platform.projects[project] = False
    assert Delivered() == sent_by(EMAIL, PASSWORD, project)
    assert 1 == len(platform.stored_in(f"{project}/prompts"))


def test_no_organisation(transport: PlatformTransport, platform: PlatformServer) -> None:
    """An account without an organisation is tried again: it may be given one."""
    platform.answer_next("organisation", 200, [{"readTime": "2026-01-02T03:04:05Z"}])
    assert Retry("organisation: HTTP 200") == send(transport, record(1))
    assert Delivered() == send(transport, record(1))


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("sign-in", "sign-in: HTTP 503"),
        ("organisation", "organisation: HTTP 503"),
        ("projects", "projects: HTTP 503"),
        ("document", "HTTP 503"),
    ],
)
def test_failing_step(
    transport: PlatformTransport, platform: PlatformServer, step: Step, why: str
) -> None:
    """Where a step fails the prompt waits as long as was asked, and no step is skipped."""
    platform.answer_next(step, 503, {}, Retry_After="7")
    assert Retry(why, 7.0) == send(transport, record(1))
    assert Delivered() == send(transport, record(1))
    assert 1 == len(platform.documents)


@pytest.mark.parametrize(
    ("step", "body"),
    [
        ("sign-in", b"<html>"),
        ("sign-in", {}),
        ("sign-in", {"idToken": "token", "expiresIn": "soon"}),
        ("sign-in", {"idToken": "token", "expiresIn": None}),
        ("sign-in", {"idToken": "token", "expiresIn": 10**400}),
        ("organisation", b"<html>"),
        ("organisation", {}),
        ("organisation", [5]),
        ("organisation", [{"document": {}}]),
        ("organisation", [{"document": None}]),
        ("projects", b"<html>"),
        ("projects", []),
        ("projects", {"documents": 5}),
        ("projects", {"documents": [{}]}),
        ("projects", {"documents": [{"name": 5}]}),
        ("projects", {"documents": [{"name": "a/default", "fields": None}]}),
        ("document", b"<html>"),
        ("document", []),
    ],
)
def test_strange_answer(
    transport: PlatformTransport, platform: PlatformServer, step: Step, body: Any
) -> None:
    """A strange answer raises nothing and costs nothing: the prompt is sent again."""
    platform.answer_next(step, 200, body)
    assert isinstance(send(transport, record(1)), Retry)
    assert Delivered() == send(transport, record(1))


@pytest.mark.parametrize("status", [400, 413])
def test_document_that_is_refused(
    transport: PlatformTransport, platform: PlatformServer, status: int
) -> None:
    """A document that is not valid, or too large, is refused for good."""
    platform.answer_next("document", status, {})
    assert Rejected(f"HTTP {status}") == send(transport, record(1))


@pytest.mark.parametrize("variable", EMULATORS)
def test_nobody_there(
    transport: PlatformTransport, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Where nobody answers, the prompt is to be sent again."""
    monkeypatch.setenv(variable, unused_url().removeprefix("http://"))
    unheard = Retry("no answer: ConnectionError", is_heard=False)
    assert unheard == send(transport, record(1))


@pytest.mark.parametrize(
    ("variable", "host"),
    [
        ("FIREBASE_AUTH_EMULATOR_HOST", "identitytoolkit.googleapis.com"),
        ("FIRESTORE_EMULATOR_HOST", "firestore.googleapis.com"),
    ],
)
def test_hosts_are_googles(
    transport: PlatformTransport,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    host: str,
) -> None:
    """Without an emulator each API is asked at Google's own host, encrypted."""
    monkeypatch.setenv(variable, "")
    with serve_raw(answer("403 Forbidden", b"", "Connection: close")) as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("https_proxy", proxy.url)
        assert Retry("no answer: ProxyError") == send(transport, record(1))
    assert proxy.requests[0].startswith(f"CONNECT {host}:443 ".encode())


def test_one_connection_that_is_closed(
    transport: PlatformTransport, platform: PlatformServer
) -> None:
    """Everything goes over one connection, and a close ends it."""
    send(transport, record(1))
    assert 1 == platform.connections
    transport.close()
    wait_until(lambda: platform.connections == 0)


def test_nothing_secret_is_shown(transport: PlatformTransport) -> None:
    """A transport's repr shows the project alone."""
    assert "<PlatformTransport to project 'default'>" == repr(transport)


def test_from_a_call_to_its_document(platform: PlatformServer) -> None:
    """With e-mail and password a model call in a scope becomes a document, by a flush."""
    configure(email=EMAIL, password=PASSWORD)
    with trubrics_scope(user_id="alice", plan="pro"):
        FakeListChatModel(responses=["42"]).invoke("What is it?")
        track_feedback(1, "Good")
    assert flush(30)
    [prompt] = platform.stored_in("default/prompts")
    assert (text("alice"), text("What is it?"), text("42")) == (
        prompt["user_id"],
        prompt["prompt"],
        prompt["generation"],
    )
    assert 2 == len(platform.documents)


def test_event_without_a_place(platform: PlatformServer) -> None:
    """An event that the platform does not take is set aside, and stands in no one's way."""
    configure(email=EMAIL, password=PASSWORD)
    track_event("Signed up", user_id="alice")
    with trubrics_scope(user_id="alice"):
        FakeListChatModel(responses=["42"]).invoke("Hi")
    wait_until(lambda: flush(0.1).pending == 0)
    assert 1 == len(platform.stored_in("default/prompts"))
    assert 1 == sum(stats().rejected.values())
