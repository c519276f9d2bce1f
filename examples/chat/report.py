"""What was recorded, held against what was asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import users
from .screen import GREEN, RED, painted, say, table

Event = Mapping[str, Any]
INTERRUPTED = {"stopped", "cancelled"}


@dataclass(frozen=True, slots=True)
class Counts:
    """The same thing, counted by three who know nothing of each other."""

    witness: str
    requests: int
    records: int
    delivered: int

    @property
    def agree(self) -> bool:
        """Whether all three tell the same number."""
        return self.requests == self.records == self.delivered


def show(events: Sequence[Event], counts: Counts) -> None:
    """Show who asked what, and the three counts side by side."""
    heads = ("user", "asked", "status", "in", "out", "first", "latency")
    say()
    table(heads, [_row(event) for event in sorted(events, key=_by_user)], numbers=4)
    say()
    say(f"{counts.requests:>4}  requests to the model, {counts.witness}")
    say(f"{counts.records:>4}  records through structlog")
    say(f"{counts.delivered:>4}  unique records at the ingestion server")
    say()


def verdict(events: Sequence[Event], counts: Counts) -> int:
    """Return 0 if the story is whole, else 1, having said what is wrong with it."""
    faults = list(_faults(events, counts))
    for fault in faults:
        say(painted(f"✗ {fault}", RED))
    if not faults:
        say(painted("✓ every prompt stands under its user; all counts agree", GREEN))
    return 1 if faults else 0


def _faults(events: Sequence[Event], counts: Counts) -> Iterator[str]:
    if not counts.agree:
        yield (
            f"the counts differ: {counts.requests} requests, {counts.records} records,"
            f" {counts.delivered} delivered"
        )
    asked, interrupted = users.asked(), users.interrupted()
    recorded = {event["prompt"] for event in events}
    missing = [question for question in asked if question not in recorded]
    if missing:
        yield f"{len(missing)} questions were not recorded, the first “{missing[0]}”"
    for event in events:
        question, status = event["prompt"], event["properties"]["status"]
        if question not in asked:
            yield f"“{question}” was recorded, and nobody asked it"
        elif _user(event) != asked[question]:
            yield (
                f"“{question}” was asked by {asked[question] or 'nobody we know'},"
                f" and stands under {_user(event) or 'nobody'}"
            )
        expected = INTERRUPTED if question in interrupted else {"complete"}
        if status not in expected:
            yield f"“{question}” ended as {status}, not as {' or '.join(expected)}"


def _user(event: Event) -> str | None:
    """Return the user that an event names; on the wire, nobody has a name too."""
    name = str(event["user_id"])
    return None if name.partition(":")[0] == "anonymous" else name


def _by_user(event: Event) -> tuple[bool, str, str]:
    return _user(event) is None, event["user_id"], event["properties"]["started_at"]


def _row(event: Event) -> tuple[str, ...]:
    told = event["properties"]
    return (
        event["user_id"],
        event["prompt"],
        told["status"],
        str(told.get("input_tokens", "-")),
        str(told.get("output_tokens", "-")),
        _seconds(told.get("first_token_seconds")),
        _seconds(event.get("latency")),
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
