"""One append-only file of records, and how far it has been settled.

Beside `NAME.jsonl`, whose every line is a record, stands `NAME.ack`: the offset up to
which each record is settled, and what became of those, in digits of fixed width that one
write replaces. A record that was settled beyond that offset is settled again after a
crash: at least once, and `record_id` tells the two apart.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

_PRIVATE_FILE = 0o600
_READ_BYTES = 256 * 1024
_CLOSED = -1  # no file has this number, so whoever comes late meets an OSError


@dataclasses.dataclass(slots=True)
class Progress:
    """How far a segment is settled, and how: the content of its `.ack` file."""

    offset: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: int = 0

    def to_bytes(self) -> bytes:
        """Return the file's content; always of the same length."""
        counts = (self.offset, self.delivered, self.rejected, self.dropped)
        return b" ".join(b"%020d" % count for count in counts) + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Progress:
        """Return what the content says; torn or strange, it says nothing settled."""
        try:
            offset, delivered, rejected, dropped = map(int, content.split())
        except ValueError:
            return cls()
        if min(offset, delivered, rejected, dropped) < 0:
            return cls()
        return cls(offset, delivered, rejected, dropped)


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
        flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        flags |= os.O_CREAT | os.O_EXCL if create else 0
        self.path = path
        self._ack_path = path.with_suffix(".ack")
        self.progress = read_progress(path)
        self._file = os.open(path, flags, _PRIVATE_FILE)
        self._ack_file: int | None = None
        self.size = 0 if create else os.fstat(self._file).st_size
        self._beyond: dict[int, tuple[int, str]] = {}  # settled ahead of the offset

    @property
    def is_settled(self) -> bool:
        """Whether nothing in it waits any more."""
        return self.progress.offset >= self.size

    def append(self, line: bytes) -> None:
        """Write one line, with one call.

        Raises:
            OSError: The disk refused; nothing of the line is left behind.
        """
        written = os.write(self._file, line)
        if written != len(line):  # full half-way: a torn line must not swallow the next
            os.ftruncate(self._file, self.size)
            message = f"wrote {written} of {len(line)} bytes"
            raise OSError(message)
        self.size += written

    def unsettled(self) -> Iterator[Entry]:
        """Yield each whole line that is not settled, oldest first."""
        for start, line in _lines(self._file, self.progress.offset, self.size):
            if start not in self._beyond:
                yield Entry(self, start, line)

    def settle(self, entry: Entry, how: str) -> bool:
        """Note what became of an entry: delivered, rejected or dropped; once.

        Returns:
            Whether it was still waiting here: what a cap has dropped may come back
            delivered, and a closed segment is for whoever opens it next to settle.
        """
        if self._file == _CLOSED:
            return False
        if entry.start < self.progress.offset or entry.start in self._beyond:
            return False
        self._beyond[entry.start] = (entry.start + len(entry.line), how)
        progress = self.progress
        while (settled := self._beyond.pop(progress.offset, None)) is not None:
            progress.offset, what = settled
            setattr(progress, what, getattr(progress, what) + 1)
        return True

    def recover(self) -> tuple[int, int]:
        """Cut an unfinished last line off, as a killed writer leaves it.

        Returns:
            How many whole lines wait, and how many bytes were torn.
        """
        waiting, end = 0, self.progress.offset
        for start, line in _lines(self._file, end, self.size):
            waiting, end = waiting + 1, start + len(line)
        torn = max(0, self.size - end)
        if torn:
            os.ftruncate(self._file, end)
            self.size = end
        return waiting, torn

    def acknowledge(self) -> None:
        """Keep how far it is settled, for whoever opens it next."""
        if self._ack_file is None:
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self._ack_file = os.open(self._ack_path, flags, _PRIVATE_FILE)
        os.lseek(self._ack_file, 0, os.SEEK_SET)
        os.write(self._ack_file, self.progress.to_bytes())

    def close(self) -> None:
        """Let go of the files, once. A forked child does so at once."""
        files = (self._file, self._ack_file)
        self._file = self._ack_file = _CLOSED
        for file in files:
            if file is not None and file != _CLOSED:
                os.close(file)

    def delete(self) -> None:
        """Remove the files of a settled segment."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._ack_path.unlink(missing_ok=True)


def read_progress(path: Path) -> Progress:
    """Return how far the segment at `path` is settled, without opening it.

    Raises:
        OSError: The note is there and cannot be read; nothing may be sent on a guess.
    """
    try:
        return Progress.from_bytes(path.with_suffix(".ack").read_bytes())
    except FileNotFoundError:
        return Progress()


def is_settled(path: Path) -> bool:
    """Whether nothing in the segment at `path` waits any more."""
    return read_progress(path).offset >= path.stat().st_size


def count_unsettled(path: Path) -> int:
    """Return how many whole lines of the segment at `path` wait."""
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        return sum(1 for _ in _lines(file, read_progress(path).offset, size))
    finally:
        os.close(file)


def first_unsettled(path: Path) -> bytes | None:
    """Return a segment's oldest line that waits, or None if none does."""
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        return next(
            (line for _, line in _lines(file, read_progress(path).offset, size)), None
        )
    finally:
        os.close(file)


def _lines(file: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines between two offsets, each with its own."""
    rest, position = b"", start
    while position < end:
        # Wherever this leaves the file, a write appends.
        os.lseek(file, position, os.SEEK_SET)
        read = os.read(file, min(_READ_BYTES, end - position))
        if not read:
            return
        position += len(read)
        *whole, rest = (rest + read).split(b"\n")
        for line in whole:
            yield start, line + b"\n"
            start += len(line) + 1
