"""Whether the cost of a recorded call grows: with scopes, tags, prompts, crowds, backlog.

    python -m benchmarks.scale [--quick] [--row NAME]

What ours adds to a call, in microseconds of the CPU of who asks, with the log written to a
file and the spool to a disk. Each row has a process of its own; its places are visited in
turn, in rounds, without us and with us, and of each the lowest counts. Behind it stands the
ratio to the least of its row; for prompts also that to one `json.dumps` of the same prompt,
which is to be at most 4 at a megabyte. Each cut is that of the settings' defaults, save
where it says `uncut`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.drawing import draw_curves
from benchmarks.growing import ROWS, Place, Row
from benchmarks.results import keep
from benchmarks.ways import log_json_to
from trubrics_trace import configure

ROUNDS, ROUNDS_QUICK = 11, 3
MOST_CALLS = 40_000  # at one place: with so many in a round, fewer rounds will do
SPOOL_BYTES = 8 * 2**30  # nothing is dropped
MOST_DUMPS, LONG = 4.0, 100_000  # bytes of a prompt, below which a call is no measure
MEASURED = "one `json.dumps`"  # of the prompt, in microseconds


@contextlib.contextmanager
def recorded(settings: dict[str, Any]) -> Iterator[None]:
    """Log to a file and keep in a spool, during the block."""
    logging.getLogger("trubrics_trace").setLevel(logging.ERROR)
    with contextlib.ExitStack() as around:
        folder = Path(around.enter_context(tempfile.TemporaryDirectory()))
        log = Path(folder, "app.log").open("wb")  # noqa: SIM115 - below
        log_json_to(around.enter_context(log))
        configure(spool_dir=folder / "spool", spool_max_bytes=SPOOL_BYTES, **settings)
        yield


def measured(row: Row, *, is_quick: bool) -> dict[str, list[float]]:
    """Return, by place, the microseconds that are added, and those of its measure."""
    rounds, at = (ROUNDS_QUICK, row.at[: row.at_quick]) if is_quick else (ROUNDS, row.at)
    if row.is_kept:
        return {str(one): lowest([row.place(one)], rounds)[0] for one in at}
    found = lowest([row.place(one) for one in at], rounds)
    return dict(zip(map(str, at), found, strict=True))


def lowest(places: list[Place], rounds: int) -> list[list[float]]:
    """Return the lowest of so many rounds over these places, but the first."""
    found: list[list[float]] = [[float("inf")] * 3 for _ in places]
    for number in range(rounds + 1):
        for at, place in enumerate(places):
            if number * place.calls > MOST_CALLS:
                continue
            seconds = place.bare(), place.recorded(), place.measure()
            if number:  # the first imports, opens and specialises
                micros = (one / place.calls * 1e6 for one in seconds)
                found[at] = [*map(min, found[at], micros)]
    return [[recorded - bare, measure] for bare, recorded, measure in found]


def in_its_process(name: str, *, is_quick: bool) -> dict[str, list[float]]:
    """Return what one row comes to, in a process of its own."""
    words = ["--only", name, *(["--quick"] if is_quick else [])]
    command = [sys.executable, "-m", __spec__.name, *words]
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, list[float]] = json.loads(printed.splitlines()[-1])
    return found


def print_row(name: str, found: dict[str, list[float]]) -> bool:
    """Print a line a place; whether a prompt of a megabyte costs no more than it may."""
    least = min(added for added, _ in found.values())
    is_within = True
    for at, (added, measure) in found.items():
        told = f"{name:24} {int(at):>9,} {added:10,.1f} us {added / least:8.2f} x the least"
        if measure and int(at) >= LONG:
            told += f" {added / measure:8.2f} x {MEASURED}"
            is_within = int(at) == LONG or added <= MOST_DUMPS * measure
        print(told, flush=True)
    return is_within


def main() -> int:
    """Print what each row comes to; 0 if a long prompt costs no more than it may."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer places and rounds, not kept"
    )
    parser.add_argument("--row", choices=ROWS, help="this alone, which is not kept")
    parser.add_argument("--only", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        row = ROWS[options.only]
        with recorded(row.settings):
            print(json.dumps(measured(row, is_quick=options.quick)))
        return 0
    rows, is_within = {}, True
    for name in [options.row] if options.row else ROWS:
        rows[name] = in_its_process(name, is_quick=options.quick)
        is_within = print_row(name, rows[name]) and is_within
    if not (options.row or options.quick):
        keep_all(rows)
    return 0 if is_within else 1


def keep_all(rows: dict[str, dict[str, list[float]]]) -> None:
    """Keep the figures, and draw them."""
    added = {
        name: {at: round(values[0], 1) for at, values in found.items()}
        for name, found in rows.items()
    }
    measures = {
        f"{name}: {MEASURED}": {at: round(values[1], 1) for at, values in found.items()}
        for name, found in rows.items()
        if all(measure for _, measure in found.values())
    }
    drawing = draw_curves("scale", "CPU that recording adds to a call", added, "µs")
    told = {
        "unit": "microseconds of its caller's CPU that are added to a call",
        "columns": ("so much of it: microseconds",),
        "drawing": drawing,
    }
    keep("scale", {**told, **added, **measures})


if __name__ == "__main__":
    sys.exit(main())
