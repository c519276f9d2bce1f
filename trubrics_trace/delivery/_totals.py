"""What became of records whose files are gone: a directory's memory.

`settled.log` holds a line for each segment that was deleted, in which
`stored == delivered + rejected + dropped`. A segment that its line names and that is still
there counts in the log alone: its process was killed before it could delete it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from . import _files

_NAME = "settled.log"
_COMPACT_AT_BYTES = 256 * 1024  # some two thousand segments


@dataclasses.dataclass(slots=True)
class Totals:
    """What became of records whose segments are counted no more."""

    stored: int = 0
    delivered: int = 0
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    segments: set[str] = dataclasses.field(default_factory=set)

    def add(self, other: Totals) -> None:
        """Take another's in, once for each segment."""
        if other.segments and other.segments <= self.segments:
            return
        self.stored += other.stored
        self.delivered += other.delivered
        self.rejected.update(other.rejected)
        self.dropped.update(other.dropped)
        self.segments |= other.segments

    def to_bytes(self) -> bytes:
        """Return these as a line of the log."""
        # Not `asdict`: before Python 3.12 it makes counts of a Counter's pairs.
        said = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        said["segments"] = sorted(self.segments)
        return json.dumps(said).encode() + b"\n"

    @classmethod
    def from_bytes(cls, line: bytes) -> Totals:
        """Return what a line says; torn or strange, it says nothing."""
        try:
            said: dict[str, Any] = json.loads(line)
            return cls(
                int(said["stored"]),
                int(said["delivered"]),
                Counter(said["rejected"]),
                Counter(said["dropped"]),
                set(said["segments"]),
            )
        except (ValueError, TypeError, KeyError):
            return cls()


def read_totals(directory: Path) -> Totals:
    """Return what became of all that the directory no longer holds.

    Raises:
        OSError: The log is there and cannot be read.
    """
    totals = Totals()
    try:
        content = (directory / _NAME).read_bytes()
    except FileNotFoundError:
        return totals
    for line in content.split(b"\n"):
        totals.add(Totals.from_bytes(line))
    return totals


def remember(directory: Path, gone: Totals) -> None:
    """Keep what became of a segment that is about to be deleted.

    Raises:
        OSError: The disk refuses.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    with _files.opened(directory / _NAME, flags) as file:
        # Whoever compacts has it for a moment. Not waited for: each line is balanced in
        # itself, so the law holds also without one.
        _files.is_locked_by_us(file, directory / _NAME)
        _files.append_whole(file, gone.to_bytes(), os.fstat(file).st_size)


def compact(directory: Path) -> None:
    """Make one line of many where the log has grown long.

    Raises:
        OSError: The disk refuses; the log is as it was.
    """
    path = directory / _NAME
    if not path.exists() or path.stat().st_size < _COMPACT_AT_BYTES:
        return
    with _files.opened(path, os.O_RDWR) as file:
        if not _files.is_locked_by_us(file, path):  # somebody else is at it
            return
        totals = read_totals(directory)
        totals.segments = {name for name in totals.segments if (directory / name).exists()}
        new = path.with_suffix(".new")
        with _files.opened(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fresh:
            _files.append_whole(fresh, totals.to_bytes(), 0)
        new.replace(path)
