"""Show the latest records, and with --follow each that is written.

One line a record, for people; `--json` prints each as a line of JSON, with all it holds.
Reads what waits and what was delivered and is kept; an app may be writing meanwhile, and
is not disturbed. What an app delivers and lets go of at once, as it does unless
`keep_delivered` is set, is seen if it is still there when it is looked for.

Examples:
  trubrics-trace tail
  trubrics-trace tail --user alice --follow
  trubrics-trace tail -n 100 --status error --since 1h --json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from typing import Any

from ..delivery._reader import Kept
from ._status import spool_root_of
from ._terminal import Colour, painted, say
from ._wanted import Wanted, add_wishes

SUMMARY = "show the latest records, and follow"
EXIT_CODES = {0: "shown, be it nothing", 130: "stopped with Ctrl-C, as --follow is"}

_LOOK_EVERY_SECONDS = 0.1

_COLOURS: dict[Any, Colour] = {"error": "red", "stopped": "yellow", "cancelled": "yellow"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how many, whether to follow, and which."""
    parser.add_argument(
        "-n",
        dest="count",
        type=_count,
        default=10,
        metavar="N",
        help="how many of the latest to show (default: 10)",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C"
    )
    add_wishes(parser)


def run(options: argparse.Namespace) -> int:
    """Print the latest, then what comes."""
    wanted = Wanted.of(options)
    reader = wanted.reader(spool_root_of(options))
    _show(reader.latest(options.count, wanted.has), options)
    while options.follow:
        _show(filter(wanted.has, reader.news()), options)
        time.sleep(_LOOK_EVERY_SECONDS)
    return 0


def _show(each: Iterable[Kept], options: argparse.Namespace) -> None:
    for kept in each:
        if options.json:
            say(kept.line.decode(errors="replace").rstrip("\n"))
        else:
            say(_line_of(kept))
    sys.stdout.flush()


def _line_of(kept: Kept) -> str:
    from ..pipeline._log import console_line  # of structlog, which programs do without

    record = kept.record
    if record is None:
        return f"a record of a newer version: {kept.values.get('kind')!r}"
    colour = _COLOURS.get(kept.values.get("status"))
    line = console_line(record)
    return painted(line, colour) if colour else line


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError
    return count
