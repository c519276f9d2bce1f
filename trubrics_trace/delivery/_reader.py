"""Records as they stand in a spool's files, whoever writes meanwhile.

Rule 1: nothing is locked, changed, or kept in memory: a million records are read one at a
time.
Rule 2: what is read is what waits, and what was delivered and is kept (`keep_delivered`).
Delivery is at least once, and so is this: `record_id` tells duplicates.
Rule 3: of a user who was erased nothing is read.
Rule 4: a snapshot is taken first. What comes later is `news`, and nothing in between is
missed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from .._json import from_json
from .._record import Record, record_from_line
from . import _files
from ._census import destinations_in
from ._erased import Erased, read_erased
from ._segment import lines_of

_CHUNK_BYTES = 128 * 1024  # some hundred lines


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """One record as it stands in a spool.

    Attributes:
        label: Its destination.
        line: The bytes of it, with the end of the line: a JSON object.
        values: What they say: `PromptRecord.to_dict`, or another record's.
    """

    label: str
    line: bytes
    values: dict[str, Any]

    @property
    def record(self) -> Record | None:
        """The record itself; None where it is of a kind that is not known here."""
        return record_from_line(self.line)

    @property
    def began(self) -> float | None:
        """When it began, in seconds since the epoch; None where it does not say."""
        try:
            return datetime.fromisoformat(self.values["started_at"]).timestamp()
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return None

    @property
    def ended(self) -> float:
        """When it ended, likewise; the beginning of time where it does not say."""
        return (self.began or 0.0) + self.lasted

    @property
    def lasted(self) -> float:
        """How long it took, in seconds; none where it does not say."""
        seconds = self.values.get("latency_seconds")
        return float(seconds) if isinstance(seconds, (int, float)) else 0.0


Wish = Callable[[Kept], bool]
Needles = tuple[bytes, ...]


class Reader:
    """Reads the records below a root, of one destination or of all.

    Args:
        label: The destination's name; None for all.
        needles: What a line must hold to be looked at more closely; that is cheap.
    """

    def __init__(
        self, root: Path, label: str | None = None, *, needles: Needles = ()
    ) -> None:
        self._root = root
        self._label = label
        self._needles = needles
        self._erased: dict[Path, Erased] = {}
        self._ends = dict(self._sizes())

    def all(self, since: float = 0.0) -> Iterator[Kept]:
        """Yield what the snapshot holds: process by process, as written.

        Nothing of a file that was last written to before `since`, seconds of the epoch.
        """
        for path, end in sorted(self._ends.items(), key=_by_name):
            with contextlib.suppress(FileNotFoundError):  # delivered, and gone meanwhile
                if path.stat().st_mtime >= since:
                    with _files.opened(path, os.O_RDONLY) as file:
                        yield from self._kept(
                            path.parent, lines_on(file, end, self._needles)
                        )

    def latest(self, count: int, wish: Wish) -> list[Kept]:
        """Return so many of the snapshot that ended last, in that order."""
        found: list[tuple[float, int, Kept]] = []  # a heap: the oldest is let go of
        number = 0
        for written, path in sorted(self._written(), reverse=True) if count else ():
            if len(found) == count and found[0][0] >= written:
                break  # what this file holds, and each after it, ended before
            with contextlib.suppress(FileNotFoundError):
                for kept in itertools.islice(filter(wish, self._back(path)), count):
                    number -= 1
                    heapq.heappush(found, (kept.ended, number, kept))
                    if len(found) > count:
                        heapq.heappop(found)
        return [kept for *_, kept in sorted(found, key=lambda one: one[:2])]

    def news(self) -> Iterator[Kept]:
        """Yield what was written since the snapshot, or since the last time."""
        for path, size in sorted(self._sizes(), key=_by_name):
            start = self._ends.get(path, 0)
            if size > start:
                with (
                    contextlib.suppress(FileNotFoundError),
                    _files.opened(path, os.O_RDONLY) as file,
                ):
                    for at, line in lines_of(file, _whole_end(file, start), size):
                        self._ends[path] = at + len(line)
                        yield from self._kept(path.parent, (line,))

    def _back(self, path: Path) -> Iterator[Kept]:
        with _files.opened(path, os.O_RDONLY) as file:
            lines = lines_back(file, self._ends[path], self._needles)
            yield from self._kept(path.parent, lines)

    def _kept(self, place: Path, lines: Iterable[bytes]) -> Iterator[Kept]:
        erased, label = self._erased.get(place) or Erased(), place.name
        for line in lines:
            if all(needle in line for needle in self._needles):
                for kept in _kept_in(label, line):
                    began = kept.values.get("started_at")
                    if not erased.has(kept.values.get("user_id"), began):
                        yield kept

    def _sizes(self) -> Iterator[tuple[Path, int]]:
        for place in destinations_in(self._root):
            self._erased[place] = read_erased(place)
            for path in place.glob("*.*.jsonl") if self._is_meant(place) else ():
                with contextlib.suppress(FileNotFoundError):
                    yield path, path.stat().st_size

    def _is_meant(self, place: Path) -> bool:
        return self._label in (None, place.name)

    def _written(self) -> Iterator[tuple[float, Path]]:
        for path in self._ends:
            with contextlib.suppress(FileNotFoundError):
                yield path.stat().st_mtime, path


def lines_on(
    file: int, end: int, needles: Needles = (), chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[bytes]:
    """Yield the whole lines before an offset, but for most that lack a needle."""
    rest, start = b"", 0
    while start < end and (chunk := _read(file, start, min(end, start + chunk_bytes))):
        start += len(chunk)
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if all(needle in whole for needle in needles):  # else not one line has them all
            yield from _lines_in(whole + newline)


def lines_back(
    file: int, end: int, needles: Needles = (), chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[bytes]:
    """Yield them likewise, the last one first."""
    end = _whole_end(file, end, chunk_bytes)
    rest = b""
    while end:
        start = max(0, end - chunk_bytes)
        rest = _read(file, start, end) + rest
        # What stands before the first end of a line may begin further up.
        cut = rest.find(b"\n") + 1 if start else 0
        whole = rest[cut:]
        if all(needle in whole for needle in needles):
            yield from reversed(_lines_in(whole))
        rest, end = rest[:cut], start


def _lines_in(whole: bytes) -> list[bytes]:
    # Not `splitlines`: a carriage return in what is corrupt is no end.
    return [line + b"\n" for line in whole.split(b"\n")[:-1]]


def _by_name(sized: tuple[Path, int]) -> str:
    return sized[0].name  # which begins with the time at which its process began


def _kept_in(label: str, line: bytes) -> Iterator[Kept]:
    """Yield the record that a line holds, if it holds one."""
    try:
        values = from_json(line)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict) and isinstance(values.get("record_id"), str):
        yield Kept(label, line, values)
    elif record := record_from_line(line):  # it stands behind what is corrupt
        values = record.to_dict()
        said = json.dumps(values, ensure_ascii=False, default=str)
        yield Kept(label, said.encode(errors="replace") + b"\n", values)


def _whole_end(file: int, end: int, chunk_bytes: int = _CHUNK_BYTES) -> int:
    """Return where the last whole line before an offset ends."""
    while end:
        start = max(0, end - chunk_bytes)
        newline = _read(file, start, end).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _read(file: int, start: int, end: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, end - start)
