"""An app that forks while its threads record and log; each child records one event.

    python -m benchmarks.faults.apps.forking 1000

Every second child ends at once, the others as a program ends. One that has not ended
after 30 s hangs: it is counted, and killed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings

from trubrics_trace import flush, track_event

from . import balance

_THREADS = 8
_HUNG_SECONDS = 30.0

log = logging.getLogger(__name__)


def main(forks: int) -> None:
    """Fork that often, one child at a time, and tell how it went."""
    # Lines go to stderr, as by default, and nobody reads them. A file that Python buffers
    # would not do: its lock hangs children of CPython by itself, without us.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.basicConfig(level=logging.DEBUG)
    # 3.12 warns of any fork beside threads: here that is the point.
    warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
    is_over = threading.Event()
    counts = [0] * _THREADS

    def work(thread: int) -> None:
        while not is_over.wait(0.005):
            track_event(f"thread {thread}.{counts[thread]}", user_id="alice")
            counts[thread] += 1
            for _ in range(20):
                log.debug("busy")

    threads = [
        threading.Thread(target=work, args=(thread,), daemon=True)
        for thread in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    seconds: list[float] = []
    hung = failed = 0
    for number in range(forks):
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            log.debug("born")
            track_event(f"child {number}", user_id="bob")
            if number % 2:
                sys.exit()
            os._exit(0)
        ended = status_of(child)
        hung += ended is None
        failed += ended not in (0, None)
        seconds.append(time.monotonic() - started)
    is_over.set()
    for thread in threads:
        thread.join()
    flush(120)
    balance.say(hung=hung, failed=failed, longest=max(seconds), threads=counts)


def status_of(child: int) -> int | None:
    """Return a child's status at its end, or None where it had to be killed."""
    deadline = time.monotonic() + _HUNG_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    main(int(sys.argv[1]))
