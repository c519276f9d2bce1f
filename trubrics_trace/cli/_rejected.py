"""Show what was set aside, put it back to be sent again, or let go of it.

A record is set aside where a server refuses it, with the reason, or where a line of the
spool is no record. `list` shows who and why, never what was said; `--json` shows all.
`resend` puts back what is a record; the app, or `trubrics-trace flush`, sends it again.

Examples:
  trubrics-trace rejected list
  trubrics-trace rejected resend --reason "HTTP 422"
  trubrics-trace rejected drop --id 1f0c9e0a-6d5e-4a53-8b0e-2f1d3c4b5a69
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._configuration import settings_from
from .._settings import Destination
from ..delivery._aside import Aside, read_aside, take_aside
from ..delivery._census import destinations_in
from ..delivery._delivery import limits_of
from ..delivery._shares import Shares
from ._status import spool_root_of, table
from ._terminal import painted, say, say_json

SUMMARY = "show, resend or drop what was set aside"
EXIT_CODES = {0: "done"}

_COLUMNS = ("destination", "record", "kind", "user", "at", "reason")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("action", choices=["list", "resend", "drop"])
    parser.add_argument("--id", metavar="RECORD_ID", help="only this record")
    parser.add_argument("--reason", metavar="TEXT", help="only reasons that begin so")
    parser.add_argument("--destination", metavar="LABEL", help="only of this destination")


def run(options: argparse.Namespace) -> int:
    """Do what was asked with each line that was meant, and print it."""
    root = spool_root_of(options)
    places = [
        place
        for place in destinations_in(root)
        if options.destination in (None, place.name)
    ]
    if options.action == "list":
        return _list(options, places)
    done = {place.name: _take(options, place) for place in places}
    if options.json:
        say_json({options.action: done})
    else:
        verb = "put back" if options.action == "resend" else "dropped"
        say(f"{verb} {sum(done.values()):,}")
    return 0


def _list(options: argparse.Namespace, places: list[Path]) -> int:
    found = [
        (place.name, aside)
        for place in places
        for aside in read_aside(place)
        if _is_meant(options, aside)
    ]
    if options.json:
        said = [_as_json(label, aside) for label, aside in found]
        say_json({"rejected": said})
    elif found:
        rows = [_cells(label, aside) for label, aside in found]
        head, *lines = table([_COLUMNS, *rows])
        say("\n".join([painted(head, "bold"), *lines]))
    else:
        say("nothing is set aside")
    return 0


def _take(options: argparse.Namespace, place: Path) -> int:
    """Put back, or drop, what was meant in one directory; how many that were."""
    # Not a spool, which would take to memory what the disk refuses: that ends with us.
    shares = Shares(place, limits_of(Destination("ingestion"), settings_from({})), _ignore)
    taken = 0

    def take(aside: Aside) -> bool:
        nonlocal taken
        is_resent = options.action == "resend"
        if not _is_meant(options, aside) or (is_resent and aside.record is None):
            return False
        if is_resent:
            shares.append(aside.line)
        taken += 1
        return True

    try:
        take_aside(place, take)
    finally:
        shares.close()
    return taken


def _ignore(reason: str, count: int) -> None:
    """Say nothing of what a cap let go of: the directory remembers it."""


def _is_meant(options: argparse.Namespace, aside: Aside) -> bool:
    record_id = (aside.record or {}).get("record_id")
    return options.id in (None, record_id) and aside.reason.startswith(options.reason or "")


def _as_json(label: str, aside: Aside) -> dict[str, Any]:
    return {
        "destination": label,
        "reason": aside.reason,
        "at": aside.at,
        "record": aside.record,
        "line": None if aside.record else aside.line.decode(errors="replace"),
    }


def _cells(label: str, aside: Aside) -> tuple[str, ...]:
    record = aside.record or {}
    said = (record.get(name) or "-" for name in ("record_id", "kind", "user_id"))
    return (label, *map(str, said), aside.at, aside.reason)
