"""Nobody waits for telemetry: processes that share a spool, threads, an event loop.

    python -m benchmarks.faults.stalls

Line 12: 4 processes on one spool, 200 events/s each for 20 s: no call over 50 ms.
32 threads of 1,000 events: all delivered. An event loop whose server answers after 2 s,
with 200 `ainvoke` a second while `aflush` runs: its lag stays under 10 ms. The wall's time
is what is bounded. To tell whose doing it was, there stand beside it: the same less what
the thread waited for a processor (Linux tells that), the lag of the same loop outside any
scope, and what a process that only sleeps oversleeps meanwhile.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from statistics import median
from typing import Any

from .app import App, spool
from .outcome import figures_of, names_of
from .report import Figure, Report, arguments
from .server import serving

_PROCESSES = 4
_RATE = 200
_MOST_CALL_MILLISECONDS = 50.0
_MOST_LAG_MILLISECONDS = 10.0


class Oversleep:
    """How late this process, which has nothing to do, is woken at most."""

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.is_set():
            started = time.monotonic()
            time.sleep(0.002)
            late = (time.monotonic() - started - 0.002) * 1000
            self.milliseconds = max(self.milliseconds, late)


def processes(report: Report, seconds: int, number: int) -> list[float]:
    """Print how long calls took in processes that share a spool; return the longest."""
    events = _RATE * seconds
    with serving() as server, spool() as spool_dir:
        with contextlib.closing(Oversleep()) as machine:
            apps = [
                App("pacing", spool_dir, server.url, events, _RATE, name)
                for name in map(str, range(_PROCESSES))
            ]
            told = [app.ended(seconds * 5 + 180) for app in apps]
        wanted = {name for at in range(_PROCESSES) for name in names_of(events, str(at))}
        report.row(
            f"4 processes, one spool, round {number}",
            Figure("longest ms", max(one["longest_wall"] for one in told)),
            Figure("less the queue", max(one["longest"] for one in told)),
            Figure("99.9 % less the queue", max(one["most"] for one in told)),
            Figure("typical so", max(one["typical"] for one in told)),
            Figure("first call ms", max(one["first"] for one in told)),
            Figure("machine's own ms", machine.milliseconds),
            Figure("events/s each", min(one["rate"] for one in told)),
            *figures_of(wanted, server, spool_dir, *told),
        )
        return [float(one["longest_wall"]) for one in told]


def threads(report: Report) -> None:
    """Print what becomes of what many threads record."""
    with serving() as server, spool() as spool_dir:
        told = App("threads", spool_dir, server.url, 32, 1000).ended(240)
        report.row(
            "32 threads of 1,000 events",
            *figures_of(names_of(32_000), server, spool_dir, told),
            Figure("flushed", told["flushed"], at_least=1),
        )


def loop(report: Report, seconds: int, number: int) -> tuple[float, float]:
    """Print how late a loop is under a slow server, and without us; return both."""
    told: dict[str, dict[str, Any]] = {}
    for how in ("bare", "traced"):
        with serving() as server, spool() as spool_dir:
            server.delay(2.0)
            with contextlib.closing(Oversleep()) as machine:
                told[how] = App("loop", spool_dir, server.url, seconds, 200, how).ended(240)
            wanted = names_of(told[how]["asked"] if how == "traced" else 0)
            figures = figures_of(wanted, server, spool_dir, told[how])
    traced, bare = told["traced"], told["bare"]
    report.row(
        f"a loop under answers of 2 s, round {number}",
        Figure("longest lag ms", traced["longest_wall"]),
        Figure("less the queue", traced["longest"]),
        Figure("99.9 % less the queue", traced["most"]),
        Figure("without us: longest", bare["longest_wall"]),
        Figure("99.9 % so", bare["most"]),
        Figure("machine's own ms", machine.milliseconds),
        Figure("asked", traced["asked"]),
        Figure("flushes", traced["flushes"], at_least=1),
        *figures,
    )
    return traced["longest_wall"], bare["longest_wall"]


def main() -> int:
    """Print a row a measurement, and medians of the rounds; 0 if each holds."""
    options = arguments(__doc__).parse_args()
    report = Report("12", as_json=options.json)
    rounds, seconds = (1, 5) if options.quick else (3, 20)
    calls = [processes(report, seconds, number) for number in range(1, rounds + 1)]
    report.row(
        f"4 processes: medians of {rounds}",
        Figure(
            "longest call ms",
            median(max(longest) for longest in calls),
            at_most=_MOST_CALL_MILLISECONDS,
        ),
    )
    threads(report)
    lags = [loop(report, seconds, number) for number in range(1, rounds + 1)]
    report.row(
        f"a loop: medians of {rounds}",
        Figure(
            "longest lag ms",
            median(traced for traced, _ in lags),
            at_most=_MOST_LAG_MILLISECONDS,
        ),
        Figure("without us", median(bare for _, bare in lags)),
    )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
