"""What recording adds to one fake chat call: microseconds of CPU, stage by stage.

    python -m benchmarks.overhead [ROUNDS]     also as `make bench`

Each way of recording is measured in a process of its own, all of them in turn, round by
round; of each the lowest counts, because a busy machine only ever adds. `caller` is the
thread that asks, `process` is all of it, until a server on loopback has every record. A
run in which the no-op handler comes out faster than nothing is worth nothing, and leaves
no trace; any other is kept in `benchmarks/results.json`, and drawn in `docs/overhead.svg`.
"""

from __future__ import annotations

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

from benchmarks.results import draw, keep
from benchmarks.ways import PEERS, STAGES, Recording, recording

ROUNDS = 11
CHUNKS, CALLS = 6, 200  # of a round: the lowest chunk counts
WARM_UP = 200  # calls, in which everything is imported, opened and specialised

COLUMNS = ("caller sync", "caller async", "process sync", "process async")


def measured(way: Recording) -> list[float]:
    """Return the microseconds of a call, in the order of the columns."""

    def sync(calls: int) -> None:
        for _ in range(calls):
            way.ask("alice")

    def in_loop(calls: int) -> None:
        async def ask_all() -> None:
            for _ in range(calls):
                await way.aask("alice")

        loop.run_until_complete(ask_all())

    loop = asyncio.new_event_loop()
    found = [lowest_of(ask, way.finish) for ask in (sync, in_loop)]
    loop.close()
    return [column for columns in zip(*found, strict=True) for column in columns]


def lowest_of(
    ask: Callable[[int], None], finish: Callable[[], object]
) -> tuple[float, float]:
    """Return the microseconds of a call: of its caller, of its process."""
    ask(WARM_UP)
    finish()
    callers, processes = [], []
    for _ in range(CHUNKS):
        caller, process = time.thread_time(), time.process_time()
        ask(CALLS)
        callers.append(time.thread_time() - caller)
        finish()
        processes.append(time.process_time() - process)
    return min(callers) / CALLS * 1e6, min(processes) / CALLS * 1e6


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


def lowest_of_rounds(rounds: int) -> dict[str, list[float]]:
    """Return the lowest microseconds of each way, over interleaved rounds."""
    names = [*STAGES, *(name for name in PEERS if is_here(name))]
    lowest: dict[str, list[float]] = {}
    with served() as url:
        for _ in range(rounds):
            for name in names:
                command = [sys.executable, "-m", __spec__.name, "--only", name, url]
                printed = subprocess.run(command, capture_output=True, check=True).stdout
                found = json.loads(printed.splitlines()[-1])
                lowest[name] = [*map(min, lowest.get(name, found), found)]
    return lowest


def is_here(peer: str) -> bool:
    """Whether a peer is installed: the official client always is."""
    return " " in peer or find_spec(peer) is not None


def main() -> None:
    """Print what each way adds to nothing."""
    if "--only" in sys.argv:
        with recording(*sys.argv[2:]) as way:
            print(json.dumps(measured(way)))
        return
    lowest = lowest_of_rounds(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
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
    keep(
        "overhead",
        {
            "unit": "microseconds of CPU that are added to a call",
            "columns": COLUMNS,
            "nothing": [round(value, 1) for value in bare],
            **added,
        },
    )
    draw(
        "overhead",
        "CPU that recording adds to one model call",
        {name: values[:2] for name, values in added.items()},
        ("sync", "async"),
        "µs",
    )


if __name__ == "__main__":
    main()
