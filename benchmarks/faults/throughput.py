"""What our delivery carries and costs, beside the official client's in the same run.

    python -m benchmarks.faults.throughput

Line 17: on one connection, with answers of 50 ms, at least 1,500 events/s (of 2,000: a
batch holds 100); with answers of 2 s at least 45/s (of 50). In a burst of 10,000 events,
answered at once, the whole process takes at most 2.5 times the official client's CPU per
delivered event; the figure at 200/s stands beside it. Both clients are made with their
defaults and take turns; of three rounds the median counts, and the medians of the ratio.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from .app import App, spool
from .report import Figure, Report, arguments
from .server import serving

WHO = ("ours", "official")


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
    return told


def speed(
    report: Report, delay: float, at_least: float, events: dict[str, int], rounds: int
) -> None:
    """Print events a second with answers that take so long."""
    rates: dict[str, list[float]] = {whose: [] for whose in WHO}
    lost = connections = 0
    for _ in range(rounds):
        for whose in WHO:
            told = burst(whose, "track", events[whose], delay=delay)
            rates[whose].append(events[whose] / told["seconds"])
            if whose == "ours":
                lost += told["lost"]
                connections = max(connections, told["connections"])
    report.row(
        f"answers of {delay * 1000:,.0f} ms",
        Figure("events/s", median(rates["ours"]), at_least=at_least),
        Figure("official's", median(rates["official"])),
        Figure("connections", connections, at_most=1),
        Figure("lost", lost, at_most=0),
    )


def cost(
    report: Report, word: str, events: int, rounds: int, *, rate: float, most: float | None
) -> None:
    """Print the microseconds of CPU per delivered event, ours and theirs."""
    taken: dict[str, list[float]] = {whose: [] for whose in WHO}
    calls: dict[str, list[float]] = {whose: [] for whose in WHO}
    for _ in range(rounds):
        for whose in WHO:
            told = burst(whose, word, events, rate=rate)
            delivered = events - told["lost"]
            taken[whose].append(told["cpu_seconds"] / delivered * 1e6)
            calls[whose].append(told["tracked_seconds"] / events * 1e6)
    ratios = [
        ours / theirs for ours, theirs in zip(taken["ours"], taken["official"], strict=True)
    ]
    how = f"at {rate:g}/s" if rate else f"in a burst of {events:,}"
    report.row(
        f"CPU of `{word}` {how}",
        Figure("ratio", median(ratios), at_most=most),
        Figure("ours us/event", median(taken["ours"])),
        Figure("official's", median(taken["official"])),
        *([] if rate else [Figure("wall us/call", median(calls["ours"]))]),
    )


def main() -> int:
    """Print a row a measurement; 0 if each is within its bound."""
    options = arguments(__doc__).parse_args()
    report = Report("17", as_json=options.json)
    rounds, share = (1, 5) if options.quick else (3, 1)
    for word in ("track", "track_llm"):
        cost(report, word, 10_000 // share, rounds, rate=0, most=2.5)
    speed(report, 0.05, 1500, {"ours": 10_000 // share, "official": 1000 // share}, rounds)
    speed(report, 2.0, 45, {"ours": 1000, "official": 40}, rounds)
    for word in ("track", "track_llm"):
        cost(report, word, 2000 // share, rounds, rate=200, most=None)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
