"""What became of the events of one case: what every script looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .app import App
from .law import files_of, unbalanced
from .report import Figure
from .server import FaultServer, Seen

AGAIN = "again"  # what run 2 records itself, and nobody counts


def run_again(spool_dir: Path, host: str, timeout: float = 60.0) -> dict[str, Any]:
    """Run a second process with the same spool; return how its counts stand."""
    again = App(
        *("steady", spool_dir, host),
        *("--events", 1, "--name", AGAIN, "--flush", timeout),
    )
    return again.ended(timeout)


def names_of(events: int | Iterable[str], name: str = "event") -> set[str]:
    """Return what so many events are called, or those with these numbers."""
    numbers = map(str, range(events)) if isinstance(events, int) else events
    return {f"{name} {number.strip()}" for number in numbers}


def ours_of(seen: Seen) -> set[str]:
    """Return what was stored, without what run 2 recorded itself."""
    return {name for name in seen.names if not name.startswith(AGAIN)}


def figures_of(
    wanted: set[str],
    server: FaultServer,
    spool_dir: Path,
    *told: Mapping[str, Any],
    duplicates: int = 0,
    pending: int = 0,
) -> list[Figure]:
    """Return what was lost, doubled and left, and whether the law holds.

    Args:
        wanted: What the events are called that must have arrived.
        told: How the counts of each process stood at its end.
        duplicates, pending: How many there may be.
    """
    seen = server.seen()
    return [
        Figure("lost", len(wanted - seen.names), at_most=0),
        Figure("duplicates", seen.duplicates, at_most=duplicates),
        Figure("renamed", seen.renamed, at_most=0),
        Figure("empty", seen.empty_requests, at_most=0),
        Figure("left", files_of(spool_dir).pending, at_most=pending),
        Figure("law broken", unbalanced(spool_dir, *told), at_most=0),
    ]
