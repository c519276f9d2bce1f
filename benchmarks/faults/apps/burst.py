"""An app that tracks by hand with one of two clients, and tells what that took.

    python -m benchmarks.faults.apps.burst ours track 10000 0

Prints a line of JSON: seconds, and CPU seconds of the whole process, from the first of
the events to the acknowledgement of the last. What each client imports at its first event
is not counted: one event goes before.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from trubrics import Trubrics

from ..server import KEY

WARM_UP = "warm-up"


def main(whose: str, word: str, events: int, rate: float, host: str) -> None:
    """Track as many events as asked, `rate` a second, or as fast as can be for 0."""
    client = client_of(whose, host)
    if whose == "ours":  # the official client's thread would end with its close
        track(client, word, WARM_UP)
        client.flush(60)
    started, cpu = time.monotonic(), time.process_time()
    for number in range(events):
        if rate:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        track(client, word, f"event {number}")
    tracked = time.monotonic()
    if whose == "ours":
        client.flush(600)
    else:
        client.close()
    told = {
        "tracked_seconds": tracked - started,
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu,
    }
    sys.stdout.write(json.dumps({**told, **balance(whose)}) + "\n")


def client_of(whose: str, host: str) -> Any:
    """Return a client as its users make it."""
    if whose == "ours":
        from trubrics_trace import DurableTrubrics

        return DurableTrubrics(api_key=KEY, host=host)
    return Trubrics(api_key=KEY, host=host)


def track(client: Any, word: str, name: str) -> None:
    """Track one event with a few properties."""
    properties = {"plan": "pro", "page": "/settings", "count": 3}
    if word == "track":
        client.track(user_id="alice", event=name, properties=properties)
    else:
        client.track_llm(
            user_id="alice",
            prompt=name,
            generation="An answer of some length, as a model would give it. " * 5,
            assistant_id="gpt-4o-mini",
            properties=properties,
            latency=1.25,
            thread_id="thread-1",
        )


def balance(whose: str) -> dict[str, Any]:
    """Return how our own counts stand."""
    if whose != "ours":
        return {}
    from trubrics_trace import stats

    now = stats()
    return {"is_balanced": now.is_balanced, "pending": now.pending}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
