"""What a spool holds, read from its files alone, whoever writes to it.

Nothing is locked for longer than a look, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _files
from ._aside import read_aside
from ._erased import BLANK, has_erased, is_blank
from ._owner import what_it_says
from ._progress import Progress, read_progress
from ._segment import began_at, count_lines, lines_of
from ._totals import Totals, read_totals

_READ_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What became of all that one destination's directory ever held.

    Attributes:
        label: The name of the destination's directory.
        stored: Records that were ever written here.
        delivered: Those that a server acknowledged.
        pending: Those that wait.
        rejected: Those that were set aside, by reason: refused, or corrupt.
        dropped: Those that a cap let go of, by reason.
        set_aside: Lines that stand in `rejected.jsonl` now.
        bytes_on_disk: What the files take.
        oldest_pending: When the oldest record that waits began, ISO 8601; None if none.
        processes: What each process says that holds a part of it now: `pid`, `retries`,
            `last_error`, `skipped`.
    """

    label: str
    stored: int = 0
    delivered: int = 0
    pending: int = 0
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    set_aside: int = 0
    bytes_on_disk: int = 0
    oldest_pending: str | None = None
    processes: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_balanced(self) -> bool:
        """Whether nothing has vanished: the law of conservation, from files."""
        gone = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.stored == self.delivered + self.pending + gone


def take_census(root: Path) -> list[Census]:
    """Return one look at each destination below a root, by label."""
    return [_look_at(place) for place in destinations_in(root)]


def destinations_in(root: Path) -> list[Path]:
    """Return the directory of each destination below a root, by label."""
    try:
        return sorted(place for place in root.iterdir() if place.is_dir())
    except OSError:
        return []


class Counted:
    """Counts what waits, and reads no file again that has not changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], int]] = {}

    def pending(self, directory: Path) -> int:
        """Return how many records wait in one destination's directory."""
        pending, may_be_blank = 0, has_erased(directory)
        for path in _segments_in(directory):
            with contextlib.suppress(OSError):  # delivered, and gone meanwhile
                note = path.with_suffix(".ack")
                sizes = path.stat().st_size, note.stat().st_size if note.exists() else 0
                if self._known.get(path, (None, 0))[0] != sizes:
                    self._known[path] = (
                        sizes,
                        _Look(path, may_be_blank=may_be_blank).pending,
                    )
                pending += self._known[path][1]
        return pending


class _Look:
    """One look at one segment."""

    def __init__(self, path: Path, *, may_be_blank: bool) -> None:
        progress, note_bytes = read_progress(path)
        with _files.opened(path, os.O_RDONLY) as file:
            end = os.fstat(file).st_size
            stored, _ = count_lines(file, 0, end)
            ahead = stored
            if progress.offset:
                ahead, _ = count_lines(file, progress.offset, end)
            lines = lines_of(file, progress.offset, end)
            waits = (line for at, line in lines if not progress.has(at))
            oldest = next((line for line in waits if not is_blank(line)), None)
            blank = _count_blank(file, progress, end) if may_be_blank else 0
        self.bytes = end + note_bytes
        self.pending = ahead - progress.beyond - blank
        self.totals = Totals(
            stored,
            progress.delivered,
            progress.rejected,
            progress.dropped + Counter(erased=blank),
        )
        self.oldest = began_at(oldest) if oldest else None


def _look_at(directory: Path) -> Census:
    looks: dict[str, _Look] = {}
    may_be_blank = has_erased(directory)
    for path in _segments_in(directory):
        with contextlib.suppress(FileNotFoundError):  # delivered, and gone meanwhile
            looks[path.name] = _Look(path, may_be_blank=may_be_blank)
    totals = read_totals(directory)  # last: what is deleted now, it knows
    for name in totals.segments & looks.keys():
        del looks[name]
    pending = sum(look.pending for look in looks.values())
    for look in looks.values():
        totals.add(look.totals)
    said = filter(None, map(what_it_says, sorted(directory.glob("*.lock"))))
    return Census(
        label=directory.name,
        stored=totals.stored,
        delivered=totals.delivered,
        pending=pending,
        rejected=dict(totals.rejected),
        dropped=dict(totals.dropped),
        set_aside=len(read_aside(directory)),
        bytes_on_disk=sum(look.bytes for look in looks.values()),
        oldest_pending=min(
            (look.oldest for look in looks.values() if look.oldest), default=None
        ),
        processes=tuple({one["pid"]: one for one in said if "pid" in one}.values()),
    )


def _count_blank(file: int, progress: Progress, end: int) -> int:
    """Count what was erased while it waited; its owner is yet to come to it."""
    if not progress.beyond:  # as mostly, and to look at each line is slow
        return _count_blank_starts(file, progress.offset, end)
    lines = lines_of(file, progress.offset, end)
    return sum(is_blank(line) and not progress.has(at) for at, line in lines)


def _count_blank_starts(file: int, start: int, end: int) -> int:
    count, before = 0, b"\n"
    os.lseek(file, start, os.SEEK_SET)
    while start < end and (chunk := os.read(file, min(_READ_BYTES, end - start))):
        count += (before + chunk).count(b"\n" + BLANK)
        before = chunk[-1:]
        start += len(chunk)
    return count


def _segments_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.*.jsonl"))
