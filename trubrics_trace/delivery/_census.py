"""What a spool holds, read from its files alone, whoever writes to it.

Nothing is locked for longer than a look, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from ._owner import is_owner_alive
from ._segment import count_unsettled, first_unsettled, read_progress


@dataclasses.dataclass(frozen=True, slots=True)
class Census:
    """What one destination's directory holds, counted record by record.

    What its segments store is `delivered + pending + rejected + dropped`.

    Attributes:
        label: The name of the destination's directory.
        pending: Records that wait.
        delivered: Records acknowledged, in segments that are still there.
        rejected: Records refused, in segments that are still there.
        set_aside: Records in `rejected.jsonl`, whenever they were refused.
        dropped: Records let go, in segments that are still there.
        bytes_on_disk: What its files take.
        processes: Processes that hold a part of it now.
        oldest_pending: When the oldest record that waits began, ISO 8601; None if none.
    """

    label: str
    pending: int = 0
    delivered: int = 0
    rejected: int = 0
    set_aside: int = 0
    dropped: int = 0
    bytes_on_disk: int = 0
    processes: int = 0
    oldest_pending: str | None = None


def take_census(root: Path) -> list[Census]:
    """Return one look at each destination below a root, by label."""
    if not root.is_dir():
        return []
    return [_look_at(place) for place in sorted(root.iterdir()) if place.is_dir()]


def _look_at(directory: Path) -> Census:
    pending = delivered = rejected = dropped = size = 0
    oldest: list[str] = []
    for path in sorted(directory.glob("*.jsonl")):
        if path.name == "rejected.jsonl":
            continue
        with contextlib.suppress(FileNotFoundError):  # delivered, and gone meanwhile
            progress = read_progress(path)
            delivered += progress.delivered
            rejected += progress.rejected
            dropped += progress.dropped
            pending += count_unsettled(path)
            size += path.stat().st_size
            oldest.extend(_started_at(first_unsettled(path)))
    return Census(
        label=directory.name,
        pending=pending,
        delivered=delivered,
        rejected=rejected,
        set_aside=_count_lines(directory / "rejected.jsonl"),
        dropped=dropped,
        bytes_on_disk=size,
        processes=sum(is_owner_alive(path) for path in directory.glob("*.lock")),
        oldest_pending=min(oldest, default=None),
    )


def _started_at(line: bytes | None) -> list[str]:
    try:
        return [str(json.loads(line)["started_at"])] if line else []
    except (ValueError, KeyError, TypeError):
        return []


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(65_536), b""))
    except OSError:
        return 0
