"""Forget a user: what is kept of them is made blank, and never sent.

Of every destination, what began before now: records that wait, which are counted as
dropped (`erased`), those that were delivered and are kept, and those that were set aside.
Each app that runs obeys from its next batch on, also with what it has in memory. What is
recorded later is kept as ever. The id is the one that records have, after `before_send`.

What was delivered is Trubrics' to erase, and what the app's own logs hold is the app's.

Examples:
  trubrics-trace erase --user alice --dry-run
  trubrics-trace erase --user alice
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping

from ..delivery._census import destinations_in
from ..delivery._erased import Erasure, erase
from ._status import announced_spool
from ._terminal import say, say_json

SUMMARY = "forget a user, as far as the spool goes"
EXIT_CODES = {0: "erased, be it nothing"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add whom."""
    parser.add_argument("--user", required=True, metavar="ID", help="whom to forget")
    parser.add_argument(
        "--dry-run", action="store_true", help="only count what would be erased"
    )


def run(options: argparse.Namespace) -> int:
    """Erase the user everywhere, and print how many records that were."""
    found = {
        place.name: erase(place, options.user, is_trial=options.dry_run)
        for place in destinations_in(announced_spool(options))
    }
    if options.json:
        erased = {label: dataclasses.asdict(one) for label, one in found.items()}
        said = {"user": options.user, "is_dry_run": options.dry_run, "erased": erased}
        say_json(said)
    else:
        verb = "would be erased" if options.dry_run else "erased"
        say("\n".join(_lines(found, verb)))
    return 0


def _lines(found: Mapping[str, Erasure], verb: str) -> Iterator[str]:
    for label, one in found.items():
        yield (
            f"{label}: {verb}: {one.waiting:,} that waited, {one.settled:,} that were "
            f"kept, {one.set_aside:,} that were set aside"
        )
    yield (
        "what was delivered is Trubrics' to erase: ask there for it; what the app's logs "
        "hold is the app's"
    )
