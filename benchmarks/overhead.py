"""What recording adds to one fake chat call: microseconds of CPU, stage by stage.

    python -m benchmarks.overhead [ROUNDS] [--quick]
    python -m benchmarks.overhead --rate 200   # so many calls a second

Each way of recording is measured in a process of its own, all of them in turn, round by
round; of each the lowest counts, because a busy machine only ever adds. `caller` is the
thread that asks, `process` is all of it, until a server on loopback has every record. A
run in which the no-op handler comes out faster than nothing is worth nothing, and leaves
no trace; any other is kept in `benchmarks/results.json`, and drawn in `docs/overhead.svg`.

Calls one upon the other find everything in the processor's caches; at a rate each finds
them cold, as in an app that waits for its model. There each process asks with and without
by turns, and the call in the middle counts: from one process to the next a cold call
differs by more than what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from statistics import mean, median

from benchmarks.drawing import draw
from benchmarks.results import keep
from benchmarks.ways import PEERS, STAGES, Recording, recording

ROUNDS, ROUNDS_QUICK = 11, 2
CHUNKS, CALLS = 6, 200  # of a round: the lowest chunk counts
ROUNDS_AT_A_RATE, CHUNKS_AT_A_RATE, CALLS_AT_A_RATE = 5, 3, 100  # they take their time
WARM_UP = 200  # calls, in which everything is imported, opened and specialised

COLUMNS = ("caller sync", "caller async", "process sync", "process async")


class Asking:
    """Asks by turns, and keeps what each call has taken of its thread: seconds.

    Args:
        ways: The one that is measured last.
        rate: Calls a second; 0 for one upon the other.
    """

    def __init__(self, ways: Sequence[Recording], rate: float) -> None:
        self._ways = ways
        self._rate = rate
        self._loop = asyncio.new_event_loop()
        self._taken: list[list[float]] = []

    def sync(self, calls: int, rate: float) -> None:
        """Ask each way so many times, in this thread."""
        for turn, early in self._due(calls, rate):
            if early:
                time.sleep(early)
            started = time.thread_time()
            self._ways[turn].ask("alice")
            self._taken[turn].append(time.thread_time() - started)

    def in_loop(self, calls: int, rate: float) -> None:
        """Ask each way so many times, in a task."""

        async def ask_all() -> None:
            for turn, early in self._due(calls, rate):
                if early:
                    await asyncio.sleep(early)
                started = time.thread_time()
                await self._ways[turn].aask("alice")
                self._taken[turn].append(time.thread_time() - started)

        self._loop.run_until_complete(ask_all())

    def _due(self, calls: int, rate: float) -> Iterator[tuple[int, float]]:
        """Yield, before each call, whose turn it is, and how many seconds it is early."""
        self._taken = [[] for _ in self._ways]
        started = time.monotonic()
        for number in range(calls * len(self._ways)):
            early = started + number / rate - time.monotonic() if rate else 0.0
            yield number % len(self._ways), max(0.0, early)

    def lowest(self, ask: Callable[[int, float], None]) -> tuple[float, float]:
        """Return the microseconds of a call, of its caller and of its process."""
        chunks, calls = CHUNKS, CALLS
        if self._rate:
            chunks, calls = CHUNKS_AT_A_RATE, CALLS_AT_A_RATE
        finish = self._ways[-1].finish
        ask(WARM_UP, 0)
        finish()
        callers, processes = [], []
        for _ in range(chunks):
            caller, process = time.thread_time(), time.process_time()
            ask(calls, self._rate)
            asking = time.thread_time() - caller
            finish()
            others = time.process_time() - process - asking
            callers.append(self._of_a_call())
            processes.append(callers[-1] + others / calls)
        middle = median if self._rate else min
        return middle(callers) * 1e6, middle(processes) * 1e6

    def _of_a_call(self) -> float:
        """Return what a call has taken: by turns, the one in the middle more."""
        if len(self._ways) == 1:
            return mean(self._taken[0])
        before, after = map(median, self._taken)
        return after - before

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()


def measured(ways: Sequence[Recording], rate: float) -> list[float]:
    """Return the microseconds of a call, in the order of the columns.

    Of two ways that are asked by turns, what the second takes more than the first.
    """
    asking = Asking(ways, rate)
    found = [asking.lowest(ask) for ask in (asking.sync, asking.in_loop)]
    asking.close()
    return [column for columns in zip(*found, strict=True) for column in columns]


class Server(BaseHTTPRequestHandler):
    """Takes everything, whoever it was meant for."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        """Read it all, and say that it is well."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serve on loopback during the block, from this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def found_in_rounds(rounds: int, rate: float) -> dict[str, list[float]]:
    """Return the microseconds of each way: the lowest of interleaved rounds.

    At a rate those of the round in the middle: they are differences already.
    """
    names = [*STAGES, *(name for name in PEERS if is_here(name))]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    with served() as url:
        for _ in range(rounds):
            for name in names:
                words = ["--rate", str(rate), "--only", name, url]
                command = [sys.executable, "-m", __spec__.name, *words]
                printed = subprocess.run(command, capture_output=True, check=True).stdout
                found[name].append(json.loads(printed.splitlines()[-1]))
    middle = median if rate else min
    return {
        name: [middle(column) for column in zip(*each, strict=True)]
        for name, each in found.items()
    }


def is_here(peer: str) -> bool:
    """Whether a peer is installed: the official client always is."""
    return " " in peer or find_spec(peer) is not None


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rounds", nargs="?", type=int)
    parser.add_argument("--quick", action="store_true", help="two rounds, not kept")
    parser.add_argument("--rate", type=float, default=0, help="calls a second")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Print what each way adds to nothing."""
    options = arguments()
    if options.only:
        with recording(*options.only) as way:
            by_turns = options.rate and options.only[0] != "nothing"
            ways = (Recording(), way) if by_turns else (way,)
            print(json.dumps(measured(ways, options.rate)))
        return
    rounds = ROUNDS_AT_A_RATE if options.rate else ROUNDS
    rounds = ROUNDS_QUICK if options.quick else options.rounds or rounds
    found = found_in_rounds(rounds, options.rate)
    bare = found.pop("nothing")
    without = [0.0 for _ in bare] if options.rate else bare
    added = {
        name: [round(value - less, 1) for value, less in zip(columns, without, strict=True)]
        for name, columns in found.items()
    }
    print(f"{'':26}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name, values in {"nothing": bare, **added}.items():
        print(f"{name:26}" + "".join(f"{value:15,.1f}" for value in values))
    if min(added["no-op handler"]) <= 0:
        sys.exit("the no-op handler came out faster than nothing: measure again")
    if not options.quick:
        keep_all(bare, added, options.rate)


def keep_all(bare: list[float], added: dict[str, list[float]], rate: float) -> None:
    """Keep the figures, and draw those of the caller."""
    at_a_rate = f" at {rate:g}/s" if rate else ""
    drawing = draw(
        f"overhead-{rate:g}" if rate else "overhead",
        f"CPU that recording adds to one model call{at_a_rate}",
        {name: values[:2] for name, values in added.items()},
        ("sync", "async"),
        "µs",
    )
    keep(
        f"overhead{at_a_rate}",
        {
            "unit": "microseconds of CPU that are added to a call",
            "columns": COLUMNS,
            "drawing": drawing,
            "nothing": [round(value, 1) for value in bare],
            **added,
        },
    )


if __name__ == "__main__":
    main()
