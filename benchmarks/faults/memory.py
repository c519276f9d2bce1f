"""A million events with the server down: memory stays, the oldest go, and that is told.

    python -m benchmarks.faults.memory

Line 13: the process grows by at most 50 MB; what the cap drops is the oldest, counted,
said at most once a minute; what is left is delivered by run 2.
"""

from __future__ import annotations

import re
import sys

from .app import App, spool
from .law import unbalanced
from .outcome import ours_of, run_again
from .report import Figure, Report, arguments
from .server import serving

_MIB = 1024 * 1024
_MOST_GROWN_MIB = 50e6 / _MIB


def recording(report: Report, events: int, max_mib: int) -> None:
    """Print what becomes of a process and its records, and of what it says."""
    with serving() as server, spool() as spool_dir:
        server.down()
        cap = {"TRUBRICS_TRACE_SPOOL_MAX_BYTES": str(max_mib * _MIB)}
        app = App("million", spool_dir, server.url, events, **cap)
        told = app.ended(1800)
        # Of the same thing: that records go, and not that the server is away.
        about = [line for line in told["lines"] if re.search("drop|oldest|full", line)]
        report.row(
            f"{events:,} recorded, {max_mib} MiB of spool",
            Figure("grown MiB", told["grown_mib"], at_most=_MOST_GROWN_MIB),
            Figure("dropped", told["dropped"], at_least=1),
            Figure("MiB on disk", told["bytes_on_disk"] / _MIB, at_most=max_mib),
            Figure("minutes", told["minutes"]),
            Figure("lines about it", len(about), 1 + told["minutes"] // 1, at_least=1),
            Figure("lines at all", len(told["lines"])),
            Figure("law broken", unbalanced(spool_dir, told), at_most=0),
        )
        server.be_well()
        again = run_again(spool_dir, server.url, 900)
        left = {int(name.split()[1]) for name in ours_of(server.seen())}
        report.row(
            "what is left, delivered by run 2",
            Figure("delivered", len(left), at_least=1),
            Figure("unaccounted", events - told["dropped"] - len(left), 0, 0),
            Figure("not of the newest", len(left - set(range(told["dropped"], events))), 0),
            Figure("duplicates", server.seen().duplicates, at_most=0),
            Figure("law broken", unbalanced(spool_dir, again), at_most=0),
        )


def main() -> int:
    """Print a row for the recording and one for what is left; 0 if both hold."""
    options = arguments(__doc__).parse_args()
    report = Report("13", as_json=options.json)
    if options.quick:
        recording(report, 100_000, 16)
    else:
        recording(report, 1_000_000, 256)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
