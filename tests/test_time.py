"""Time that stands still, leaps or runs backwards: only dates follow it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from tests.delivery.parts import DEADLINE_SECONDS, wait_until
from tests.delivery.servers import answer, serve_raw, unused_url
from trubrics_trace import (
    PromptRecord,
    aflush,
    configure,
    flush,
    shutdown,
    stats,
    track_event,
    trubrics_scope,
)
from trubrics_trace._clock import steady_seconds, told
from trubrics_trace._stats import FlushReport
from trubrics_trace.testing import IngestionServer

FROZEN = "2020-01-02T03:04:05+00:00"
EARLIER, LATER = "1999-12-31T23:59:59+00:00", "2038-01-19T03:14:08+00:00"
SLEEP_SECONDS = 0.02

Freeze = Callable[[], AbstractContextManager[Any]]

FREEZES: dict[str, Freeze] = {
    "still": lambda: freeze_time(FROZEN),
    "ticking": lambda: freeze_time(FROZEN, tick=True),
    "leaping": lambda: freeze_time(FROZEN, auto_tick_seconds=3600),
    "before the epoch": lambda: freeze_time("1955-11-05T06:15:00+00:00"),
    "at the end of time": lambda: freeze_time("9999-12-31T00:00:00+00:00"),
}
each_freeze = pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
each_jump = pytest.mark.parametrize("jump", [EARLIER, LATER])


@given(
    st.datetimes(
        timezones=st.sampled_from([None, timezone.utc, timezone(timedelta(minutes=330))])
    ),
    st.timedeltas(timedelta(0), timedelta(seconds=2)),
)
def test_dates_are_told_as_isoformat_does(moment: datetime, later: timedelta) -> None:
    """A date is told as `datetime` tells it, in whatever second the one before was."""
    assert moment.isoformat() == told(moment)
    with contextlib.suppress(OverflowError):  # beyond the year 9999
        moment += later
    assert moment.isoformat() == told(moment)


class SlowModel(FakeListChatModel):
    """A model that really takes its time, whatever the clocks say meanwhile."""

    meanwhile: Callable[[], object] = lambda: None

    def _call(self, *_: Any, **__: Any) -> str:
        self.meanwhile()
        threading.Event().wait(SLEEP_SECONDS)
        return "42"

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for _piece in range(2):
            yield ChatGenerationChunk(message=AIMessageChunk(content=self._call()))


def ask(meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let alice ask a model that really takes its time."""
    with trubrics_scope(user_id="alice"):
        SlowModel(responses=[], meanwhile=meanwhile).invoke("Hi")


def test_date_is_frozen_and_latency_real(captured_prompts: list[PromptRecord]) -> None:
    """Under `freeze_time` a call began at the frozen time, and took its real time."""
    with freeze_time(FROZEN):
        ask()
    [record] = captured_prompts
    assert FROZEN == record.started_at
    assert record.latency_seconds >= SLEEP_SECONDS


def test_stream_is_timed(captured_prompts: list[PromptRecord]) -> None:
    """Under `freeze_time` the first piece of a stream came after its real time."""
    with freeze_time(FROZEN), trubrics_scope(user_id="alice"):
        list(SlowModel(responses=[]).stream("Hi"))
    [record] = captured_prompts
    first, last = record.first_token_seconds, record.latency_seconds
    assert (FROZEN, True) == (record.started_at, first is not None and first > 0)
    assert last >= (first or 0.0) + SLEEP_SECONDS


@each_jump
def test_clock_that_jumps_during_a_call(
    jump: str, captured_prompts: list[PromptRecord]
) -> None:
    """A clock that jumps while the model thinks changes neither date nor latency."""
    with freeze_time(FROZEN) as clock:
        ask(meanwhile=lambda: clock.move_to(jump))
        ask()
    assert [FROZEN, jump] == [record.started_at for record in captured_prompts]
    latencies = [record.latency_seconds for record in captured_prompts]
    assert [True, True] == [SLEEP_SECONDS <= one < 3600 for one in latencies]


@each_freeze
def test_delivery(freeze: Freeze, trubrics_server: IngestionServer) -> None:
    """However time is frozen, a record is delivered, with its date and its latency."""
    configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
    with freeze():
        ask()
        assert flush(timeout=DEADLINE_SECONDS)
    [event] = trubrics_server.events
    began = datetime.fromisoformat(event["properties"]["started_at"])
    ended = began + timedelta(seconds=event["latency"])
    assert ended == datetime.fromisoformat(event["timestamp"])
    assert event["latency"] >= SLEEP_SECONDS
    assert (1, 0, True) == (stats().delivered, stats().pending, stats().is_balanced)


@each_jump
def test_clock_that_jumps_during_a_retry(jump: str) -> None:
    """A clock that jumps between two attempts neither loses a record nor doubles it."""
    refusal = answer("503 Soon", b"{}", "Retry-After: 0")
    with (
        freeze_time(FROZEN) as clock,
        serve_raw(refusal, answer("200 OK", b"{}")) as server,
    ):
        configure(api_key="test-key", host=server.url, flush_interval=0.1)
        ask()
        wait_until(lambda: stats().retries == 1)
        clock.move_to(jump)
        ask()
        assert flush(timeout=DEADLINE_SECONDS)
    now = stats()
    assert (2, 2, 0, True) == (now.accepted, now.delivered, now.pending, now.is_balanced)
    assert 2 == sum(request.count(b'"langchain_run_id"') for request in server.requests[1:])


@each_freeze
def test_flush_returns_however_time_is_frozen(freeze: Freeze) -> None:
    """Where nobody listens a flush returns, with what still waits."""
    configure(api_key="test-key", host=unused_url())
    with freeze():
        track_event("clicked", user_id="alice")
        report = flush(timeout=0.1)
    assert (False, 1) == (report.complete, report.pending)


@pytest.mark.parametrize(
    "end",
    [
        lambda: flush(timeout=1),
        lambda: shutdown(timeout=1),
        lambda: asyncio.run(aflush(timeout=1)),
    ],
    ids=["flush", "shutdown", "aflush"],
)
def test_flush_returns(end: Callable[[], FlushReport]) -> None:
    """While time stands still each way to flush returns when its time is over."""
    configure(api_key="test-key", host=unused_url())
    reports: list[FlushReport] = []
    thread = threading.Thread(target=lambda: reports.append(end()), daemon=True)
    with freeze_time(FROZEN):
        track_event("clicked", user_id="alice")
        thread.start()
        thread.join(DEADLINE_SECONDS)
        returned = [(report.complete, report.pending) for report in reports]
    thread.join(DEADLINE_SECONDS)  # what waits for frozen time ends when it is no more
    assert [(False, 1)] == returned


@each_freeze
def test_age_is_real(freeze: Freeze) -> None:
    """What has waited under frozen time has waited its real time."""
    with freeze():
        ask()
        threading.Event().wait(SLEEP_SECONDS)
        age = stats().oldest_pending_seconds
    assert age is not None
    assert SLEEP_SECONDS <= age < 3600


def test_clock_of_files(tmp_path: Path) -> None:
    """The clock that tells the age of files is not frozen, and is never ahead of them."""
    before = steady_seconds()
    with freeze_time("2035-01-01"):
        frozen = steady_seconds()
    path = tmp_path / "file"
    path.write_text("")
    assert before <= frozen <= steady_seconds() <= time.clock_gettime(time.CLOCK_REALTIME)
    assert frozen < path.stat().st_mtime + 1.0
