"""An app that records at a pace and times each call.

    python -m benchmarks.faults.apps.pacing 40000 2000 first

The first call, which imports what delivery needs, is told apart. What a call waited for a
processor, because others had them all, is no stall of ours, and taken off where Linux tells
it.
"""

from __future__ import annotations

import sys
import time

from trubrics_trace import flush, track_event

from . import balance
from .processor import queued_milliseconds


def main(events: int, rate: float, name: str) -> None:
    """Record so many events, and tell how long the longest call took."""
    first = milliseconds_of(f"{name} 0")
    calls, walls = [], []
    started = time.monotonic()
    for number in range(1, events):
        ahead = started + number / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        waited = queued_milliseconds()
        walls.append(milliseconds_of(f"{name} {number}"))
        calls.append(walls[-1] - (queued_milliseconds() - waited))
    seconds = time.monotonic() - started
    flush(120)
    calls.sort()
    balance.say(
        first=first,
        longest=calls[-1],
        longest_wall=max(walls),
        typical=calls[len(calls) // 2],
        most=calls[int(len(calls) * 0.999)],
        rate=events / seconds,
    )


def milliseconds_of(name: str) -> float:
    """Record one event and return how long the call took."""
    started = time.perf_counter()
    track_event(name, user_id="alice", plan="pro", page="/settings")
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
