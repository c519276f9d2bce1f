"""A refused key keeps everything; a refused event is refused alone.

    python -m benchmarks.faults.refused

Line 6: 401 and 403: nothing lost, at most one request a minute, all delivered by the same
process once the key is accepted. Line 7: 422 for one poisoned event in a batch of 100:
exactly that one is rejected, with at most 8 extra requests where the answer does not name
it; 413: nobody innocent is lost.
"""

from __future__ import annotations

import itertools
import sys
import time

from .app import App, spool
from .outcome import figures_of, names_of
from .report import Figure, Report, arguments
from .server import serving

_MINUTE = 60.0


def refused_key(report: Report, status: int, events: int, seconds: float) -> None:
    """Print what becomes of an app whose key is refused for so long."""
    with serving() as server, spool() as spool_dir:
        server.answer(status)
        app = App("steady", spool_dir, server.url, "--events", events, "--flush", 600)
        app.wait_until_said(1, 60)
        time.sleep(seconds)
        refused = [one.at for one in server.seen().requests]
        server.be_well()
        back_at = time.monotonic()
        told = app.ended(600)
        gaps = [later - sooner for sooner, later in itertools.pairwise(refused)]
        said = [line for line in app.errors if str(status) in line]
        report.row(
            f"{status} for {seconds:g} s",
            *figures_of(names_of(events), server, spool_dir, told),
            Figure("requests", len(refused), at_most=seconds // _MINUTE + 1),
            Figure("least seconds between", min(gaps, default=_MINUTE), at_least=59),
            Figure("seconds to the last", time.monotonic() - back_at),
            Figure("lines said", len(said), at_least=1, at_most=1),
        )


def poisoned_batch(report: Report, *, is_named: bool, at: int) -> None:
    """Print who is rejected of a batch of 100, one of which is poisoned."""
    with serving() as server, spool() as spool_dir:
        server.down()
        app = App(
            *("steady", spool_dir, server.url, "--events", 100, "--rate", 0),
            *("--poisoned", at, "--flush", 60),
        )
        app.wait_until_said(100, 60)
        server.poison("poisoned", is_named=is_named)
        server.up()
        told = app.ended(120)
        named = "named" if is_named else "unnamed"
        report.row(
            f"422 for number {at} of 100, {named}",
            *figures_of(names_of(100) - {f"event {at}"}, server, spool_dir, told),
            Figure("rejected", told["rejected"], at_least=1, at_most=1),
            Figure(
                "extra requests",
                len(server.seen().requests) - 1,
                at_most=1 if is_named else 8,
            ),
        )


def poisoned_stream(report: Report, events: int) -> None:
    """Print who is rejected of events at 200/s, one of which is poisoned."""
    with serving() as server, spool() as spool_dir:
        server.poison("poisoned", is_named=False)
        at = events // 2
        app = App(
            *("steady", spool_dir, server.url, "--events", events),
            *("--poisoned", at, "--flush", 60),
        )
        told = app.ended(120)
        report.row(
            f"422 for one of {events:,} at 200/s",
            *figures_of(names_of(events) - {f"event {at}"}, server, spool_dir, told),
            Figure("rejected", told["rejected"], at_least=1, at_most=1),
        )


def too_large(report: Report, events: int) -> None:
    """Print who is rejected where a batch is too long, and one event by itself."""
    with serving() as server, spool() as spool_dir:
        server.limit(50_000)
        at = events // 2
        app = App(
            *("steady", spool_dir, server.url, "--events", events, "--texts", 1),
            *("--large", at, "--flush", 60),
        )
        told = app.ended(120)
        refused = sum(one.status == 413 for one in server.seen().requests)
        report.row(
            f"413 above 50,000 bytes, {events:,} events",
            *figures_of(names_of(events) - {f"event {at}"}, server, spool_dir, told),
            Figure("rejected", told["rejected"], at_least=1, at_most=1),
            Figure("requests refused", refused),
        )


def main() -> int:
    """Print a row a refusal; 0 if each holds."""
    options = arguments(__doc__).parse_args()
    events, seconds = (400, 65) if options.quick else (2000, 130)
    key = Report("6", as_json=options.json)
    event = Report("7", as_json=options.json)
    key.run(
        {
            "401": lambda: refused_key(key, 401, events, seconds),
            "403": lambda: refused_key(key, 403, events, seconds),
            "422 named": lambda: poisoned_batch(event, is_named=True, at=37),
            "422 first": lambda: poisoned_batch(event, is_named=False, at=0),
            "422 middle": lambda: poisoned_batch(event, is_named=False, at=37),
            "422 last": lambda: poisoned_batch(event, is_named=False, at=99),
            "422 in a stream": lambda: poisoned_stream(event, events),
            "413": lambda: too_large(event, events),
        },
        at_once=4,
    )
    return max(key.exit_code, event.exit_code)


if __name__ == "__main__":
    sys.exit(main())
