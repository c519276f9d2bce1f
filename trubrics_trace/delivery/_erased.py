"""Users that were erased: what is kept of them is blank, for all.

`erased.log` holds a tombstone for each: a fingerprint of the user's id, which says nothing
to who does not know it, and the moment. What began before is of nobody's business any more;
what begins later is a new story.

Rule 1: the tombstone comes first. Whoever reads or sends obeys it from then on, also where
what it speaks of is in memory, or is written later.
Rule 2: a line is erased by spaces of its own length, so every other record stays where its
segment's note says it is, whoever holds the segment and writes to it.
Rule 3: a blank line that waited is dropped as `erased`, and counted so even before its
owner comes to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from .. import _clock
from .._record import Record, record_from_line
from . import _files
from ._aside import Aside, take_aside
from ._progress import read_progress
from ._segment import Entry, lines_of

_NAME = "erased.log"
BLANK = b" "  # what an erased line begins with; a record's begins with a brace


@dataclasses.dataclass(frozen=True, slots=True)
class Erasure:
    """What was found of one user in one destination's directory.

    Attributes:
        waiting: Records that waited, and are dropped.
        settled: Records that were settled, and kept to be read.
        set_aside: Lines of `rejected.jsonl`.
    """

    waiting: int = 0
    settled: int = 0
    set_aside: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Erased:
    """Who was erased from a directory, and when: seconds since the epoch."""

    moments: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def has(self, user_id: object, started_at: object) -> bool:
        """Whether a record of this user, that began then, is erased.

        One that does not say when it began is.
        """
        moment = self.moments.get(_fingerprint(user_id)) if self.moments else None
        if moment is None:
            return False
        try:
            return datetime.fromisoformat(str(started_at)).timestamp() <= moment
        except (ValueError, OverflowError, OSError):
            return True

    def takes(self, entry: Entry, record: Record | None) -> bool:
        """Whether an entry is erased; then nothing is left of its line on disk."""
        if is_blank(entry.line):
            return True
        if record is None or not self.has(record.user_id, record.started_at):
            return False
        if entry.segment is not None:
            with contextlib.suppress(OSError):  # it was deleted meanwhile
                _make_blank(entry.segment.path, [(entry.start, len(entry.line))])
        return True


def is_blank(line: bytes) -> bool:
    """Whether a line was erased, or is just being erased."""
    return line.startswith(BLANK)


def has_erased(directory: Path) -> bool:
    """Whether a directory has tombstones that could be read.

    Never raises: the app counts by it.
    """
    return os.path.isfile(directory / _NAME)  # noqa: PTH113 - the other raises


def read_erased(directory: Path | None) -> Erased:
    """Return who was erased from a directory.

    Raises:
        OSError: The tombstones are there and cannot be read; nothing may be sent, then.
    """
    moments: dict[str, float] = {}
    # A file may stand where the directory was: then nothing of it is there.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        content = (directory / _NAME).read_bytes() if directory else b""
        for line in content.split(b"\n"):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # torn
                said = json.loads(line)
                user, moment = str(said["user"]), float(said["erased_at"])
                moments[user] = max(moment, moments.get(user, moment))
    return Erased(moments)


def erase(directory: Path, user_id: str, *, is_trial: bool = False) -> Erasure:
    """Erase a user from a directory; a trial only counts.

    Raises:
        OSError: The disk refuses. Where the tombstone was written it is obeyed all the
            same, and what is left is made blank by another try.
    """
    moment = _clock.wall_seconds()
    erased = Erased({_fingerprint(user_id): moment})
    needle = json.dumps(user_id, ensure_ascii=False).encode(errors="replace")
    if not is_trial:
        said = {"user": _fingerprint(user_id), "erased_at": moment}
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        with _files.opened(directory / _NAME, flags) as file:
            content = json.dumps(said).encode() + b"\n"
            _files.append_whole(file, content, os.fstat(file).st_size)
            os.fsync(file)

    def is_theirs(line: bytes) -> bool:
        if is_blank(line):  # whoever made it blank may have been killed half-way
            return bool(line.strip())
        if needle not in line:
            return False
        record = record_from_line(line)  # of what is none, what names them is theirs
        return record is None or erased.has(record.user_id, record.started_at)

    def may_be_theirs(lines: bytes) -> bool:
        return needle in lines or is_blank(lines) or b"\n" + BLANK in lines

    waiting = settled = 0
    for path in sorted(directory.glob("*.*.jsonl")):
        with contextlib.suppress(FileNotFoundError):  # delivered, and gone meanwhile
            progress, _ = read_progress(path)
            with _files.opened(path, os.O_RDONLY) as file:
                end = os.fstat(file).st_size
                lines = lines_of(file, 0, end, may_be_theirs)
                found = [(at, len(line)) for at, line in lines if is_theirs(line)]
            if not is_trial:
                _make_blank(path, found)
            gone = sum(progress.has(at) for at, _ in found)
            waiting, settled = waiting + len(found) - gone, settled + gone
    set_aside = 0

    def take(aside: Aside) -> bool:
        nonlocal set_aside
        set_aside += is_theirs(aside.line)
        return is_theirs(aside.line) and not is_trial

    take_aside(directory, take)
    return Erasure(waiting, settled, set_aside)


def _make_blank(path: Path, lines: list[tuple[int, int]]) -> None:
    """Write spaces over lines: where each begins, and how long it is.

    Raises:
        OSError: The disk refuses.
    """
    if not lines:
        return
    written = path.stat()
    with _files.opened(path, os.O_WRONLY) as file:  # not appending: in their place
        for start, length in lines:
            os.lseek(file, start, os.SEEK_SET)
            os.write(file, BLANK * (length - 1))
        os.fsync(file)
    # A segment's age is that of its last record.
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))


def _fingerprint(user_id: object) -> str:
    return hashlib.sha256(str(user_id).encode(errors="replace")).hexdigest()
