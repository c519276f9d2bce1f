"""What our delivery carries and costs, beside the official client's in the same run.

    python -m benchmarks.delivery

Both clients are made with their defaults, track the same events, and take turns; a server
on loopback, in a process of its own, answers after so long. Events a second are those from
the first call to the last answer, ours over one connection; CPU is that of the whole
process, by delivered event. Of three rounds the median counts, and so for the ratio: ours
is to carry 8 times as much where an answer takes 50 ms, 9 times where it takes 2 s, and to
take at most 2.5 times the CPU in a burst.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.drawing import draw
from benchmarks.faults.app import App, spool
from benchmarks.faults.report import Figure, Report, arguments
from benchmarks.faults.server import serving
from benchmarks.results import keep

WHO = ("ours", "official")
WORDS = ("track", "track_llm")

# Seconds that an answer takes: how many times the official's events/s ours is to carry,
# and how many events each is given, so that neither takes more than half a minute.
ANSWERS: Mapping[float, tuple[float | None, dict[str, int]]] = {
    0: (None, {"ours": 10_000, "official": 10_000}),
    0.05: (8, {"ours": 10_000, "official": 1000}),
    2.0: (9, {"ours": 1000, "official": 40}),
}
MOST_CPU_RATIO = 2.5

Told = dict[str, list[dict[str, Any]]]  # by whose it is: what each round told


def burst(
    whose: str, word: str, events: int, *, rate: float = 0, delay: float = 0
) -> dict[str, Any]:
    """Let one client carry so many events; return what it took, all being there."""
    with serving() as server, spool() as spool_dir:
        if delay:
            server.delay(delay)
        app = App("burst", spool_dir, server.url, whose, word, events, rate, server.url)
        told = app.ended(600)
        seen = server.seen()
    told["lost"] = events - len(seen.names - {"warm-up"})
    told["connections"] = seen.most_connections
    told["events_a_second"] = events / told["seconds"]
    told["cpu_micros"] = told["cpu_seconds"] / (events - told["lost"]) * 1e6
    told["call_micros"] = told["tracked_seconds"] / events * 1e6
    return told


def in_turns(rounds: int, word: str, events: Mapping[str, int], **how: float) -> Told:
    """Let both clients carry their events, one after the other, so many times."""
    told: Told = {whose: [] for whose in WHO}
    for _ in range(rounds):
        for whose in WHO:
            told[whose].append(burst(whose, word, events[whose], **how))
    return told


def compared(told: Told, figure: str) -> list[float]:
    """Return the medians of a figure: ours, the official client's, and of the ratio."""
    ours, official = ([one[figure] for one in told[whose]] for whose in WHO)
    ratios = [mine / theirs for mine, theirs in zip(ours, official, strict=True)]
    return [round(median(values), 2) for values in (ours, official, ratios)]


def speed(report: Report, seconds: float, rounds: int, share: int) -> list[float]:
    """Print, and return, events a second with answers that take so long."""
    at_least, events = ANSWERS[seconds]
    if seconds < 1:
        events = {whose: count // share for whose, count in events.items()}
    told = in_turns(rounds, "track", events, delay=seconds)
    ours, official, ratio = compared(told, "events_a_second")
    report.row(
        f"answers of {seconds * 1000:,.0f} ms",
        Figure("events/s", ours),
        Figure("official's", official),
        Figure("ratio", ratio, at_least=at_least),
        Figure("connections", max(one["connections"] for one in told["ours"]), at_most=1),
        Figure("lost", sum(one["lost"] for one in told["ours"]), at_most=0),
    )
    return [ours, official, ratio]


def cost(report: Report, word: str, events: int, rounds: int, rate: float) -> list[float]:
    """Print, and return, the microseconds of CPU per delivered event."""
    told = in_turns(rounds, word, dict.fromkeys(WHO, events), rate=rate)
    ours, official, ratio = compared(told, "cpu_micros")
    report.row(
        f"CPU of `{word}` {way(rate)}",
        Figure("ratio", ratio, at_most=None if rate else MOST_CPU_RATIO),
        Figure("ours us/event", ours),
        Figure("official's", official),
        *([] if rate else [Figure("wall us/call", compared(told, "call_micros")[0])]),
    )
    return [ours, official, ratio]


def way(rate: float) -> str:
    """Return how events come."""
    return f"at {rate:g}/s" if rate else "in a burst"


def main() -> int:
    """Print a row a measurement; 0 if each is within its bound."""
    options = arguments(__doc__).parse_args()
    report = Report("", as_json=options.json)
    rounds, share = (1, 5) if options.quick else (3, 1)
    micros = {
        f"`{word}` {way(rate)}": cost(report, word, events // share, rounds, rate)
        for rate, events in ((0, 10_000), (200, 2000))
        for word in WORDS
    }
    rates = {
        f"answers of {seconds * 1000:,.0f} ms": speed(report, seconds, rounds, share)
        for seconds in ANSWERS
    }
    if not options.quick:
        keep_all(rates, micros)
    return report.exit_code


def keep_all(rates: dict[str, list[float]], micros: dict[str, list[float]]) -> None:
    """Keep the figures, and draw the CPU of an event."""
    columns = ("ours", "the official client", "ratio")
    unit = "events a second, on one connection"
    keep("delivery", {"unit": unit, "columns": columns, **rates})
    drawing = draw(
        "delivery",
        "CPU that a delivered event takes",
        {name.replace("`", ""): figures[:2] for name, figures in micros.items()},
        columns[:2],
        "µs",
    )
    unit = "microseconds of CPU, of the whole process, by delivered event"
    told = {"unit": unit, "columns": columns, "drawing": drawing}
    keep("delivery CPU", {**told, **micros})


if __name__ == "__main__":
    sys.exit(main())
