"""The one process-wide set: who is told of records, and with which credentials."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from trubrics import Trubrics

from tests.delivery.servers import unused_url
from trubrics_trace import (
    EventRecord,
    Record,
    Settings,
    _runtime,
    aflush,
    configure,
    errors,
    flush,
    stats,
    track_event,
)
from trubrics_trace import trubrics_scope as scope
from trubrics_trace.testing import IngestionServer, capture_records

OWN_HOST = "https://own.example/api"


def test_installing_twice() -> None:
    """It is installed once: who comes later is not asked again."""
    with scope():
        pass
    asked: list[str] = []
    _runtime.install(lambda: asked.append("again"))

    assert [] == asked


def test_telling_while_telling() -> None:
    """What is told in the middle of a record waits for its end, and is kept."""
    told: list[str] = []

    def before_send(record: Record) -> Record:
        told.append(record.kind)
        if record.kind == "prompt":
            track_event("A prompt leaves")
            told.append("the end of the prompt")
        return record

    configure(before_send=before_send)
    with capture_records() as records, scope(user_id="alice"):
        FakeListChatModel(responses=["42"]).invoke("The answer?")

    assert ["prompt", "the end of the prompt", "event"] == told
    assert ["prompt", "event"] == [record.kind for record in records]


@pytest.mark.parametrize("before", [{}, {"api_key": "usual", "account": "named"}])
@pytest.mark.parametrize(
    ("given", "alike"),
    [
        ({"api_key": "own"}, Settings(api_key="own")),
        ({"api_key": "own", "client": None}, Settings(api_key="own")),
        ({"api_key": "own", "host": OWN_HOST}, Settings(api_key="own", host=OWN_HOST)),
        ({"api_key": "own", "account": "mine"}, Settings(api_key="own", account="mine")),
        ({"email": "a@b.c", "password": "p"}, Settings(email="a@b.c", password="p")),
        (
            {"email": "a@b.c", "password": "p", "project": "mine"},
            Settings(email="a@b.c", password="p", project="mine"),
        ),
    ],
)
def test_own_credentials(
    before: dict[str, Any], given: dict[str, Any], alike: Settings
) -> None:
    """Own credentials make a destination of their own, whatever the usual ones are."""
    configure(**before)
    own = _runtime.settings_with(**given)

    assert own is not None
    assert alike.destination == own.destination


def test_own_client() -> None:
    """An official client gives its key and its host."""
    client = Trubrics("own", host=unused_url())
    own = _runtime.settings_with(client=client, api_key=None)

    assert own is not None
    assert ("own", client.host) == (own.api_key, own.host)


def test_own_host() -> None:
    """Another host alone takes the usual key and account along."""
    configure(api_key="usual", account="named")
    own = _runtime.settings_with(host=OWN_HOST)

    assert own is not None
    assert ("usual", "named", OWN_HOST) == (own.api_key, own.account, own.host)


def test_no_own_credentials() -> None:
    """None given are the usual ones."""
    assert _runtime.settings_with(api_key=None, host=None) is None


def test_everything_is_captured() -> None:
    """With `capture="all"` a call outside any scope is recorded, under nobody."""
    configure(capture="all")
    with capture_records() as records:
        FakeListChatModel(responses=["42"]).invoke("The answer?")

    assert [None] == [record.user_id for record in records]
    assert 1 == stats().noticed["without_user"]


def raising(record: Record) -> Record:
    """Raise, as the app's `before_send` may."""
    raise LookupError


def capture_and_leave() -> None:
    """Capture, and leave at once."""
    with capture_records():
        pass


def test_capture_ends_in_strict_mode() -> None:
    """A capture ends with its block, whatever strict mode raises there."""
    configure(strict=True, before_send=raising)
    with pytest.raises(errors.TelemetryError), capture_records(), scope(user_id="alice"):
        FakeListChatModel(responses=["42"]).invoke("Hello?")
    configure()
    track_event("kept")
    assert 1 == stats().accepted


