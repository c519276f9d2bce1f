"""Who answers for segments: a process, by a lock that dies with it.

Each owner has a name of its own, `OWNER.lock`, and segments `OWNER.NUMBER.jsonl`. A lock
that nobody holds means that its process is gone, and that what it left may be taken over.
In the lock's file stands what its holder says of itself, for `trubrics-trace status`.
Beside them stand `rejected.jsonl`, `settled.log` and `erased.log`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from .._ledger import ledger
from . import _files
from ._aside import set_aside
from ._directory import make_private
from ._segment import Segment, is_settled

_SEGMENTS = "*.*.jsonl"
_PATIENCE_SECONDS = 0.1  # somebody may be rewriting what was set aside
_MOST_TORN_BYTES = 1024 * 1024  # of what was set aside: what is torn is worth little
_MOST_LOOKED_AT = 64  # locks at once, for one look at the directory: it may be long
_MOST_TRIES = 10  # to lock a new file; some file systems have no locks


@dataclasses.dataclass(slots=True)
class Owned:
    """What one process left, or leaves: its lock, and segments oldest first."""

    name: str
    lock_path: Path
    lock_file: int
    segments: deque[Segment] = dataclasses.field(default_factory=deque)
    made: int = 0  # segments so far, which number the next

    def new_segment(self) -> Segment:
        """Begin another segment.

        Raises:
            OSError: The disk refuses.
        """
        self.made += 1
        name = f"{self.name}.{self.made:06d}.jsonl"
        self.segments.append(Segment(self.lock_path.with_name(name), create=True))
        return self.segments[-1]

    @property
    def waiting(self) -> int:
        """How many of its records wait."""
        return sum(segment.waiting for segment in self.segments)

    @property
    def is_gone(self) -> bool:
        """Whether its files were deleted or moved, and another is to be begun.

        A segment that is begun where its lock is not would be taken for a dead owner's.
        """
        if self.segments and self.segments[-1].is_gone:
            return True
        try:
            return not _files.is_at(self.lock_file, self.lock_path)
        except FileNotFoundError:
            return True
        except OSError:  # what cannot be looked at is not gone for that
            return False

    def say(self, **said: Any) -> None:
        """Tell the command line something of the process that holds this."""
        content = json.dumps({"pid": os.getpid(), **said}, default=str).encode()
        with contextlib.suppress(OSError):
            os.lseek(self.lock_file, 0, os.SEEK_SET)
            os.write(self.lock_file, content)
            os.ftruncate(self.lock_file, len(content))

    def close(self) -> None:
        """Let go of every file, once."""
        for segment in self.segments:
            segment.close()
        file, self.lock_file = self.lock_file, _files.CLOSED
        _files.close(file)

    def release(self) -> None:
        """Give the lock back, and delete it if no segment is left."""
        if not self.segments:
            with contextlib.suppress(OSError):
                self.lock_path.unlink()
        self.close()


def new_owner(directory: Path) -> Owned:
    """Return a new owner's empty share, locked by us.

    Raises:
        OSError: The disk refuses, or the directory is not ours alone.
    """
    if not make_private(directory):
        message = f"{directory.name} is not ours alone"
        raise OSError(message)
    for _ in range(_MOST_TRIES):
        name = f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}"
        lock_path = directory / f"{name}.lock"
        owned = _taken(lock_path, os.O_CREAT | os.O_EXCL)
        if owned is not None:  # else somebody adopted it between two lines: it was empty
            return owned
        with contextlib.suppress(OSError):
            lock_path.unlink()
    message = f"no file can be locked in {directory.name}"
    raise OSError(message)


def orphans(directory: Path, held: Collection[str]) -> Iterator[Owned]:
    """Yield each gone owner's share, oldest first, locked by us.

    Not yet recovered. Also that of one whose lock was deleted; what is settled and kept
    has no lock, either.
    """
    locked = {path.stem for path in directory.glob("*.lock")}
    lone: set[str] = set()
    for name, paths in _segments_by_owner(directory).items():
        with contextlib.suppress(OSError):  # delivered meanwhile, and deleted
            if name not in locked and not all(map(is_settled, paths)):
                lone.add(name)
    names = deque(sorted((locked | lone) - set(held)))
    while names:
        taken = deque[Owned]()
        while names and len(taken) < _MOST_LOOKED_AT:
            name = names.popleft()
            flags = os.O_CREAT | os.O_EXCL if name in lone else 0
            with contextlib.suppress(OSError):  # too many open files, say: another time
                if owned := _taken(directory / f"{name}.lock", flags):
                    taken.append(owned)
        paths_of = _segments_by_owner(directory)  # now that nobody makes another
        try:
            while taken:
                owned = taken.popleft()
                if _has_opened(owned, paths_of.get(owned.name, [])):
                    yield owned
        finally:
            for owned in taken:
                owned.close()


def recover(owned: Owned) -> int:
    """Count what waits in a share taken over; what is torn is set aside.

    Raises:
        OSError: It cannot be read; then nothing of it is held.
    """
    try:
        for segment in owned.segments:
            torn = segment.recover()
            if torn.strip(b"\0"):
                ledger.note("torn_tail")
                set_aside(
                    owned.lock_path.parent,
                    torn,
                    "torn",
                    _MOST_TORN_BYTES,
                    patience=_PATIENCE_SECONDS,
                )
    except OSError:
        owned.close()
        raise
    return owned.waiting


def move(owned: Owned, directory: Path) -> None:
    """Bring a share taken over to another directory, for others to adopt.

    Raises:
        OSError: A disk refuses; what was moved is there, the rest is where it was.
    """
    if not make_private(directory):
        message = f"{directory} is not ours alone"
        raise OSError(message)
    new = _taken(directory / owned.lock_path.name, os.O_CREAT)
    if new is None:
        message = f"{directory} holds a share of this name already"
        raise OSError(message)
    try:
        while owned.segments:
            path = owned.segments[0].path
            for file in (path.with_suffix(".ack"), path):
                if file.exists():
                    shutil.move(file, directory / file.name)
            owned.segments.popleft().close()
    finally:
        owned.release()
        _files.close(new.lock_file)


def what_it_says(lock_path: Path) -> dict[str, Any] | None:
    """Return what a lock's holder says of itself; None if nobody holds it."""
    try:
        with _files.opened(lock_path, os.O_RDWR) as file:
            if _files.is_locked_by_us(file, lock_path):  # the look lets go at once
                return None
            said = json.loads(lock_path.read_bytes())
    except OSError:
        return None
    except ValueError:  # it is just beginning
        return {}
    return said if isinstance(said, dict) else {}


def _segments_by_owner(directory: Path) -> dict[str, list[Path]]:
    paths: dict[str, list[Path]] = {}
    for path in sorted(directory.glob(_SEGMENTS)):
        paths.setdefault(path.name.partition(".")[0], []).append(path)
    return paths


def _has_opened(owned: Owned, paths: list[Path]) -> bool:
    """Open a share's segments; where one cannot be, it is let go of, whole."""
    try:
        for path in paths:
            owned.segments.append(Segment(path))
    except OSError:
        owned.close()
        return False
    return True


def _taken(lock_path: Path, flags: int) -> Owned | None:
    """Return the share of a lock, locked by us; None where another has it.

    Raises:
        OSError: It is not there, or the disk refuses.
    """
    file = _files.open_private(lock_path, os.O_RDWR | flags)
    if not _files.is_locked_by_us(file, lock_path):
        _files.close(file)
        return None
    owned = Owned(lock_path.stem, lock_path, file)
    owned.say()
    return owned
