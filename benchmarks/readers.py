"""What the commands take on a spool of a million records: `python -m benchmarks.readers`.

For each command: when its first line is seen, when it ends, and the most memory that it
had. What is wanted is a first line within a second, and a memory that does not grow with
the spool: it is measured on a tenth of it, too.
The numbers of records may be given, and `--keep DIR` keeps the spools for another run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trubrics_trace import PromptRecord
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.pipeline._line import line_of

USERS = 5_000
THREADS_A_USER = 4
BYTES_ENOUGH = 2**36
FIRST_LINE_SECONDS = 1.0
MOST_GROWTH = 1.5  # of memory, from a tenth of the records to all

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("tail",),
    ("tail", "--user", "user-77"),
    ("tail", "--json", "--status", "error"),
    ("export",),
    ("export", "--user", "user-77"),
    ("export", "--format", "csv"),
    ("report",),
    ("report", "--user", "user-77"),
    ("status",),
    ("doctor",),
    ("erase", "--user", "user-4999"),
)


def spool_of(count: int, root: Path) -> Path:
    """Return a spool of so many records, made unless it is there."""
    if not root.exists():
        make_private(root)
        spool = Spool(root / "local", Limits(BYTES_ENOUGH))
        for number in range(count):
            spool.put(line_of(prompt(number)))
        spool.close()
        for path in (root / "local").glob("*.*.jsonl"):
            written = datetime.fromisoformat(last_line(path)["started_at"]).timestamp()
            os.utime(path, (written, written))  # as if it had been written to all the time
    return root


def last_line(path: Path) -> dict[str, Any]:
    """Return the record that a file ends with."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 2**16), os.SEEK_END)
        return dict(json.loads(file.read().splitlines()[-1]))


def prompt(number: int) -> PromptRecord:
    """Return the record of a call: one a second, of many users, with usual texts."""
    user = number * 7919 % USERS
    at = time.gmtime(1_790_000_000 + number)
    return PromptRecord(
        record_id=f"{number:032x}",
        user_id=f"user-{user}",
        thread_id=f"thread-{user}-{number % THREADS_A_USER}",
        started_at=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", at),
        run_name="chat",
        tags=("support",),
        status="error" if number % 97 == 0 else "complete",
        prompt="Where is my parcel, and when will it be with me? " * 2,
        generation="It left Lyon this morning, and is with you by noon. " * 4,
        model="gpt-4o-mini",
        provider="openai",
        input_tokens=400 + number % 100,
        output_tokens=60,
        latency_seconds=1.0 + number % 100 / 50,
        first_token_seconds=0.3,
    )


def measured(command: Sequence[str], root: Path) -> tuple[float, float, float]:
    """Return seconds to the first line and to the end, and the peak of MiB."""
    began = time.perf_counter()
    running = subprocess.Popen(
        [sys.executable, "-m", "trubrics_trace", *command, "--spool-dir", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdout is not None
    running.stdout.readline()
    first = time.perf_counter() - began
    while running.stdout.read(2**20):
        pass
    running.stdout.close()
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode not in (0, 1):  # a doctor finds something amiss, and says so
        sys.exit(f"{' '.join(command)} ended with {running.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return first, time.perf_counter() - began, usage.ru_maxrss / unit


@contextlib.contextmanager
def directory(kept: Path | None) -> Iterator[Path]:
    """Have a place for spools: one that is kept, or one for now."""
    if kept is not None:
        yield kept
        return
    with TemporaryDirectory() as own:
        yield Path(own)


def main() -> int:
    """Measure each command on both spools; 1 where one is not as wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    missed = 0
    with directory(options.keep) as place:
        small = spool_of(options.count // 10, place / "small")
        large = spool_of(options.count, place / "large")
        print(f"{'first line':>10}  {'end':>7}  {'memory':>7}  {'of 1/10':>7}")
        for command in COMMANDS:
            *_, before = measured(command, small)
            first, end, memory = measured(command, large)
            is_missed = first > FIRST_LINE_SECONDS or memory > before * MOST_GROWTH
            missed += is_missed
            print(
                f"{first:8.2f} s  {end:5.1f} s  {memory:3.0f} MiB  {before:3.0f} MiB  "
                f"{' '.join(command)}{'  MISSED' if is_missed else ''}"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
