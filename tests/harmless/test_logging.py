"""The app's own logging raises while it is told of a fault: that is one fault more."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.parts import wait_until
from tests.delivery.servers import answer, serve_raw
from tests.harmless.parts import (
    ANSWER,
    WORDS,
    invoke,
    model,
    raising,
    raising_filter,
    raising_handler,
)
from trubrics_trace import (
    PromptRecord,
    configure,
    identify,
    stats,
    track_event,
    trubrics_scope,
)

Around = Callable[[BaseException], AbstractContextManager[None]]

BROKEN: dict[str, Around] = {
    "handler": raising_handler,
    "filter": raising_filter,
    "handler of the root": lambda error: raising_handler(error, logging.WARNING, ""),
}

each_break = pytest.mark.parametrize("around", BROKEN.values(), ids=BROKEN)


def late() -> str:
    """Ask in a context that has outlived its scope."""
    with trubrics_scope(user_id="alice"):
        context = contextvars.copy_context()
    return context.run(lambda: str(model().invoke("Hi").content))


def no_user() -> Any:
    """Return what names nobody."""
    return 0.5


# What is done, and what is counted of it beside the notice.
SAID: dict[str, tuple[Callable[[], Any], str]] = {
    "callable": (lambda: invoke(user_id=raising(LookupError(WORDS))), "user_id_failed"),
    "bad user": (lambda: invoke(user_id=0.5), "bad_user_id"),
    "bad tags": (lambda: invoke(user_id="alice", tags=5), "bad_tags"),
    "bad metadata": (lambda: invoke(user_id="alice", metadata=5), "bad_metadata"),
    "near miss": (lambda: invoke(user_id="alice", user="bob"), "near_miss_user"),
    "nobody": (lambda: invoke(user_id=None), "without_user"),
    "no user": (invoke, "without_user"),
    "late": (late, "late"),
    "outside": (lambda: identify("alice"), "identify_outside"),
    "event": (lambda: track_event("clicked", user_id=no_user()), "bad_user_id"),
}


@each_break
@pytest.mark.parametrize(("do", "reason"), SAID.values(), ids=SAID)
def test_notice_that_cannot_be_said(
    do: Callable[[], Any],
    reason: str,
    around: Around,
    error: BaseException,
    captured_prompts: list[PromptRecord],
) -> None:
    """A notice that logging will not take is counted, and the call answers as ever."""
    with around(error):
        assert do() in (ANSWER, None)
    counted = stats().noticed
    assert (1, True) == (counted[reason], counted["notice_failed"] >= 1)


@each_break
def test_place_that_cannot_be_said(
    around: Around,
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So it is where there are no credentials, no spool, and settings that are none."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRUBRICS_TRACE_SPOOL_DIR", str(tmp_path / "file" / "spool"))
    monkeypatch.setenv("TRUBRICS_TRACE_BATCH_SIZE", "many")
    with around(error):
        configure()
        assert ANSWER == invoke(user_id="alice")
    assert 1 == stats().noticed["spool_refused"]
    assert 1 == stats().pending


@each_break
def test_sender_whose_notice_cannot_be_said(around: Around, error: BaseException) -> None:
    """The sender's thread goes on where what it says of a refusal is not taken."""
    refusal = answer("422 Unprocessable", b'{"detail": ""}')
    with serve_raw(refusal, answer("200 OK", b"{}")) as server, around(error):
        configure(api_key="test-key", host=server.url, flush_interval=0.1)
        assert ANSWER == invoke(user_id="alice")
        wait_until(lambda: stats().rejected)
        assert ANSWER == invoke(user_id="alice")
        wait_until(lambda: stats().delivered == 1)
    assert (True, 2) == (stats().is_balanced, stats().accepted)
    assert stats().noticed["notice_failed"] >= 1


@each_break
def test_refused_key_that_cannot_be_said(around: Around, error: BaseException) -> None:
    """A refused key keeps every record, also where nobody can be told of it."""
    with serve_raw(answer("401 Unauthorized", b"{}")) as server, around(error):
        configure(api_key="test-key", host=server.url, flush_interval=0.1)
        assert ANSWER == invoke(user_id="alice")
        wait_until(lambda: stats().retries == 1)
        wait_until(lambda: stats().noticed.get("notice_failed"))
        assert (1, "HTTP 401") == (stats().pending, stats().last_error)
