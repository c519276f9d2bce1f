"""Values of the app's that raise when they are asked anything, wherever they are given."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from tests.harmless.parts import (
    ANSWER,
    WORDS,
    OddError,
    Way,
    by_hand,
    decorated_async,
    invoke,
    model,
    notices,
    raising,
    spoiled,
)
from trubrics_trace import (
    PromptRecord,
    TrubricsCallbackHandler,
    configure,
    identify,
    stats,
    track_event,
    track_feedback,
    trubrics_scope,
)
from trubrics_trace.errors import TelemetryError

Make = Callable[[BaseException], Any]

each_way = pytest.mark.parametrize("way", [invoke, decorated_async, by_hand])


def of(base: type, *arguments: Any) -> Make:
    """Return what makes a spoiled value of a class below `base`."""
    return lambda error: spoiled(error, base, *arguments)


def proxy(error: BaseException) -> Any:
    """Return a proxy that is bound to nothing: it raises whatever of it is looked at."""

    class Unbound:
        def __call__(self) -> Any:
            raise error

        def __getattribute__(self, name: str) -> Any:
            raise error

    return Unbound()


def classless(error: BaseException) -> Any:
    """Return a value that raises when it is asked for its class."""

    class Classless:
        def __getattribute__(self, name: str) -> Any:
            raise error

        def __str__(self) -> str:
            return "classless"

    return Classless()


def generator(error: BaseException) -> Any:
    """Return a generator that raises instead of yielding."""
    yield "chat"
    raise error


def member(error: BaseException) -> Any:
    """Return a member of an enumeration that raises when it is asked for its value."""

    class Spoiled(enum.Enum):
        MEMBER = 1

        @property
        def value(self) -> Any:
            raise error

    return Spoiled.MEMBER


CANNOT = "[Spoiled that cannot be told]"

# What metadata may hold, and what the record then says of it.
METADATA: dict[str, tuple[Make, Any]] = {
    "object": (of(object), CANNOT),
    "classless": (classless, "classless"),
    "error": (of(ValueError, "text"), CANNOT),
    "enum": (member, CANNOT),
    "list": (of(list, [1]), CANNOT),
    "set": (of(frozenset, [1]), CANNOT),
    "tuple": (of(tuple, (1,)), CANNOT),
    "uuid": (of(UUID, "0" * 32), CANNOT),
    "bytes": (of(bytes, b"1234"), CANNOT),
    "float": (of(float, 0.5), 0.5),
    "int": (of(int, 7), 7),
    "str": (of(str, "text"), "text"),
}

# A keyword, what it may be given, what is counted, and who then asks.
IDENTITY: list[tuple[str, Make, str | None, str | None]] = [
    ("user_id", of(object), "bad_user_id", None),
    ("user_id", classless, "attributes_failed", None),
    ("user_id", of(UUID, "0" * 32), "attributes_failed", None),
    ("user_id", of(float, 0.5), "bad_user_id", None),
    ("user_id", of(int, 7), None, "7"),
    ("user_id", of(str, "bob"), None, "bob"),
    ("user_id", proxy, "user_id_failed", None),
    ("thread_id", of(object), "bad_thread_id", "alice"),
    ("thread_id", proxy, "thread_id_failed", "alice"),
    ("run_name", of(str, "name"), None, "alice"),
    ("tags", of(object), "attributes_failed", None),
    ("tags", lambda error: ["chat", spoiled(error)], "bad_tags", "alice"),
    ("tags", of(str, "chat"), None, "alice"),
    ("tags", of(list, ["chat"]), "attributes_failed", None),
    ("tags", lambda error: ["chat", spoiled(error, str, "chat")], None, "alice"),
    ("tags", generator, "tags_failed", "alice"),
    ("metadata", of(object), "bad_metadata", "alice"),
    ("metadata", of(dict, {"plan": "free"}), None, "alice"),
    ("metadata", lambda error: {spoiled(error): 1}, "attributes_failed", None),
    ("plan", proxy, "metadata_failed", "alice"),
]


def named(row: Any) -> str:
    """Return a keyword, to tell the rows of a table apart."""
    return row if isinstance(row, str) else ""


@each_way
@pytest.mark.parametrize(("make", "told"), METADATA.values(), ids=METADATA)
def test_metadata(
    way: Way, make: Make, told: Any, captured_prompts: list[PromptRecord]
) -> None:
    """Of a value that cannot be told the record says so, and everything else is told."""
    assert ANSWER == way(user_id="alice", note=make(OddError(WORDS)), plan="free")
    [record] = captured_prompts
    expected = ("alice", {"note": told, "plan": "free"}, ANSWER)
    assert expected == (record.user_id, record.metadata, record.generation)
    counted = {"untellable_value"} if told is CANNOT else set()
    assert counted == set(stats().noticed)


@pytest.mark.parametrize(
    "make", [make for make, told in METADATA.values() if told is CANNOT]
)
def test_metadata_when_strict(make: Make, captured_prompts: list[PromptRecord]) -> None:
    """In strict mode a value that cannot be told is raised to the caller."""
    configure(strict=True)
    with pytest.raises(TelemetryError) as raised:
        invoke(user_id="alice", note=make(LookupError()))
    assert "untellable_value" == raised.value.reason


@each_way
@pytest.mark.parametrize(("keyword", "make", "reason", "user_id"), IDENTITY, ids=named)
def test_identity(
    way: Way,
    keyword: str,
    make: Make,
    reason: str | None,
    user_id: str | None,
    captured_prompts: list[PromptRecord],
) -> None:
    """What cannot be read names nobody, is counted, and the call answers as ever."""
    assert ANSWER == way(**{"user_id": "alice", keyword: make(OddError(WORDS))})
    [record] = captured_prompts
    assert (user_id, ANSWER) == (record.user_id, record.generation)
    nobody = {"without_user"} if user_id is None else set()
    assert ({reason} if reason else set()) | nobody == set(stats().noticed)


each_unreadable = pytest.mark.parametrize(
    ("keyword", "make", "reason"),
    [(keyword, make, reason) for keyword, make, reason, _ in IDENTITY if reason],
    ids=named,
)


@each_unreadable
def test_notice_helps(
    keyword: str,
    make: Make,
    reason: str,
    captured_prompts: list[PromptRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is said of it names a place of the app's, and a remedy."""
    invoke(**{"user_id": "alice", keyword: make(LookupError(WORDS))})
    [notice] = notices(caplog.messages)
    places = {place.partition(".")[0] for place in re.findall(r"\w+\.py:\d+", notice)}
    assert (True, True) == (bool(places), places <= {"parts", "test_values"})
    assert re.search("; (mend it|give a)", notice)
    assert WORDS not in notice


