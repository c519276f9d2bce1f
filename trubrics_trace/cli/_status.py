"""Show the spool, by destination: pending, rejected, and who holds it.

Reads the files alone and changes nothing; an app may be writing meanwhile. A record that
an app without credentials made is under `local`.

Example:
  trubrics-trace status --json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from .._configuration import settings_from
from ..delivery._census import Census, take_census
from ..delivery._directory import existing_root

NAME = "status"
SUMMARY = "show what waits in the spool"

_COLUMNS = ("destination", "pending", "rejected", "processes", "bytes", "oldest pending")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes: nothing."""


def run(options: argparse.Namespace) -> int:
    """Print the census of the spool."""
    root = spool_root_of(options)
    rows = take_census(root)
    if options.json:
        print(  # noqa: T201 - a command line
            json.dumps(
                {
                    "spool_dir": str(root),
                    "destinations": [dataclasses.asdict(row) for row in rows],
                }
            )
        )
    else:
        print("\n".join(_lines(root, rows)))  # noqa: T201 - a command line
    return 0


def spool_root_of(options: argparse.Namespace) -> Path:
    """Return the spool asked about: the ladder's first place that exists."""
    arguments = {"spool_dir": options.spool_dir} if options.spool_dir else {}
    return existing_root(settings_from(arguments).spool_dir)


def _lines(root: Path, rows: list[Census]) -> list[str]:
    lines = [f"spool: {root}"]
    if not rows:
        return [*lines, "nothing has been recorded here"]
    table = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for cells in table:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def _cells(row: Census) -> tuple[str, ...]:
    return (
        row.label,
        f"{row.pending:,}",
        f"{row.set_aside:,}",
        f"{row.processes:,}",
        f"{row.bytes_on_disk:,}",
        row.oldest_pending or "-",
    )
