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


def say(text: str) -> None:
    """Print a line."""
    print(text)  # noqa: T201 - a command line


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


def counting(
    each: Iterable[Counted], *, clock: Callable[[], float] = _clock.monotonic
) -> Iterator[Counted]:
    """Yield each, and tell a terminal on stderr how far that is.

    Not where the output itself is seen there.
    """
    is_told = sys.stderr.isatty() and not sys.stdout.isatty()
    tell_at, number = clock() + _TELL_EVERY_SECONDS, 0
    for number, one in enumerate(each, 1):
        yield one
        if is_told and not number % 100 and clock() >= tell_at:
            tell_at = clock() + _TELL_EVERY_SECONDS
            _tell(f"\r{number:,} records", end="")
    if is_told:
        _tell(f"\r{number:,} records")


def _tell(text: str, end: str = "\n") -> None:
    print(text, file=sys.stderr, end=end, flush=True)  # noqa: T201 - progress


def _is_colourful(stream: TextIO) -> bool:
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return is_wanted and stream.isatty()