@each_unreadable
def test_identity_when_strict(
    keyword: str, make: Make, reason: str, captured_prompts: list[PromptRecord]
) -> None:
    """In strict mode what cannot be read is raised where the scope opens."""
    configure(strict=True)
    with pytest.raises(TelemetryError) as raised:
        invoke(**{"user_id": "alice", keyword: make(LookupError())})
    assert reason == raised.value.reason


def test_tags_of_nested_scopes(
    error: BaseException, captured_prompts: list[PromptRecord]
) -> None:
    """Tags that will not be compared are merged as the texts that they are."""
    with (
        trubrics_scope(user_id="alice", tags=[spoiled(error, str, "chat")]),
        trubrics_scope(tags=["chat", spoiled(error, str, "search")]),
    ):
        model().invoke("Hi")
    [record] = captured_prompts
    assert ("langchain", "chat", "search") == record.tags
    assert {str} == {type(tag) for tag in record.tags}


@pytest.mark.parametrize("make", [of(object), of(UUID, "0" * 32), proxy, classless])
def test_identify(
    make: Make, error: BaseException, captured_prompts: list[PromptRecord]
) -> None:
    """Who is identified by what cannot be read is nobody, and never the user before."""
    with trubrics_scope(user_id="alice"):
        identify(make(error))
        model().invoke("Hi")
    assert [None] == [record.user_id for record in captured_prompts]


