"""An app that records as fast as it can, and watches its memory and what is logged.

python -m benchmarks.faults.apps.million 1000000
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from pathlib import Path

from trubrics_trace import stats, track_event

from . import balance

_WARM_UP = 1000
_MIB = 1024 * 1024
_NOTE = "A million of these are more than the spool may take. " * 4


class Lines(logging.Handler):
    """What our package logs, as the app's own log would show it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is said."""
        self.said.append(record.getMessage())


def main(events: int) -> None:
    """Record so many events; tell how much memory that took at most, and what was said."""
    lines = Lines()
    logging.getLogger("trubrics_trace").addHandler(lines)
    for number in range(_WARM_UP):
        record(number)
    before = most = resident_bytes()
    is_balanced = True
    started = time.monotonic()
    for number in range(_WARM_UP, events):
        record(number)
        if number % 10_000 == 0:
            most = max(most, resident_bytes())
            is_balanced = is_balanced and stats().is_balanced
    now = stats()
    balance.say(
        is_balanced=is_balanced and now.is_balanced,
        minutes=(time.monotonic() - started) / 60,
        grown_mib=(max(most, resident_bytes()) - before) / _MIB,
        bytes_on_disk=now.bytes_on_disk,
        lines=lines.said,
    )


def record(number: int) -> None:
    """Record one event of an ordinary size."""
    track_event(f"event {number}", user_id="alice", plan="pro", note=_NOTE)


def resident_bytes() -> int:
    """Return the memory that this process has now; its peak where that is not told."""
    told = Path("/proc/self/statm")
    if told.exists():
        return int(told.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(int(sys.argv[1]))
