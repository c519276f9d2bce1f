"""What a command says: to people in colour, to programs without.

Colours are for a terminal alone, and for none where `NO_COLOR` is set (no-color.org) or
`TERM` is `dumb`.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TextIO, TypeAlias, TypeVar

from .. import _clock

Colour: TypeAlias = Literal["bold", "dim", "red", "green", "yellow"]
Counted = TypeVar("Counted")

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_TELL_EVERY_SECONDS = 0.5


def say(text: str, *, now: bool = False) -> None:
    """Print a line; `now`, if what comes next takes long."""
    print(text, flush=now)  # noqa: T201 - a command line


def say_json(said: Any) -> None:
    """Print one value as a line of JSON."""
    say(json.dumps(said, default=str))


def painted(text: str, colour: Colour, stream: TextIO | None = None) -> str:
    """Return the text in a colour where people look at it, else as it is."""
    if not _is_colourful(sys.stdout if stream is None else stream):
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def let_all_be_written() -> None:
    """Let a terminal of few letters escape what it has none for, not raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def look_away() -> None:
    """Write no more where nobody reads: a pipe was closed, as `head` does."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # or Python complains of it at exit
    os.close(nowhere)


class Progress:
    """Tells a terminal on stderr, twice a second, how far long work is.

    Args:
        is_shown: Whether the work itself shows on stdout what it does; then there is none
            of this on the same terminal.
    """

    def __init__(
        self, *, is_shown: bool = False, clock: Callable[[], float] = _clock.monotonic
    ) -> None:
        self._is_told = sys.stderr.isatty() and not (is_shown and sys.stdout.isatty())
        self._clock = clock
        self._tell_at = clock() + _TELL_EVERY_SECONDS
        self._width = 0

    def tell(self, count: int, of_what: str) -> None:
        """Say it, if it is time to."""
        if self._is_told and self._clock() >= self._tell_at:
            self._tell_at = self._clock() + _TELL_EVERY_SECONDS
            self._say(f"{count:,} {of_what}", end="")

    def end(self, count: int, of_what: str) -> None:
        """Say how far it came."""
        if self._is_told:
            self._say(f"{count:,} {of_what}", end="\n")

    def _say(self, text: str, end: str) -> None:
        line = text.ljust(self._width)  # what is longer would be seen behind it
        self._width = len(text)
        print(f"\r{line}", file=sys.stderr, end=end, flush=True)  # noqa: T201 - progress


def counting(each: Iterable[Counted], progress: Progress) -> Iterator[Counted]:
    """Yield each record, and tell how many that are."""
    number = 0
    for number, one in enumerate(each, 1):
        yield one
        if not number % 100:
            progress.tell(number, "records")
    progress.end(number, "records")


def _is_colourful(stream: TextIO) -> bool:
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return is_wanted and stream.isatty()
