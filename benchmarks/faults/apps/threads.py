"""An app with many threads that record as fast as they can.

python -m benchmarks.faults.apps.threads 32 1000
"""

from __future__ import annotations

import sys
import threading

from trubrics_trace import flush, track_event

from . import balance


def main(threads: int, events: int) -> None:
    """Record so many events in each thread, and flush."""

    def work(thread: int) -> None:
        for number in range(events):
            track_event(f"event {thread * events + number}", user_id="alice")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    balance.say(flushed=bool(flush(120)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