# What is tracked beside the prompts, and what of it may raise.
TRACKED: dict[str, Callable[[Any], None]] = {
    "event": lambda value: track_event(value, user_id="alice"),
    "user of an event": lambda value: track_event("clicked", user_id=value),
    "property": lambda value: track_event("clicked", user_id="alice", note=value),
    "score": lambda value: track_feedback(value, user_id="alice"),
    "comment": lambda value: track_feedback(1, value, user_id="alice"),
    "record": lambda value: track_feedback(1, record_id=value, user_id="alice"),
    "type": lambda value: track_feedback(1, type=value, user_id="alice"),
    "thread": lambda value: track_feedback(1, user_id="alice", thread_id=value),
}


@pytest.mark.parametrize("track", TRACKED.values(), ids=TRACKED)
def test_tracking(
    track: Callable[[Any], None],
    error: BaseException,
    captured_prompts: list[PromptRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is tracked by hand raises nothing; what is missing of it is counted and said."""
    track(spoiled(error))
    assert 1 == sum(stats().noticed.values())
    [notice] = notices(caplog.messages)
    assert WORDS not in notice


@pytest.mark.parametrize("track", TRACKED.values(), ids=TRACKED)
def test_tracking_when_strict(
    track: Callable[[Any], None], captured_prompts: list[PromptRecord]
) -> None:
    """In strict mode it is raised."""
    configure(strict=True)
    with pytest.raises(TelemetryError):
        track(spoiled(LookupError()))


@pytest.mark.parametrize(
    "show",
    [
        lambda value: repr(trubrics_scope(user_id=value, tags=[value], note=value)),
        lambda value: repr(TrubricsCallbackHandler(user_id=value, note=value)),
    ],
)
def test_reprs(show: Callable[[Any], str], error: BaseException) -> None:
    """What we are told by shows no more than it can, and raises nothing."""
    assert show(spoiled(error))


class Model(FakeListChatModel):
    """A model that answers with a message, or an error, of the test's."""

    answer: Callable[[], AIMessage]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.answer())])


def test_error_of_a_model(
    error: BaseException, captured_prompts: list[PromptRecord]
) -> None:
    """An error that cannot be told reaches the app as the very same object."""
    answer = spoiled(error, ValueError, "text")
    with trubrics_scope(user_id="alice"):
        try:
            Model(responses=[], answer=raising(answer)).invoke("Hi")
        except ValueError as raised:
            assert answer is raised  # noqa: PT017 - `pytest.raises` asks it too much
    [record] = captured_prompts
    assert ("error", "Spoiled", CANNOT) == (
        record.status,
        record.error_type,
        record.error_message,
    )
    assert {"untellable_value": 1} == stats().noticed


def test_content_of_a_message(
    error: BaseException, captured_prompts: list[PromptRecord]
) -> None:
    """A question that cannot be read is answered; that it is not told is counted."""
    message = HumanMessage("Hi")
    message.content = spoiled(error)
    with trubrics_scope(user_id="alice"):
        assert ANSWER == model().invoke([message]).content
    assert 1 == sum(stats().noticed.values())


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("response_metadata", lambda error: {"model_name": spoiled(error)}),
        ("usage_metadata", of(dict)),
    ],
)
def test_answer_of_a_model(
    field: str, make: Make, captured_prompts: list[PromptRecord]
) -> None:
    """An answer that cannot be read reaches the app; that it is not told is counted."""
    answer = AIMessage("42")
    setattr(answer, field, make(LookupError(WORDS)))  # LangChain survives no other
    with trubrics_scope(user_id="alice"):
        assert answer is Model(responses=[], answer=lambda: answer).invoke("Hi")
    assert 1 == sum(stats().noticed.values())


def test_config_of_a_call(
    error: BaseException, captured_prompts: list[PromptRecord]
) -> None:
    """What stands in LangChain's own config is told as far as it can be."""
    said = {"trubrics_thread_id": spoiled(error), "ls_model_name": spoiled(error)}
    with trubrics_scope(user_id="alice"):
        answer = model().invoke("Hi", config={"metadata": said})
    assert ANSWER == answer.content
    assert stats().noticed
