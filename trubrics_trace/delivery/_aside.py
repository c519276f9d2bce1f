"""Lines that are set aside, each with its reason: refused, or no record.

They stand in `rejected.jsonl` until somebody puts them back or lets go of them; see
`trubrics-trace rejected`. Whoever writes to it or takes from it holds its lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import _clock
from . import _files

_NAME = "rejected.jsonl"
_POLL_SECONDS = 0.01
_LOCK_SECONDS = 30.0  # whoever has the lock rewrites one file


@dataclasses.dataclass(frozen=True, slots=True)
class Aside:
    """A line of the spool, why it was set aside, and when, ISO 8601."""

    reason: str
    at: str
    line: bytes

    @property
    def record(self) -> dict[str, Any] | None:
        """What the line says, or None where it is no record."""
        try:
            said = json.loads(self.line)
        except (ValueError, RecursionError):
            return None
        is_record = isinstance(said, dict) and isinstance(said.get("record_id"), str)
        return said if is_record else None

    def to_bytes(self) -> bytes:
        """Return it as a line of the file."""
        # Latin-1 has a character for each byte: also what is no text comes back whole.
        is_text = _is_text(self.line)
        said = {
            "reason": self.reason,
            "at": self.at,
            "record" if is_text else "bytes": self.line.decode(
                "utf-8" if is_text else "latin-1"
            ),
        }
        return json.dumps(said, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, line: bytes) -> Aside | None:
        """Return what a line of the file says; None where it was torn."""
        try:
            said = json.loads(line)
            is_text = "record" in said
            told = said["record"].encode() if is_text else said["bytes"].encode("latin-1")
            return cls(str(said["reason"]), str(said["at"]), told)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def set_aside(
    directory: Path | None,
    line: bytes,
    reason: str,
    max_bytes: int,
    *,
    patience: float = _LOCK_SECONDS,
) -> bool:
    """Keep a line with its reason; whether it could be kept.

    Not where the file would grow beyond `max_bytes`: a server that refuses everything
    must not fill the disk.
    """
    if directory is None:
        return False
    aside = Aside(reason, _clock.utc_now(), line).to_bytes()
    try:
        with _locked(directory, os.O_CREAT, patience=patience) as file:
            size = os.fstat(file).st_size
            os.lseek(file, max(0, size - 1), os.SEEK_SET)
            if size and os.read(file, 1) != b"\n":  # its writer was killed
                aside = b"\n" + aside
            if size + len(aside) <= max_bytes:
                _files.append_whole(file, aside, size)
            return size + len(aside) <= max_bytes
    except OSError:
        return False


def read_aside(directory: Path) -> list[Aside]:
    """Return what was set aside, oldest first.

    Raises:
        OSError: It is there and cannot be read.
    """
    try:
        content = (directory / _NAME).read_bytes()
    except FileNotFoundError:
        return []
    return [aside for line in content.split(b"\n") if (aside := Aside.from_bytes(line))]


def take_aside(
    directory: Path, take: Callable[[Aside], bool], *, patience: float = _LOCK_SECONDS
) -> None:
    """Offer each to `take`, and keep those that it does not take.

    Raises:
        OSError: It cannot be read, locked or written; then all are kept.
    """
    path = directory / _NAME
    if not path.exists():
        return
    with _locked(directory, patience=patience):
        kept = [aside for aside in read_aside(directory) if not take(aside)]
        if not kept:
            path.unlink()
            return
        new = path.with_suffix(".new")
        with _files.opened(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fresh:
            _files.append_whole(fresh, b"".join(one.to_bytes() for one in kept), 0)
        new.replace(path)


@contextlib.contextmanager
def _locked(
    directory: Path, more_flags: int = 0, *, patience: float = _LOCK_SECONDS
) -> Iterator[int]:
    """Open the file, locked, while it is the one at that path."""
    path, deadline = directory / _NAME, _clock.monotonic() + patience
    while True:
        with _files.opened(path, os.O_RDWR | os.O_APPEND | more_flags) as file:
            if _files.is_locked_by_us(file, path):
                yield file
                return
        if _clock.monotonic() > deadline:
            message = f"{_NAME} is locked by another"
            raise OSError(message)
        time.sleep(_POLL_SECONDS)


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
