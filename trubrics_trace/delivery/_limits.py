"""How much a spool's directory may hold, and for how long."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from ._segment import is_settled

_SEGMENT_BYTES = 8 * 1024 * 1024  # a full one is sealed, and deleted when settled
_LEAST_SEGMENTS = 4  # of a small cap: dropping the oldest must not drop them all


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a destination's directory may hold.

    Attributes:
        max_bytes: Of all its segments; beyond it the oldest are dropped.
        max_age: Seconds since the last record of a segment; beyond it that is dropped.
        keep_delivered: Seconds for which a delivered segment stays, to be read.
        segment_bytes: How long a segment may grow before another is begun.
    """

    max_bytes: int
    max_age: float = math.inf
    keep_delivered: float = 0.0
    segment_bytes: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        most = min(_SEGMENT_BYTES, self.max_bytes // _LEAST_SEGMENTS)
        object.__setattr__(self, "segment_bytes", most)

    @property
    def aside_bytes(self) -> int:
        """How long the file of what was set aside may grow."""
        return self.max_bytes // _LEAST_SEGMENTS


def bytes_of_segments(directory: Path) -> int:
    """Return what the segments in a directory take, whoever holds them.

    Raises:
        OSError: It cannot be read.
    """
    size = 0
    with os.scandir(directory) as files:
        for file in files:
            if file.name.endswith(".jsonl") and file.name != "rejected.jsonl":
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    size += file.stat().st_size
    return size


def kept_segments(directory: Path, let_go: Collection[str]) -> Iterator[Path]:
    """Yield the delivered segments that were kept to be read, oldest first.

    Those of a living owner, too, that has let go of them: `settled.log` has their names.
    """
    for note in sorted(directory.glob("*.ack")):
        path = note.with_suffix(".jsonl")
        lock_path = directory / f"{path.name.partition('.')[0]}.lock"
        with contextlib.suppress(OSError):
            is_free = path.name in let_go or not lock_path.exists()
            if is_free and is_settled(path):
                yield path


def expire_kept(directory: Path, let_go: Collection[str], oldest: float) -> None:
    """Delete kept segments that were delivered before a moment."""
    for path in kept_segments(directory, let_go):
        with contextlib.suppress(OSError):
            if path.with_suffix(".ack").stat().st_mtime < oldest:
                delete_kept(path)


def delete_kept(path: Path) -> int:
    """Delete a kept segment; how many bytes that frees."""
    size = 0
    with contextlib.suppress(OSError):  # another was faster
        size = path.stat().st_size
        path.unlink()
        path.with_suffix(".ack").unlink()
    return size
