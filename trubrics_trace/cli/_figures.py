"""What many prompts come to: counted one at a time, in bounded memory."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..delivery._reader import Kept

_MOST_GROUPS = 20_000  # of users, or of threads; what comes beyond is counted as others'
_MOST_LATEST = 200
LEFT = ("stopped", "cancelled")  # a stop button is the one or the other, by framework
_DIGITS = 2  # of a time, that are kept: a thousand prompts have some hundred times


class Seconds:
    """Times in two digits: millions take no more room than hundreds."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()

    def add(self, seconds: Any) -> None:
        """Take a time in; what is no number is passed over."""
        if (rounded := _in_digits(seconds)) is not None:
            self.count(rounded)

    def count(self, rounded: float) -> None:
        """Take a time in that has its two digits already."""
        self._counts[rounded] += 1

    def quantile(self, share: float) -> float | None:
        """Return the time within which that share ended; None where there is none."""
        wanted, seen = share * self._counts.total(), 0
        for seconds in sorted(self._counts):
            seen += self._counts[seconds]
            if seen >= wanted:
                return seconds
        return None


class Told(NamedTuple):
    """What a prompt says of itself, read once for all groups that it is in."""

    user: Any
    status: str
    input_tokens: int
    output_tokens: int
    latency: float | None
    at: str


def told_in(values: dict[str, Any]) -> Told:
    """Read what a prompt's values say."""
    return Told(
        values.get("user_id"),
        str(values.get("status")),
        _count(values.get("input_tokens")),
        _count(values.get("output_tokens")),
        _in_digits(values.get("latency_seconds")),
        str(values.get("started_at") or ""),
    )


@dataclasses.dataclass(slots=True)
class Group:
    """What the prompts of one user, thread or model come to."""

    name: str | None
    user: str | None = None  # of a thread: whose it was last
    prompts: int = 0
    statuses: Counter[str] = dataclasses.field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    latency: Seconds = dataclasses.field(default_factory=Seconds)
    last: str = ""

    def add(self, told: Told) -> None:
        """Take a prompt in."""
        self.prompts += 1
        self.statuses[told.status] += 1
        self.input_tokens += told.input_tokens
        self.output_tokens += told.output_tokens
        if told.latency is not None:
            self.latency.count(told.latency)
        self.user = told.user
        self.last = max(self.last, told.at)

    def share(self, *statuses: str) -> float:
        """Return how many of its prompts ended so, from 0 to 1."""
        count = sum(self.statuses[status] for status in statuses)
        return count / self.prompts if self.prompts else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "name": self.name,
            "prompts": self.prompts,
            "statuses": dict(self.statuses),
            "stop_rate": round(self.share(*LEFT), 4),
            "error_rate": round(self.share("error"), 4),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "latency_seconds": {
                "median": self.latency.quantile(0.5),
                "p95": self.latency.quantile(0.95),
            },
            "last": self.last or None,
        }


class Groups:
    """Groups by name, of which a bounded number has a place of its own."""

    def __init__(self, most: int = _MOST_GROUPS) -> None:
        self._most = most
        self._groups: dict[str | None, Group] = {}
        self.others = Group("others")

    def add(self, name: str | None, told: Told) -> None:
        """Take a prompt in, under this name."""
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= self._most:
                self.others.add(told)
                return
            group = self._groups[name] = Group(name)
        group.add(told)

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def named(self) -> int:
        """How many there are but for nobody's."""
        return len(self._groups.keys() - {None})

    def prompts_of(self, name: str | None) -> int:
        """Return how many prompts stand under a name."""
        group = self._groups.get(name)
        return group.prompts if group else 0

    def largest(self, count: int) -> list[Group]:
        """Return those with the most prompts."""
        return heapq.nlargest(count, self._groups.values(), key=lambda one: one.prompts)


class Figures:
    """All that a report tells.

    Attributes:
        all: What all prompts come to.
        users: By user; None is nobody.
        threads: By thread, of the prompts that have one.
        models: By model.
        first_token: How long the first words took, where they were streamed.
        hours: Prompts by the hour in which they began (`2026-01-02T03`) and by status.
    """

    def __init__(self) -> None:
        self.all = Group("all")
        self.users = Groups()
        self.threads = Groups()
        self.models = Groups()
        self.first_token = Seconds()
        self.hours: dict[str, Counter[str]] = {}
        self.first = ""
        self._latest: list[tuple[float, int, dict[str, Any]]] = []

    def add(self, kept: Kept) -> None:
        """Take a record in; what is no prompt counts in nothing here."""
        values = kept.values
        if values.get("kind") != "prompt":
            return
        told = told_in(values)
        self.all.add(told)
        self.users.add(_text(told.user), told)
        if values.get("thread_id"):
            self.threads.add(_text(values["thread_id"]), told)
        self.models.add(_text(values.get("model")), told)
        self.first_token.add(values.get("first_token_seconds"))
        began = kept.began
        if began is not None:
            self.first = min(self.first or told.at, told.at)
            hour = told.at[:13]
            if hour not in self.hours:
                self.hours[hour] = Counter()
            self.hours[hour][told.status] += 1
        entry = ((began or 0.0) + kept.lasted, self.all.prompts, values)
        if len(self._latest) < _MOST_LATEST:
            heapq.heappush(self._latest, entry)
        else:
            heapq.heappushpop(self._latest, entry)

    @property
    def latest(self) -> list[dict[str, Any]]:
        """The prompts that ended last, newest first."""
        newest_first = sorted(self._latest, key=lambda one: one[:2], reverse=True)
        return [values for *_, values in newest_first]

    def to_dict(self) -> dict[str, Any]:
        """Return what a report tells, for programs; no text of anybody's."""
        return {
            **self.all.to_dict(),
            "first": self.first or None,
            "first_token_seconds": {
                "median": self.first_token.quantile(0.5),
                "p95": self.first_token.quantile(0.95),
            },
            "users": [one.to_dict() for one in self.users.largest(100)],
            "threads": [
                {**one.to_dict(), "user": one.user} for one in self.threads.largest(100)
            ],
            "models": [one.to_dict() for one in self.models.largest(100)],
            "user_count": self.users.named,
            "thread_count": self.threads.named,
        }


def figures_of(each: Iterable[Kept]) -> Figures:
    """Return the figures of these records."""
    figures = Figures()
    for kept in each:
        figures.add(kept)
    return figures


def _in_digits(seconds: Any) -> float | None:
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
        return float(f"{seconds:.{_DIGITS}g}")
    return None


def _count(tokens: Any) -> int:
    return tokens if isinstance(tokens, int) else 0


def _text(value: Any) -> str | None:
    return str(value) if value else None
