"""How long this process's main thread has waited for a processor.

Where others have them all, that is no stall of ours; Linux tells it, elsewhere it is 0.
"""

from __future__ import annotations

import os


def queued_milliseconds() -> float:
    """Return how long the main thread was ready to run, and did not, so far."""
    if _SCHEDULE is None:
        return 0.0
    told = os.pread(_SCHEDULE, 100, 0)  # nanoseconds run, and waited, and how often
    return int(told.split()[1]) / 1e6


def _schedule() -> int | None:
    try:
        return os.open("/proc/self/schedstat", os.O_RDONLY)  # the main thread's
    except OSError:
        return None


_SCHEDULE = _schedule()