@pytest.mark.parametrize("settle", [configure, capture_and_leave])
def test_settling_that_raises(settle: Callable[[], object]) -> None:
    """What is raised while notes are settled leaves nothing half done."""
    configure(strict=True)
    with scope():
        pass

    def refuse() -> None:
        raise errors.TelemetryError("planted")

    _runtime.when_settling.append(refuse)
    try:
        with pytest.raises(errors.TelemetryError, match="planted"):
            settle()
    finally:
        _runtime.when_settling.remove(refuse)
    configure()
    track_event("kept")
    assert 1 == stats().accepted


def test_aflush_with_nothing_to_do() -> None:
    """Where nothing waits, an async flush is done at once, and starts no thread."""
    before = threading.active_count()

    async def flush() -> tuple[bool, int]:
        return bool(await aflush()), threading.active_count()

    assert (True, before) == asyncio.run(flush())


def test_aflush_waits(trubrics_server: IngestionServer) -> None:
    """An async flush waits for what is on its way, while the loop goes on."""
    configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
    track_event("Signed up", user_id="alice")

    async def flush() -> tuple[bool, bool]:
        flushing = asyncio.ensure_future(aflush())
        await asyncio.sleep(0)
        return flushing.done(), bool(await flushing)

    assert (False, True) == asyncio.run(flush())
    assert 1 == len(trubrics_server.events)


@pytest.mark.parametrize("way", ["before_send", "logging"])
def test_record_for_each_record(way: str) -> None:
    """What is told records again, each time: the call returns, and that is counted."""
    made: list[str] = []

    def record_again() -> None:
        made.append("again")
        if len(made) < 100:  # for ever, were it not for the bound
            track_event("again", user_id="alice")

    def before_send(record: Record) -> Record:
        record_again()
        return record

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            record_again()

    handler, log = Recording(), logging.getLogger("trubrics_trace")
    if way == "before_send":
        configure(before_send=before_send)
    else:
        log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        track_event("first", user_id="alice")
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert {"inside_pipeline"} == stats().skipped.keys()
    assert len(made) == stats().accepted - 1 + stats().skipped["inside_pipeline"]
    assert len(made) < 100


def test_flush_while_telling() -> None:
    """What is told may flush: what waits for its turn is told after it, not in it."""
    told: list[str] = []

    def before_send(record: Record) -> Record:
        assert isinstance(record, EventRecord)
        told.append(record.event_name)
        if record.event_name == "first":
            track_event("second")
            flush(0)
            told.append("flushed")
        return record

    configure(before_send=before_send)
    track_event("first")
    assert (["first", "flushed", "second"], 2) == (told, stats().accepted)


def test_aflush_in_strict_mode() -> None:
    """An async flush raises what strict mode met where it is waited for."""
    configure(api_key="key", host=unused_url(), strict=True)
    track_event("first", user_id="alice")
    with pytest.raises(errors.TelemetryError, match="not_delivered"):
        asyncio.run(aflush(30.0))


BOTH = {"api_key": "k-1", "email": "alice@example.com", "password": "correct horse"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"api_key", "email", "password"}, ["both an API key"]),
        ({"api_key", "email"}, []),
        ({"email"}, ["TRUBRICS_PASSWORD as well"]),
        ({"password"}, ["TRUBRICS_EMAIL as well"]),
        ({"email", "password"}, []),
    ],
)
def test_credentials_of_two_platforms(
    given: set[str], expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Where two credentials are given, or half of one, that is said once, and no secret."""
    settings = configure(**{name: BOTH[name] for name in given})  # type: ignore[arg-type]
    configured = [message for message in caplog.messages if "record" in message]
    assert len(expected) == len(configured)
    assert all(words in said for words, said in zip(expected, configured, strict=True))
    assert not any(BOTH["password"] in said or "k-1" in said for said in configured)
    is_key_there = "api_key" in given
    assert is_key_there == ("ingestion" == settings.destination.platform)
