"""Time that nobody can freeze, for durations; the wall's time, for dates.

`freezegun` freezes `time.monotonic` and `perf_counter` too. A latency measured with them
would be zero, and a deadline would never come.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import datetime, timezone

# Windows has no clock_gettime; what it has is taken now, before anybody can freeze it.
monotonic: Callable[[], float] = (
    functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime") and hasattr(time, "CLOCK_MONOTONIC")
    else time.monotonic
)


_ZONE = "+00:00"
_told: tuple[tuple[int, ...], str] = (), ""  # the last second, and how it is told


def utc_now() -> str:
    """Return the date and time in UTC, ISO 8601; `freeze_time` freezes it."""
    return told(datetime.now(timezone.utc))


def told(moment: datetime) -> str:
    """Return what `isoformat` does, at a third of its cost within one second."""
    global _told
    micros = moment.microsecond
    if moment.tzinfo is not timezone.utc or not micros:
        return moment.isoformat()
    year, month, day = moment.year, moment.month, moment.day
    second = (year, month, day, moment.hour, moment.minute, moment.second)
    known, text = _told
    if second != known:
        text = moment.isoformat(timespec="seconds")[: -len(_ZONE)]
        _told = second, text
    return f"{text}.{micros:06d}{_ZONE}"


def wall_seconds() -> float:
    """Return seconds since the epoch, to compare with other machines' dates."""
    return datetime.now(timezone.utc).timestamp()


def seconds_since(date: str) -> float | None:
    """Return how long ago a date of `utc_now` was; None for what is none."""
    try:
        then = datetime.fromisoformat(date).timestamp()
    except ValueError:
        return None
    return max(0.0, wall_seconds() - then)


def steady_seconds() -> float:
    """Return seconds since the epoch, for the age of files.

    Which none looks older for when the system's clock is set, forward or back.
    """
    return min(_epoch() + monotonic(), _real_seconds())


@functools.cache
def _epoch() -> float:
    return _real_seconds() - monotonic()


def _real_seconds_of_the_system() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)


_real_seconds = _real_seconds_of_the_system if hasattr(time, "clock_gettime") else time.time
