"""One append-only file of records, and how far it has been settled."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from . import _files
from ._progress import DELIVERED, Progress, Run, read_progress

_READ_BYTES = 128 * 1024  # about one batch: what is read beyond it is read again


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One line of a record, and where it stands; without a segment, in memory."""

    segment: Segment | None
    start: int
    line: bytes


class Segment:
    """A file of records that one process appends to, or has taken over.

    Not thread-safe: the spool that holds it has the lock.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.progress, self._noted_bytes = read_progress(path)
        flags = os.O_RDWR | os.O_APPEND
        flags |= os.O_CREAT | os.O_EXCL if create else 0
        self._file = _files.open_private(path, flags)
        self._note_file = _files.CLOSED
        self._unsaved = b""  # notes that the disk refused
        size = 0 if create else os.fstat(self._file).st_size
        self._extent = size, 0  # bytes and lines, known together
        self._is_known = True  # false from before a write until it is noted
        self._synced_bytes = 0
        self._times: list[tuple[int, float]] = []  # the end of a line, and when it was put

    @property
    def size(self) -> int:
        """Its bytes, of whole lines."""
        return self._extent[0]

    @property
    def stored(self) -> int:
        """How many lines it holds; of one taken over, once `recover` has counted."""
        return self._extent[1]

    @property
    def is_settled(self) -> bool:
        """Whether nothing in it waits any more."""
        return self.progress.offset >= self.size

    @property
    def waiting(self) -> int:
        """How many of its records wait."""
        return max(0, self.stored - self.progress.settled)

    @property
    def is_open(self) -> bool:
        """Whether it can be read and settled here."""
        return self._file != _files.CLOSED

    @property
    def is_gone(self) -> bool:
        """Whether its name was deleted under us: with the process it will be lost."""
        return os.fstat(self._file).st_nlink == 0

    @property
    def written_at(self) -> float:
        """When it was last written to, in seconds since the epoch."""
        return os.fstat(self._file).st_mtime

    def append(self, line: bytes) -> None:
        """Write one line, with one call.

        Raises:
            OSError: The disk refused; nothing of the line is left behind.
        """
        extent, is_known, self._is_known = self._extent, self._is_known, False
        size, stored = extent
        longer = size + len(line), stored + 1
        _files.append_whole(self._file, line, size)
        # No signal handler comes between a look and what is set by it. One that did write,
        # or a write before that was never noted: then the file is looked at.
        if is_known and self._extent is extent:
            self._extent = longer
            self._is_known = True
            return
        with contextlib.suppress(OSError):  # closed meanwhile by a signal handler
            self.catch_up()

    def note_time(self, now: float) -> None:
        """Remember, to the second, when the line was put that was appended last."""
        if not self._times or now - self._times[-1][1] >= 1.0:
            self._times.append((self.size, now))

    def put_at(self, start: int) -> float | None:
        """Return when the line at an offset was put, if that was noted here."""
        known = [now for end, now in self._times if end > start] or [
            now for _, now in self._times[-1:]
        ]
        return known[0] if known else None

    def catch_up(self) -> None:
        """Take note of what is in the file: a write may have been interrupted.

        Raises:
            OSError: It cannot be read.
        """
        size, stored = self._extent
        end = os.fstat(self._file).st_size
        if end > size:
            self._extent = end, stored + count_lines(self._file, size, end)[0]
        self._is_known = True

    def unsettled(self) -> Iterator[Entry]:
        """Yield each whole line that is not settled, oldest first."""
        for start, line in lines_of(self._file, self.progress.offset, self.size):
            if not self.progress.has(start):
                yield Entry(self, start, line)

    def settle(self, entries: Iterable[Entry], how: str) -> int:
        """Note what became of entries of this segment, and keep that note.

        Returns:
            How many were still waiting here: what a cap has dropped may come back
            delivered, and a closed segment is for whoever opens it next to settle.
        """
        if not self.is_open:
            return 0
        runs = list(_runs_of(entries, self.progress, how))
        for run in runs:
            self.progress.note(run)
        with contextlib.suppress(OSError):  # a full disk: kept for the next note
            self._keep_note(b"".join(run.to_bytes() for run in runs))
        return sum(run.count for run in runs)

    def forget(self, entry: Entry) -> None:
        """Pass over an entry that stands elsewhere now; no note is kept of it."""
        end = entry.start + len(entry.line)
        self.progress.note(Run(entry.start, end, 1, DELIVERED))

    def recover(self) -> bytes:
        """Count its lines, and cut off the last one where a killed writer tore it.

        Returns:
            What was torn.

        Raises:
            OSError: It cannot be read.
        """
        stored, whole = count_lines(self._file, 0, self.size)
        torn = b""
        if whole < self.size:
            torn = _read(self._file, whole, self.size - whole)
            os.ftruncate(self._file, whole)
        self._extent = whole, stored
        return torn

    def sync(self) -> None:
        """Have what was written kept also where the machine loses its power.

        Raises:
            OSError: The disk refuses, or the file was closed meanwhile.
        """
        file, size = self._file, self.size
        if file != _files.CLOSED and size != self._synced_bytes:
            os.fsync(file)
            self._synced_bytes = size

    def close(self) -> None:
        """Let go of the files, once."""
        files = (self._file, self._note_file)
        self._file = self._note_file = _files.CLOSED
        for file in files:
            _files.close(file)

    def delete(self) -> None:
        """Remove its files.

        Raises:
            OSError: The disk refuses.
        """
        self.close()
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".ack").unlink(missing_ok=True)

    def _keep_note(self, note: bytes) -> None:
        self._unsaved += note
        if not self._unsaved:
            return
        if self._note_file == _files.CLOSED:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._note_file = _files.open_private(self.path.with_suffix(".ack"), flags)
            os.ftruncate(self._note_file, self._noted_bytes)  # a torn line of before
        _files.append_whole(self._note_file, self._unsaved, self._noted_bytes)
        self._noted_bytes += len(self._unsaved)
        self._unsaved = b""


def _runs_of(entries: Iterable[Entry], progress: Progress, how: str) -> Iterator[Run]:
    """Yield what waits of these, neighbours together."""
    start = end = count = 0
    for entry in entries:
        if progress.has(entry.start):
            continue
        if count and entry.start != end:
            yield Run(start, end, count, how)
            count = 0
        if not count:
            start = entry.start
        end, count = entry.start + len(entry.line), count + 1
    if count:
        yield Run(start, end, count, how)


def is_settled(path: Path) -> bool:
    """Whether nothing in the segment at `path` waits any more.

    Raises:
        OSError: It cannot be read.
    """
    return read_progress(path)[0].offset >= path.stat().st_size


def began_at(line: bytes) -> str | None:
    """Return when a line's record began, ISO 8601; None if it does not say."""
    try:
        return str(json.loads(line)["started_at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def count_lines(file: int, start: int, end: int) -> tuple[int, int]:
    """Return how many whole lines lie in between, and where the last ends."""
    count, whole, position = 0, start, start
    while position < end and (
        chunk := _read(file, position, min(_READ_BYTES, end - position))
    ):
        if (last := chunk.rfind(b"\n")) >= 0:
            count += chunk.count(b"\n")
            whole = position + last + 1
        position += len(chunk)
    return count, whole


def lines_of(
    file: int, start: int, end: int, is_meant: Callable[[bytes], bool] | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines between two offsets, each with its own.

    Args:
        is_meant: Whether one of these lines, of some hundred, may be; the rest is passed
            over, which takes a tenth of the time.
    """
    rest, position = b"", start
    while position < end and (
        chunk := _read(file, position, min(_READ_BYTES, end - position))
    ):
        position += len(chunk)
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if not newline or (is_meant is not None and not is_meant(whole)):
            start += len(whole) + len(newline)
            continue
        for line in whole.split(b"\n"):
            yield start, line + b"\n"
            start += len(line) + 1


def _read(file: int, position: int, size: int) -> bytes:
    # Not `pread`, which Windows lacks. Wherever this leaves the file, a write appends.
    os.lseek(file, position, os.SEEK_SET)
    return os.read(file, size)
