"""Who answers for segments: a process, by a lock that dies with it.

Each owner has a name of its own, `OWNER.lock`, and segments `OWNER.NUMBER.jsonl`. A lock
that nobody holds means that its process is gone, and that what it left may be taken over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from .._ledger import ledger
from ._directory import make_private
from ._segment import Segment

_PRIVATE_FILE = 0o600
_CLOSED = -1


@dataclasses.dataclass(slots=True)
class Owned:
    """What one process left, or leaves: its lock, and segments oldest first."""

    name: str
    lock_path: Path
    lock_file: int
    segments: deque[Segment]

    def close(self) -> None:
        """Let go of every file, once: a number may be another's a moment later."""
        for segment in self.segments:
            segment.close()
        file, self.lock_file = self.lock_file, _CLOSED
        if file != _CLOSED:
            os.close(file)


def new_owner(directory: Path) -> Owned:
    """Return a new owner's empty share, locked by us.

    Raises:
        OSError: The disk refuses, or the directory is not ours alone.
    """
    if not make_private(directory):
        message = f"{directory.name} is not ours alone"
        raise OSError(message)
    while True:
        name = f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}"
        lock_path = directory / f"{name}.lock"
        file = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
        if _is_locked_by_us(file, lock_path):
            return Owned(name, lock_path, file, deque())
        os.close(file)  # somebody adopted it between two lines: it was still empty


def orphans(directory: Path, held: set[str]) -> Iterator[tuple[Owned, int]]:
    """Yield each gone owner's share, locked by us, and how many records wait."""
    for lock_path in sorted(directory.glob("*.lock")):
        if lock_path.stem in held:
            continue
        try:
            file = os.open(lock_path, os.O_RDWR)
        except OSError:
            continue
        if not _is_locked_by_us(file, lock_path):
            os.close(file)
            continue
        owned, waiting = Owned(lock_path.stem, lock_path, file, deque()), 0
        try:
            for path in sorted(directory.glob(f"{owned.name}.*.jsonl")):
                owned.segments.append(Segment(path))
                whole, torn = owned.segments[-1].recover()
                waiting += whole
                if torn:
                    ledger.note("torn_tail")
        except OSError:  # too many open files, say: all of it, or another time
            owned.close()
            continue
        yield owned, waiting


def is_owner_alive(lock_path: Path) -> bool:
    """Whether a process holds this lock now; the look lets go at once."""
    try:
        file = os.open(lock_path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _is_locked_by_us(file, lock_path)
    finally:
        os.close(file)


def release(owned: Owned) -> None:
    """Give an owner's lock back, and delete it if no segment is left."""
    if not owned.segments:
        with contextlib.suppress(OSError):
            owned.lock_path.unlink()
    owned.close()


def _is_locked_by_us(file: int, path: Path) -> bool:
    """Lock the file; whether it is ours now, and still the one at that path."""
    try:
        _lock_at_once(file)
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


if sys.platform == "win32":  # pragma: no cover - what no test here can run
    import msvcrt

    def _lock_at_once(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock_at_once(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
