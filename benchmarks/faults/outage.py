"""A server that is away loses nothing, and is given what it missed when it is back.

    python -m benchmarks.faults.outage [--minutes 10]

Line 2: away for 30 s of 60 s, at 200/s, three times: 0 lost, 0 duplicates, and what waited
when it came back is there within 10 s each time; at 1/s: 0 lost; away for ten minutes at
200/s, in the middle of which the app is killed and starts again: 0 lost after run 2, which
that start is.
"""

from __future__ import annotations

import argparse
import sys
import time

from .app import App, spool
from .outcome import figures_of, names_of
from .report import Figure, Report, arguments
from .server import serving


def away(report: Report, rate: float, seconds: float) -> None:
    """Print what becomes of an app whose server is away for half of its time."""
    events = int(rate * seconds)
    with serving() as server, spool() as spool_dir:
        app = App(
            *("steady", spool_dir, server.url),
            *("--events", events, "--rate", rate, "--flush", 90),
        )
        app.wait_until_said(events // 4, seconds)
        server.down()
        app.wait_until_said(events * 3 // 4, seconds)
        server.up()
        back_at, waiting = time.monotonic(), names_of(list(app.said))
        told = app.ended(seconds + 90)
        arrived = server.seen().first_at
        report.row(
            f"away {seconds / 2:g} s of {seconds:g} s at {rate:g}/s",
            Figure(
                "seconds to the last that waited",
                max(arrived.get(name, float("inf")) for name in waiting) - back_at,
                at_most=10 if rate > 1 else None,
            ),
            *figures_of(names_of(events), server, spool_dir, told),
        )


def restarted(report: Report, minutes: float) -> None:
    """Print what becomes of two runs, during both of which the server is away."""
    events = int(200 * minutes * 60 / 2)
    with serving() as server, spool() as spool_dir:
        server.down()
        first = App("steady", spool_dir, server.url, "--events", 10 * events)
        first.wait_until_said(events, minutes * 60)
        first.kill()
        said = [line for line in first.said if line.endswith("\n")]
        second = App(
            *("steady", spool_dir, server.url, "--name", "second"),
            *("--events", events, "--flush", 300),
        )
        second.wait_until_said(events, minutes * 60)
        server.up()
        back_at = time.monotonic()
        told = second.ended(300)
        report.row(
            f"away {minutes:g} minutes, a restart between",
            Figure("seconds to the last", time.monotonic() - back_at),
            *figures_of(
                names_of(said) | names_of(events, "second"), server, spool_dir, told
            ),
        )


def main() -> int:
    """Print a row an outage; 0 if each holds."""
    parser: argparse.ArgumentParser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, help="of the long outage; default 10")
    options = parser.parse_args()
    seconds = 20 if options.quick else 60
    minutes = options.minutes or (0.5 if options.quick else 10)
    rounds = 1 if options.quick else 3
    report = Report("2", as_json=options.json)
    report.run(
        {
            # The wait between attempts is drawn by lot: one round would tell little.
            **{f"200/s, {n}": lambda: away(report, 200, seconds) for n in range(rounds)},
            "at 1/s": lambda: away(report, 1, seconds),
            "restarted": lambda: restarted(report, minutes),
        },
        at_once=rounds + 2,
    )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
