"""A real gunicorn whose preloaded workers are killed loses none that it has answered for.

    python -m benchmarks.faults.workers

Line 11: `gunicorn --preload` with 4 workers, one killed each second for 30 s under load:
of those calls whose HTTP answer arrived 0 are lost after run 2, and at most one batch a
kill is doubled.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import signal
import sys
import threading
import time

from .app import App, spool
from .outcome import figures_of, names_of, ours_of, run_again
from .report import Figure, Report, arguments
from .server import serving

_BATCH = 100
_CLIENTS = 8
_RATE_A_CLIENT = 25.0


class Load:
    """Clients that ask, one question after another, until they are stopped.

    Attributes:
        answered: The numbers of the questions whose answers have arrived.
        unanswered: How many have not.
        worker: The process that answered last.
    """

    def __init__(self, port: int) -> None:
        self.answered: set[int] = set()
        self.unanswered = 0
        self.unbalanced = 0
        self.worker = 0
        self._port = port
        self._numbers = itertools.count()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop asking, once the last answers are there."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self) -> None:
        while not self._is_over.wait(1 / _RATE_A_CLIENT):
            number = next(self._numbers)
            try:
                self.worker = int(self._get(f"/ask/{number}"))
                self.answered.add(number)
                if number % 50 == 0:
                    self.unbalanced += self._get("/balance") == b"0"
            except (OSError, http.client.HTTPException):
                self.unanswered += 1

    def _get(self, path: str) -> bytes:
        asking = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(asking):
            asking.request("GET", path)
            answer = asking.getresponse()
            said = answer.read()
            if answer.status != 200:
                message = f"{path}: {answer.status}"
                raise http.client.HTTPException(message)
            return said


def killing(report: Report, seconds: int) -> None:
    """Print what becomes of the calls of workers that are killed one after another."""
    with serving() as server, spool() as spool_dir:
        gunicorn = App("chat", spool_dir, server.url)
        load = Load(port_of(gunicorn))
        kills = 0
        for _ in range(seconds):
            time.sleep(1.0)
            if load.worker:
                with contextlib.suppress(ProcessLookupError):  # it was the last one's
                    os.kill(load.worker, signal.SIGKILL)
                    kills += 1
                    load.worker = 0
        load.stop()
        gunicorn.kill(signal.SIGTERM)
        told = run_again(spool_dir, server.url)
        wanted = names_of(map(str, [-1, *load.answered]))
        report.row(
            f"{kills} workers of 4 killed in {seconds} s",
            Figure("answered", len(load.answered), at_least=seconds * 20),
            Figure("unanswered", load.unanswered),
            *figures_of(wanted, server, spool_dir, told, duplicates=kills * _BATCH),
            Figure("unbalanced workers", load.unbalanced, at_most=0),
            Figure("stored unanswered", len(ours_of(server.seen()) - wanted)),
        )


def port_of(gunicorn: App) -> int:
    """Return the port that gunicorn says it listens on."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and gunicorn.is_running:
        for line in list(gunicorn.errors):
            said = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line)
            if said:
                return int(said[1])
        time.sleep(0.05)
    message = f"gunicorn does not listen: {''.join(gunicorn.errors)}"
    raise RuntimeError(message)


def main() -> int:
    """Print a row; 0 if it holds."""
    options = arguments(__doc__).parse_args()
    report = Report("11", as_json=options.json)
    killing(report, 8 if options.quick else 30)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
