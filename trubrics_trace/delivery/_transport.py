"""The seam between delivery and its wire: one batch, one of three answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from .._record import Record

THREAD_NAME = "trubrics-trace"  # begins the name of each thread of delivery


@dataclasses.dataclass(frozen=True, slots=True)
class Delivered:
    """The destination has the whole batch."""


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """Nobody knows, or not now: send it again, not before `after_seconds`."""

    why: str
    after_seconds: float = 0.0
    is_refused_key: bool = False
    is_heard: bool = True  # else no connection was made: to try again burdens nobody


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """The destination will not have it.

    Attributes:
        why: What it said, without what it was sent.
        guilty: Positions in the batch that it named.
        is_size: It is too much: nothing is wrong with any of it.
        is_certain: It is meant for what was sent, and not for who sent it.
    """

    why: str
    guilty: frozenset[int] = frozenset()
    is_size: bool = False
    is_certain: bool = True


Outcome: TypeAlias = "Delivered | Retry | Rejected"


class Transport(Protocol):
    """What speaks one platform's words: the seam between delivery and wire."""

    @property
    def max_batch(self) -> int:
        """How many records one request may hold."""

    def route_of(self, record: Record) -> str:
        """Return which of the platform's addresses takes this record."""

    def send(self, route: str, records: Sequence[Record]) -> Outcome:
        """Send one batch and say what became of it. Bounded in time; never raises."""

    def close(self) -> None:
        """Let go of the connection."""
