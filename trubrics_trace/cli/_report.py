"""Show what prompts come to: users, threads, stop rate, tokens, latency.

`--html FILE` makes one page of it, to be kept or sent: nothing in it is loaded from
elsewhere, it has no script, and every text is escaped. It holds what the latest prompts
said, so nobody else may read the file. Without it a summary is printed; `--json` prints
all figures, and nothing that was said. Times are told in two digits.

Reads what waits and what was delivered and is kept; an app may be writing meanwhile.

Examples:
  trubrics-trace report
  trubrics-trace report --html report.html --since 7d
  trubrics-trace report --tag support --json
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from .. import _clock
from ..delivery import _files
from ._figures import LEFT, Figures, Group, figures_of
from ._page import moment_of, page_of, percent_of, seconds_of
from ._status import announced_spool, table
from ._terminal import Progress, counting, painted, say, say_json
from ._wanted import Wanted, add_wishes

SUMMARY = "show what the prompts come to, also as a page"
EXIT_CODES = {0: "reported, be it on nothing"}

_MOST_USERS = 10
_COLUMNS = ("user", "prompts", "stopped", "errors", "tokens in", "out", "median", "95 %")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the page's file, its title, and which prompts."""
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="make a page, in a file of its own"
    )
    parser.add_argument(
        "--title", default="LLM calls by user", help="of the page (default: %(default)s)"
    )
    add_wishes(parser)


def run(options: argparse.Namespace) -> int:
    """Count, and make the page or print the summary."""
    wanted = Wanted.of(options)
    root = announced_spool(options)
    each = wanted.reader(root).all(wanted.since)
    figures = figures_of(counting(filter(wanted.has, each), Progress()))
    if options.html:
        page = page_of(
            figures,
            title=options.title,
            about=_about(options, root),
            made_at=_clock.utc_now(),
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with (
            _files.opened(options.html, flags) as number,
            os.fdopen(
                number, "w", encoding="utf-8", errors="replace", closefd=False
            ) as file,
        ):
            file.write(page)
    if options.json:
        page_at = str(options.html) if options.html else None
        say_json({"spool_dir": str(root), "html": page_at, **figures.to_dict()})
    elif options.html:
        count = figures.all.prompts
        told = "1 prompt is" if count == 1 else f"{count:,} prompts are"
        say(f"{told} told in {options.html}")
    else:
        say("\n".join(_summary(figures)))
    return 0


def _about(options: argparse.Namespace, root: Path) -> str:
    """Return what the page says of its spool, and of what was asked for."""
    wishes = [
        f"--{name} {shlex.quote(str(value))}"
        for name in ("user", "tag", "thread", "status", "destination")
        if (value := getattr(options, name)) is not None
    ]
    for name in ("since", "until"):
        if (seconds := getattr(options, name)) is not None:
            date = datetime.fromtimestamp(seconds, timezone.utc)
            wishes.append(f"--{name} {date:%Y-%m-%dT%H:%M}")
    return " ".join([f"From the spool {root.name}", *wishes])


def _summary(figures: Figures) -> Iterator[str]:
    total = figures.all
    if not total.prompts:
        yield "no prompt is here that fits"
        return
    yield (
        f"{total.prompts:,} prompts of {figures.users.named:,} users in "
        f"{figures.threads.named:,} threads, {moment_of(figures.first)} to "
        f"{moment_of(total.last)} UTC"
    )
    rows = [_cells(group) for group in figures.users.largest(_MOST_USERS)]
    head, *lines = table([_COLUMNS, *rows, _cells(total)])
    yield painted(head, "bold")
    yield from lines


def _cells(group: Group) -> tuple[str, ...]:
    return (
        group.name or "nobody",
        f"{group.prompts:,}",
        percent_of(group.share(*LEFT)),
        percent_of(group.share("error")),
        f"{group.input_tokens:,}",
        f"{group.output_tokens:,}",
        seconds_of(group.latency.quantile(0.5)),
        seconds_of(group.latency.quantile(0.95)),
    )
