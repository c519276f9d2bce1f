"""No child hangs that is forked while other threads record and log.

    python -m benchmarks.faults.forks

Line 11: 1,000 forks under 8 busy threads with debug logging; each child records one event
and ends, every second one at once: none hangs, and every event of parent and children is
there after run 2. A child that ends at once while its event is on its way may double that
one; no other is doubled. A tenth of it is done again with the server down, where each child
that ends as a program ends may wait its second.
"""

from __future__ import annotations

import functools
import sys

from .app import App, spool
from .outcome import figures_of, names_of, run_again
from .report import Figure, Report, arguments
from .server import Seen, serving


def forking(report: Report, forks: int, *, is_up: bool) -> None:
    """Print how many children hung, and what became of all that was recorded."""
    with serving() as server, spool() as spool_dir:
        if not is_up:
            server.down()
        app = App("forking", spool_dir, server.url, forks)
        told = app.ended(600)
        server.be_well()
        again = run_again(spool_dir, server.url, 120)
        busy = (
            f"{thread}.{number}"
            for thread, events in enumerate(told["threads"])
            for number in range(events)
        )
        report.row(
            f"{forks:,} forks, server {'up' if is_up else 'down'}",
            Figure("hung", told["hung"], at_most=0),
            Figure("failed", told["failed"], at_most=0),
            Figure("longest seconds", told["longest"]),
            Figure("of threads", sum(told["threads"])),
            *figures_of(
                names_of(forks, "child") | names_of(busy, "thread"),
                *(server, spool_dir, told, again),
                duplicates=forks // 2 if is_up else 0,
            ),
            Figure("doubled of threads", doubled_of_threads(server.seen()), at_most=0),
        )


def doubled_of_threads(seen: Seen) -> int:
    """Return how many events of the parent's came more than once."""
    return sum(
        times - 1 for (name, _), times in seen.events.items() if name.startswith("thread")
    )


def main() -> int:
    """Print a row for each state of the server; 0 if both hold."""
    options = arguments(__doc__).parse_args()
    report = Report("11", as_json=options.json)
    forks = 100 if options.quick else 1000
    report.run(
        {
            "up": functools.partial(forking, report, forks, is_up=True),
            "down": functools.partial(forking, report, forks // 10, is_up=False),
        },
        at_once=1,
    )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
