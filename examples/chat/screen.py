"""What the person who typed `make demo` sees."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"


def say(text: str = "") -> None:
    """Show one line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def painted(text: str, colour: str) -> str:
    """Return the text in this colour on a terminal, and as it is anywhere else."""
    is_plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if is_plain else f"\x1b[{colour}m{text}\x1b[0m"


@contextmanager
def progress(doing: str, so_far: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Say what is being done; then, each second without news, that it still is."""
    say(f"· {doing}")
    done = Event()

    def tick() -> None:
        seconds, told = 0, so_far()
        while not done.wait(1):
            seconds, news = seconds + 1, so_far()
            if news == told:
                say(painted(f"    {seconds} s  {news}".rstrip(), DIM))
            told = news

    ticker = Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> None:
    """Show columns as wide as their widest cell, the last few of them being numbers."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    first_number = len(heads) - numbers

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if place >= first_number else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    say(painted(line(heads), BOLD))
    for row in rows:
        say(line(row))
