"""Both forms of the law of conservation: of a process, and of a directory's files."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .app import environment

_SUMMANDS = ("delivered", "pending", "rejected", "dropped")


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """What the command line reads from a spool's files, all destinations together."""

    stored: int | None
    delivered: int
    pending: int
    rejected: int
    dropped: int

    @property
    def is_balanced(self) -> bool:
        """Whether nothing has vanished; true where `stored` is not told."""
        settled = self.delivered + self.rejected + self.dropped
        return self.stored is None or self.stored == settled + self.pending


def files_of(spool_dir: Path) -> Files:
    """Return what `trubrics-trace status --json` says of a directory."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "trubrics_trace"),
            *("status", "--json", "--spool-dir", str(spool_dir)),
        ],
        env=environment(spool_dir, "http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(ended.stdout)["destinations"]
    sums = {name: sum(_count(row.get(name)) for row in rows) for name in _SUMMANDS}
    is_told = all("stored" in row for row in rows)
    return Files(
        stored=sum(_count(row["stored"]) for row in rows) if is_told else None, **sums
    )


def unbalanced(spool_dir: Path, *processes: Mapping[str, Any]) -> int:
    """Return how many of these processes' counts, and of the files', break the law."""
    broken = sum(not process.get("is_balanced", True) for process in processes)
    return broken + (not files_of(spool_dir).is_balanced)


def _count(told: Any) -> int:
    """Return a number, or the sum of what is told by reason."""
    return sum(told.values()) if isinstance(told, dict) else int(told or 0)
