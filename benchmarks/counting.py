"""What Python executes during a call: instructions and calls, by whose code it is.

A count is the same on a busy machine as on an idle one, which no time is. Only the thread
that asks is counted; the garbage collector, which comes when it likes, waits meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from types import CodeType, FrameType
from typing import Any

import structlog

import trubrics_trace
from benchmarks.ways import Recording

WARM_UP = 50  # calls, after which nothing is done for the first time
CALLS = 21  # of which the middle one counts: once a second a call does some tending

OWNERS = {
    name: str(Path(str(package.__file__)).parent)
    for name, package in (
        ("trubrics_trace", trubrics_trace),
        ("structlog", structlog),
        ("json", json),
    )
}


@dataclass(frozen=True, slots=True)
class Count:
    """What one call has executed, by function, in the files of one owner.

    Attributes:
        instructions: Of Python's bytecode.
        calls: Of Python's functions that were entered, and of built-in ones.
    """

    instructions: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    def by_function(self) -> dict[str, Counter[str]]:
        """Return what can be told as JSON."""
        return {"instructions": self.instructions, "calls": self.calls}


def counted(way: Recording, kind: str) -> dict[str, Count]:
    """Return what a recorded call executes, by whose code it is."""
    loop = asyncio.new_event_loop()

    def ask() -> None:
        if kind == "sync":
            way.ask("alice")
        else:
            loop.run_until_complete(way.aask("alice"))

    for _ in range(WARM_UP):
        ask()
    gc.collect()
    gc.disable()
    instructions = _in_the_middle([_instructions(ask) for _ in range(CALLS)])
    calls = _in_the_middle([_calls(ask) for _ in range(CALLS)])
    gc.enable()
    loop.close()
    return {
        name: Count(_of(instructions, folder), _of(calls, folder))
        for name, folder in OWNERS.items()
    }


def _instructions(ask: Callable[[], None]) -> Counter[CodeType]:
    """Return how many instructions each function has executed."""
    found: Counter[CodeType] = Counter()

    def begin(frame: FrameType, _: str, __: Any) -> Any:
        if not _is_ours(frame.f_code):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return step

    def step(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            found[frame.f_code] += 1
        return step

    sys.settrace(begin)
    try:
        ask()
    finally:
        sys.settrace(None)
    return found


def _calls(ask: Callable[[], None]) -> Counter[CodeType]:
    """Return how often each function was entered, and has called a built-in one."""
    found: Counter[CodeType] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call"):
            found[frame.f_code] += 1

    sys.setprofile(note)
    try:
        ask()
    finally:
        sys.setprofile(None)
    return found


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(tuple(OWNERS.values()))


def _in_the_middle(found: list[Counter[CodeType]]) -> Counter[CodeType]:
    """Return that of many counts whose sum over the owners is the middle one."""
    sums = [sum(count for code, count in one.items() if _is_ours(code)) for one in found]
    return found[sums.index(median_low(sums))]


def _of(found: Counter[CodeType], folder: str) -> Counter[str]:
    """Return the counts of one owner, by the function's name and place."""
    named: Counter[str] = Counter()
    for code, count in found.items():
        if code.co_filename.startswith(folder):
            place = Path(code.co_filename).relative_to(folder)
            name = getattr(code, "co_qualname", code.co_name)  # since Python 3.11
            named[f"{name} ({place}:{code.co_firstlineno})"] += count
    return named
