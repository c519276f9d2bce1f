"""Every file of a spool that is open, for a forked child to close them.

A lock outlives its dead owner while a child holds the file. What a child inherits it
therefore closes at once, also what another thread was just opening: no fork comes between
an opening and its note here, nor between a closing and the end of that note.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

CLOSED = -1  # no file has this number, so whoever comes late meets an OSError

_PRIVATE_FILE = 0o600

_open: set[int] = set()
_opening = threading.RLock()  # a signal handler may come between, and record


def open_private(path: Path, flags: int) -> int:
    """Open a file that nobody else may read, and return its number.

    Raises:
        OSError: The disk refuses.
    """
    with _opening:
        file = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), _PRIVATE_FILE)
        _open.add(file)
        return file


def close(file: int) -> None:
    """Close a file once: its number may be another's a moment later."""
    with _opening:
        if file in _open:
            _open.discard(file)
            os.close(file)


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file for the block.

    Raises:
        OSError: The disk refuses.
    """
    file = open_private(path, flags)
    try:
        yield file
    finally:
        close(file)


def append_whole(file: int, content: bytes, size: int) -> None:
    """Append to a file of `size` bytes with one write, or leave it as it was.

    Raises:
        OSError: The disk refused.
    """
    written = os.write(file, content)
    if written != len(content):  # full half-way: what is torn must not swallow the next
        os.ftruncate(file, size)
        message = f"wrote {written} of {len(content)} bytes"
        raise OSError(message)


def is_locked_by_us(file: int, path: Path) -> bool:
    """Lock the file; whether it is ours now, and still the one at that path."""
    try:
        _lock_at_once(file)
        return is_at(file, path)
    except OSError:
        return False


def is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one at that path.

    Raises:
        OSError: Nothing is at that path, or it cannot be looked at.
    """
    return os.path.samestat(os.fstat(file), path.stat())


def hold() -> None:
    """Before a fork: let no file be half open."""
    _opening.acquire()


def release() -> None:
    """After a fork, in the parent: go on."""
    with contextlib.suppress(RuntimeError):  # installed while the fork began
        _opening.release()


def close_all() -> None:
    """After a fork, in the child: close what the parent has open."""
    global _opening
    _opening = threading.RLock()
    while _open:
        with contextlib.suppress(OSError):
            os.close(_open.pop())


if sys.platform == "win32":  # pragma: no cover - what no test here can run
    import msvcrt

    def _lock_at_once(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock_at_once(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
