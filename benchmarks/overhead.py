"""What recording adds to one fake chat call: microseconds of CPU, stage by stage.

    python -m benchmarks.overhead [ROUNDS] [--quick]
    python -m benchmarks.overhead --rate 200   # so many calls a second

Each way of recording is measured in a process of its own, all of them in turn, round by
round; of each the lowest counts, because a busy machine only ever adds. `caller` is the
thread that asks, `process` is all of it, until a server on loopback has every record. A
run in which the no-op handler comes out faster than nothing is worth nothing, and leaves
no trace; any other is kept in `benchmarks/results.json`, and drawn in `docs/overhead.svg`.

Calls one upon the other find everything in the processor's caches; at a rate each finds
them cold, as in an app that waits for its model.
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
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

from benchmarks.drawing import draw
from benchmarks.results import keep
from benchmarks.ways import PEERS, STAGES, Recording, recording

ROUNDS, ROUNDS_QUICK = 11, 2
CHUNKS, CALLS = 6, 200  # of a round: the lowest chunk counts
ROUNDS_AT_A_RATE, CHUNKS_AT_A_RATE, CALLS_AT_A_RATE = 5, 3, 100  # they take their time
WARM_UP = 200  # calls, in which everything is imported, opened and specialised

COLUMNS = ("caller sync", "caller async", "process sync", "process async")


def measured(way: Recording, rate: float) -> list[float]:
    """Return the microseconds of a call, in the order of the columns.

    At a rate the waits between the calls are among them, as they are for every way.
    """

    def sync(calls: int, seconds: float) -> None:
        for early in due(calls, seconds):
            if early:
                time.sleep(early)
            way.ask("alice")

    def in_loop(calls: int, seconds: float) -> None:
        async def ask_all() -> None:
            for early in due(calls, seconds):
                if early:
                    await asyncio.sleep(early)
                await way.aask("alice")

        loop.run_until_complete(ask_all())

    loop = asyncio.new_event_loop()
    found = [lowest_of(ask, way.finish, rate) for ask in (sync, in_loop)]
    loop.close()
    return [column for columns in zip(*found, strict=True) for column in columns]


def lowest_of(
    ask: Callable[[int, float], None], finish: Callable[[], object], rate: float
) -> tuple[float, float]:
    """Return the microseconds of a call: of its caller, of its process."""
    chunks, calls = (CHUNKS_AT_A_RATE, CALLS_AT_A_RATE) if rate else (CHUNKS, CALLS)
    ask(WARM_UP, 0)
    finish()
    callers, processes = [], []
    for _ in range(chunks):
        caller, process = time.thread_time(), time.process_time()
        ask(calls, 1 / rate if rate else 0)
        callers.append(time.thread_time() - caller)
        finish()
        processes.append(time.process_time() - process)
    return min(callers) / calls * 1e6, min(processes) / calls * 1e6


def due(calls: int, seconds: float) -> Iterator[float]:
    """Yield, before each call, how many seconds it is early."""
    started = time.monotonic()
    for number in range(calls):
        yield max(0.0, started + number * seconds - time.monotonic()) if seconds else 0.0


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


def lowest_of_rounds(rounds: int, rate: float) -> dict[str, list[float]]:
    """Return the lowest microseconds of each way, over interleaved rounds."""
    names = [*STAGES, *(name for name in PEERS if is_here(name))]
    lowest: dict[str, list[float]] = {}
    with served() as url:
        for _ in range(rounds):
            for name in names:
                words = ["--rate", str(rate), "--only", name, url]
                command = [sys.executable, "-m", __spec__.name, *words]
                printed = subprocess.run(command, capture_output=True, check=True).stdout
                found = json.loads(printed.splitlines()[-1])
                lowest[name] = [*map(min, lowest.get(name, found), found)]
    return lowest


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
            print(json.dumps(measured(way, options.rate)))
        return
    rounds = ROUNDS_AT_A_RATE if options.rate else ROUNDS
    rounds = ROUNDS_QUICK if options.quick else options.rounds or rounds
    lowest = lowest_of_rounds(rounds, options.rate)
    bare = lowest.pop("nothing")
    added = {
        name: [round(value - least, 1) for value, least in zip(columns, bare, strict=True)]
        for name, columns in lowest.items()
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
