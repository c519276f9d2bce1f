"""A server that is well is given every event once, over one connection.

    python -m benchmarks.faults.healthy

Line 1: 2,000 events at 200/s, and as many calls of a fake model: 0 lost, 0 duplicates,
0 empty requests, at most 1 connection.
"""

from __future__ import annotations

import sys

from .app import App, spool
from .outcome import figures_of, names_of
from .report import Figure, Report, arguments
from .server import serving


def main() -> int:
    """Print a row for events and one for a model; 0 if both hold."""
    options = arguments(__doc__).parse_args()
    report = Report("1", as_json=options.json)
    events = 400 if options.quick else 2000
    for kind in ("events", "model calls"):
        with serving() as server, spool() as spool_dir:
            app = App(
                *("steady", spool_dir, server.url, "--events", events, "--flush", 60),
                *(["--model"] if kind == "model calls" else []),
            )
            told = app.ended(events / 200 + 60)
            seen = server.seen()
            report.row(
                f"{events:,} {kind} at 200/s",
                *figures_of(names_of(events), server, spool_dir, told),
                Figure("connections", seen.most_connections, at_most=1),
                Figure("requests", len(seen.requests)),
            )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
