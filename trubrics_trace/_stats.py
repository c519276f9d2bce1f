"""What became of every record: what `stats` and `flush` answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """One moment of this process: `accepted + adopted` sums up the next four.

    Attributes:
        accepted: Records that took a place in the spool or in memory.
        adopted: Records taken over from processes that are gone.
        delivered: Records that a server acknowledged.
        pending: Records that wait, or are on their way.
        rejected: Records that a server refused, by reason; set aside on disk.
        dropped: Records that were accepted and then lost, by reason.
        skipped: Records that were never accepted, by reason: sampled out, refused.
        noticed: What else was counted, by reason: `without_user`, `late` and the like.
        retries: Attempts at delivery that must be made again.
        last_error: What the last failed attempt met; None after a success.
        oldest_pending_seconds: How long the oldest pending record has waited.
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
    retries: int = 0
    last_error: str | None = None
    oldest_pending_seconds: float | None = None
    bytes_on_disk: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether nothing has vanished: the law of conservation, for this process."""
        gone = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.accepted + self.adopted == self.delivered + self.pending + gone


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FlushReport:
    """How a flush ended; true when all accepted before it is acknowledged."""

    complete: bool
    delivered: int
    pending: int
    last_error: str | None = None

    def __bool__(self) -> bool:
        return self.complete
