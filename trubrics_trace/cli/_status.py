"""Show the spool, by destination: what became of all that was stored.

Reads the files alone and changes nothing; an app may be writing meanwhile. A record that
an app without credentials made is under `local`. Of each destination,
stored = delivered + pending + rejected + dropped.

Example:
  trubrics-trace status --json
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .._configuration import settings_from
from .._settings import LOCAL
from ..delivery._census import Census, take_census
from ..delivery._directory import existing_root
from ._terminal import painted, say, say_json

SUMMARY = "show what waits in the spool"
EXIT_CODES = {0: "shown"}

_COLUMNS = (
    "destination",
    "stored",
    "delivered",
    "pending",
    "rejected",
    "dropped",
    "processes",
    "bytes",
    "oldest pending",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes: nothing."""


def run(options: argparse.Namespace) -> int:
    """Print the census of the spool."""
    root = announced_spool(options)
    rows = take_census(root)
    if options.json:
        said = {"spool_dir": str(root), "destinations": [_as_json(row) for row in rows]}
        say_json(said)
    else:
        say("\n".join(_lines(rows)))
    return 0


def spool_root_of(options: argparse.Namespace) -> Path:
    """Return the spool asked about: the ladder's first place that exists."""
    arguments = {"spool_dir": options.spool_dir} if options.spool_dir else {}
    return existing_root(settings_from(arguments).spool_dir)


def announced_spool(options: argparse.Namespace) -> Path:
    """Return it likewise, and say so first: to read all of it may take long."""
    root = spool_root_of(options)
    if not options.json:
        say(f"spool: {root}", now=True)
    return root


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each row, its cells below each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for cells in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        yield "  ".join(padded).rstrip()


def _as_json(row: Census) -> dict[str, Any]:
    said = dataclasses.asdict(row)
    return {**said, "is_balanced": row.is_balanced, "is_stranded": _is_stranded(row)}


def _is_stranded(row: Census) -> bool:
    """Whether it waits for a destination that is not configured here."""
    ours = (settings_from({}).destination.label, LOCAL.label)
    return bool(row.pending) and row.label not in ours


def _lines(rows: list[Census]) -> Iterator[str]:
    if not rows:
        yield "nothing has been recorded here"
        return
    head, *lines = table([_COLUMNS, *map(_cells, rows)])
    yield painted(head, "bold")
    yield from lines
    for row in rows:
        for name in ("rejected", "dropped"):
            for reason, count in getattr(row, name).items():
                yield f"{row.label}: {count:,} {name}: {reason}"
        for process in row.processes:
            if process.get("last_error"):
                yield f"{row.label}: process {process['pid']}: {process['last_error']}"
        if _is_stranded(row):
            said = (
                f"{row.label}: not configured here; send what waits with "
                f"`trubrics-trace flush --destination {row.label}`"
            )
            yield painted(said, "yellow")


def _cells(row: Census) -> tuple[str, ...]:
    return (
        row.label,
        f"{row.stored:,}",
        f"{row.delivered:,}",
        f"{row.pending:,}",
        f"{sum(row.rejected.values()):,}",
        f"{sum(row.dropped.values()):,}",
        f"{len(row.processes):,}",
        f"{row.bytes_on_disk:,}",
        row.oldest_pending or "-",
    )
