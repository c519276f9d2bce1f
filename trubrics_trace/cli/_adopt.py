"""Take over what dead processes left, for living ones or `flush` to find.

Without a directory, what lies in the spool is looked after: lines that a killed process
tore are cut off, and what is too old is let go of. With one, what dead processes left in
that spool, a container's volume say, is moved into this one. What a running app holds is
left to that app.

Examples:
  trubrics-trace adopt
  trubrics-trace adopt /var/lib/old-volume/trubrics-trace
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from .._configuration import settings_from
from .._settings import LOCAL, Destination
from ..delivery._census import destinations_in
from ..delivery._delivery import limits_of
from ..delivery._owner import move, recover
from ..delivery._shares import MOST_SHARES, each_orphan, take_over
from ..delivery._spool import Spool
from ..errors import SpoolError
from ._status import announced_spool
from ._terminal import say, say_json

SUMMARY = "take over what dead processes left"
EXIT_CODES = {0: "done", 1: "something could not be moved"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "source", nargs="?", type=Path, metavar="DIR", help="another spool's directory"
    )


def run(options: argparse.Namespace) -> int:
    """Adopt, and print how many records that were, by destination."""
    root = announced_spool(options)
    source: Path = options.source or root
    if options.source and not source.is_dir():
        message = f"there is no spool at {source}"
        raise SpoolError(message)
    is_whole, adopted = True, dict[str, int]()
    for place in destinations_in(source):
        if source.resolve() != root.resolve():
            is_whole &= _move_all(place, root / place.name)
        adopted[place.name] = _look_after(root / place.name)
    if options.json:
        said = {"spool_dir": str(root), "from": str(source), "adopted": adopted}
        say_json(said)
    else:
        lines = [f"{count:,} of {label} wait" for label, count in adopted.items()]
        say("\n".join(lines or ["nothing was left"]))
    return 0 if is_whole else 1


def _move_all(source: Path, target: Path) -> bool:
    """Move what dead processes left to another directory; whether all went."""
    while taken := take_over(source, (), MOST_SHARES):
        for owned, _ in taken:
            try:
                move(owned, target)
            except OSError:
                return False
    return True


def _look_after(place: Path) -> int:
    """Recover what dead processes left; how many records of it wait."""
    destination = LOCAL if place.name == LOCAL.label else Destination("ingestion")
    Spool(place, limits_of(destination, settings_from({}))).tidy()
    waiting = 0
    for owned in each_orphan(place, ()):
        with contextlib.suppress(OSError):  # it cannot be read
            waiting += recover(owned)
    return waiting
