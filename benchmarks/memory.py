"""What recording takes of memory: by record that waits, and over a hundred thousand calls.

    python -m benchmarks.memory [--quick]

RSS is what the system says the process has. A million records that wait on disk, their
server being down, are to cost at most 50 MB; between 10,000 and 100,000 calls, delivered
as they come, it is to stay where it is, within a few MB that an allocator keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.faults.app import App, spool
from benchmarks.faults.apps.million import resident_bytes
from benchmarks.faults.report import Figure, Report, arguments
from benchmarks.faults.server import serving
from benchmarks.results import keep
from benchmarks.ways import recording

MB = 1_000_000
MOST_GROWN_MB = 50.0
MOST_OVER_CALLS_MB = 5.0
SPOOL_BYTES = 4 * 2**30  # nothing is dropped
STAGE = "and delivery"


def of_pending(report: Report, records: int) -> list[float]:
    """Print, and return, what records cost that wait: MB of RSS, and bytes of each."""
    with serving() as server, spool() as spool_dir:
        server.down()
        cap = {"TRUBRICS_TRACE_SPOOL_MAX_BYTES": str(SPOOL_BYTES)}
        told = App("million", spool_dir, server.url, records, **cap).ended(1800)
    grown = told["grown_mib"] * 2**20
    figures = [round(grown / MB, 1), round(grown / told["pending"], 1)]
    report.row(
        f"{records:,} records wait",
        Figure("MB", figures[0], at_most=MOST_GROWN_MB),
        Figure("bytes of each", figures[1]),
        Figure("dropped", told["dropped"], at_most=0),
        Figure("of each on disk", round(told["bytes_on_disk"] / told["pending"])),
    )
    return figures


def over_calls(report: Report, few: int, many: int) -> list[float]:
    """Print, and return, the MB of RSS after few calls and after many."""
    with serving() as server:
        command = [sys.executable, "-m", __spec__.name, "--only", server.url]
        words = [*command, str(few), str(many)]
        printed = subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout
        told = json.loads(printed.splitlines()[-1])
    figures = [round(one / MB, 1) for one in told]
    report.row(
        f"{few:,} and {many:,} calls",
        Figure("MB", figures[0]),
        Figure("then", figures[1]),
        Figure("grown", round(figures[1] - figures[0], 1), at_most=MOST_OVER_CALLS_MB),
    )
    return figures


def print_resident(url: str, few: int, many: int) -> None:
    """Print the memory of this process after few calls and after many, all delivered."""
    found = []
    with recording(STAGE, url) as way:
        for number in range(1, many + 1):
            way.ask("alice")
            if number in (few, many):
                way.finish()
                found.append(resident_bytes())
    print(json.dumps(found))


def main() -> int:
    """Print a row a measurement; 0 if both are within their bounds."""
    if "--only" in sys.argv:
        print_resident(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return 0
    options = arguments(__doc__).parse_args()
    report = Report("", as_json=options.json)
    share = 10 if options.quick else 1
    records, few, many = 1_000_000 // share, 10_000 // share, 100_000 // share
    pending = of_pending(report, records)
    calls = over_calls(report, few, many)
    if not options.quick:
        keep(
            "memory",
            {
                f"MB of RSS, for {records:,} records that wait": pending[:1],
                "bytes of RSS, for each of them": pending[1:],
                f"MB of RSS after {few:,} calls": calls[:1],
                f"MB of RSS after {many:,} calls": calls[1:],
            },
        )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
