"""What the cost of a recorded call might grow with, and how each of it is made.

A row has places, from few to many; at each the same calls are made without us and with us,
and tell the CPU seconds of who made them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from langchain_core.outputs import ChatResult

from benchmarks.ways import QUESTION, Model, Recording
from trubrics_trace import stats, track_event, trubrics_scope

CALLS = 100  # of a round: few enough that some round is not interrupted
UNCUT = 2**24  # characters of a text: the most that may be configured
_SENTENCE = f"{QUESTION} I have looked everywhere. "

# Returns the CPU seconds of all that it asked.
Asking = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Place:
    """So many calls, without us and with us; and what they are measured by, if anything."""

    bare: Asking
    recorded: Asking
    calls: int
    measure: Asking = field(default=lambda: 0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """What grows, and where it is looked at.

    Attributes:
        at: From the least to the most.
        at_quick: How many of these places are visited in a hurry.
        place: Returns what is asked at one of them.
        settings: What is configured beside a spool.
        is_kept: Whether what one place leaves is there at the next: one after the other.
    """

    at: tuple[int, ...]
    at_quick: int
    place: Callable[[int], Place]
    settings: dict[str, Any] = field(default_factory=dict)
    is_kept: bool = False


def nested(scopes: int) -> Place:
    """Ask in a traced function, in so many scopes, its own among them."""
    way = traced()

    def in_scopes() -> float:
        with contextlib.ExitStack() as around:
            for number in range(scopes - 1):
                scope = trubrics_scope(thread_id=f"thread {number}", tags="support")
                around.enter_context(scope)
            return timed(way)

    return Place(lambda: timed(Recording()), in_scopes, CALLS)


def tagged(tags: int) -> Place:
    """Ask in a traced function with so many tags."""
    way = Recording()
    way.traced([f"tag {number}" for number in range(tags)])
    return Place(lambda: timed(Recording()), lambda: timed(way), CALLS)


def prompted(size: int) -> Place:
    """Ask with a prompt of so many bytes, measured by one `json.dumps` of it."""
    question = (_SENTENCE * (size // len(_SENTENCE) + 1))[:size]
    bare, way, calls = Recording(question=question), traced(question=question), 50
    if size > 10_000:
        calls = max(3, 500_000 // size)

    def dumped() -> float:
        started = time.thread_time()
        for _ in range(calls):
            json.dumps(question)
        return time.thread_time() - started

    return Place(lambda: timed(bare, calls), lambda: timed(way, calls), calls, dumped)


def in_tasks(tasks: int) -> Place:
    """Ask in so many tasks of a loop, none of which is answered before all have asked."""
    rounds = max(1, CALLS // tasks)
    model = Meeting()
    bare, way = Recording(model=model), traced(model=model)

    def asking(of: Recording) -> float:
        async def ask_all() -> None:
            for _ in range(rounds):
                model.expect(tasks)
                await asyncio.gather(*(of.aask("alice") for _ in range(tasks)))

        loop = asyncio.new_event_loop()
        started = time.thread_time()
        loop.run_until_complete(ask_all())
        taken = time.thread_time() - started
        loop.close()
        return taken

    return Place(lambda: asking(bare), lambda: asking(way), rounds * tasks)


def on_threads(threads: int) -> Place:
    """Ask on so many threads, which begin together."""
    calls = max(10, CALLS // threads)
    bare, way = Recording(), traced()

    def asking(of: Recording) -> float:
        begin = threading.Barrier(threads)

        def work(_: int) -> float:
            begin.wait()
            return timed(of, calls)

        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(work, range(threads)))

    return Place(lambda: asking(bare), lambda: asking(way), calls * threads)


def behind(records: int) -> Place:
    """Ask while so many records wait on disk."""
    for _ in range(records - stats().pending):
        track_event("waits", user_id="alice")
    way = traced()
    return Place(lambda: timed(Recording()), lambda: timed(way), CALLS)


ROWS = {
    "nested scopes": Row((1, 2, 4, 8, 16, 32), 6, nested),
    "tags": Row((0, 1, 4, 16, 64), 5, tagged),
    "bytes of prompt": Row((100, 1000, 10_000, 100_000, 1_000_000), 5, prompted),
    "bytes of prompt, uncut": Row(
        (100, 1000, 10_000, 100_000, 1_000_000), 5, prompted, {"max_text_length": UNCUT}
    ),
    "tasks at once": Row((1, 10, 100, 1000, 10_000), 4, in_tasks),
    "threads": Row((1, 2, 4, 8, 16, 32, 64), 7, on_threads),
    "records that wait": Row(
        (0, 1000, 10_000, 100_000, 1_000_000), 3, behind, is_kept=True
    ),
}


class Meeting(Model):
    """Answers none before all that it expects have asked."""

    _missing: int = 0
    _everybody: Any = None

    def expect(self, calls: int) -> None:
        """Expect so many calls, in the loop that runs."""
        self._missing, self._everybody = calls, asyncio.Event()

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        self._missing -= 1
        if not self._missing:
            self._everybody.set()
        await self._everybody.wait()
        return self._generate()


def traced(**asked: Any) -> Recording:
    """Return what records by the decorator."""
    way = Recording(**asked)
    way.traced()
    return way


def timed(way: Recording, calls: int = CALLS) -> float:
    """Ask so many times, on this thread; return its CPU seconds."""
    started = time.thread_time()
    for _ in range(calls):
        way.ask("alice")
    return time.thread_time() - started
