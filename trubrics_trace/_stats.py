"""What became of every record: what `stats` and `flush` answer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """One moment of this process: `accepted + adopted` sums up the next four.

    Attributes:
        accepted: Records that took a place in the spool or in memory.
        adopted: Records taken over from processes that are gone.
        delivered: Records that a server acknowledged.
        pending: Records that wait, or are on their way.
        rejected: Records that were set aside, by reason: refused by a server, or corrupt.
        dropped: Records that were accepted and then lost, by reason.
        skipped: Records that were never accepted, by reason: sampled out, refused.
        noticed: What else was counted, by reason: `without_user`, `late` and the like.
        stranded: Records of destinations that are configured no more; they wait on disk.
        retries: Attempts at delivery that must be made again.
        last_error: What the last failed attempt met; None after a success.
        oldest_pending_seconds: How long the record that is sent next has waited.
        bytes_on_disk: What this process's share of the spool takes.
    """

    accepted: int = 0
    adopted: int = 0
    delivered: int = 0
    pending: int = 0
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    noticed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    stranded: int = 0
    retries: int = 0
    last_error: str | None = None
    oldest_pending_seconds: float | None = None
    bytes_on_disk: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether nothing has vanished: the law of conservation, for this process."""
        gone = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.accepted + self.adopted == self.delivered + self.pending + gone


def sum_of(each: Iterable[Stats]) -> Stats:
    """Return the moments of several spools as one."""
    each = list(each)
    waits = [one.oldest_pending_seconds for one in each]
    return Stats(
        accepted=sum(one.accepted for one in each),
        adopted=sum(one.adopted for one in each),
        delivered=sum(one.delivered for one in each),
        pending=sum(one.pending for one in each),
        rejected=_sum(one.rejected for one in each),
        dropped=_sum(one.dropped for one in each),
        oldest_pending_seconds=max((one for one in waits if one is not None), default=None),
        bytes_on_disk=sum(one.bytes_on_disk for one in each),
    )


def _sum(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in each:
        total.update(one)
    return dict(total)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FlushReport:
    """How a flush ended; true when all accepted before it is acknowledged."""

    complete: bool
    delivered: int
    pending: int
    last_error: str | None = None

    def __bool__(self) -> bool:
        return self.complete
