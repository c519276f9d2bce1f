"""An app that records at a steady rate, and says so of each call that has returned.

    python -m benchmarks.faults.apps.steady --events 2000 --rate 200 --flush 60

An event is called by its name and number; with `--model` it is a prompt to a fake chat
model. After each call its number is printed with one write: what was printed had returned.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

from trubrics_trace import flush, stats, track_event, trubrics_scope

from . import balance


def main() -> None:
    """Record, flush where asked, and tell how the counts stand."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=200.0, help="0: as fast as can be")
    parser.add_argument("--name", default="event")
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--poisoned", type=int, default=-1, help="a number")
    parser.add_argument("--texts", type=int, default=0, help="of 1,000 characters each")
    parser.add_argument("--large", type=int, default=-1, help="a number: of 90,000 more")
    parser.add_argument("--flush", type=float, default=0.0, help="seconds at most")
    options = parser.parse_args()

    def text_of(number: int) -> dict[str, str]:
        texts = {f"text_{at}": "x" * 1000 for at in range(options.texts)}
        if number == options.large:
            texts.update({f"large_{at}": "x" * 30_000 for at in range(3)})
        return texts

    record = recorder(is_model=options.model)
    started = time.monotonic()
    is_balanced = True
    for number in range(options.events):
        if options.rate:
            time.sleep(max(0.0, started + number / options.rate - time.monotonic()))
        name = "poisoned" if number == options.poisoned else options.name
        record(f"{name} {number}", text_of(number))
        os.write(1, f"{number}\n".encode())
        if number % 100 == 0:
            is_balanced = is_balanced and stats().is_balanced
    report = flush(options.flush) if options.flush else None
    balance.say(flushed=bool(report), is_balanced=is_balanced and stats().is_balanced)


def recorder(*, is_model: bool) -> Callable[[str, dict[str, str]], None]:
    """Return what records one event by its name."""
    if not is_model:
        return lambda name, texts: track_event(name, user_id="alice", **texts)
    from langchain_core.language_models import FakeListChatModel

    model = FakeListChatModel(responses=["42"])

    def ask(name: str, texts: dict[str, str]) -> None:
        with trubrics_scope(user_id="alice", metadata=texts):
            model.invoke(name)

    return ask


if __name__ == "__main__":
    main()
