"""What became of one spool's records, each counted in one place."""

from __future__ import annotations

from collections import Counter

from .._stats import Stats


class Tally:
    """The law of conservation, kept step by step. The spool has the lock."""

    def __init__(self) -> None:
        self._accepted = 0
        self._adopted = 0
        self._delivered = 0
        self._rejected: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self.pending = 0

    def accept(self) -> None:
        """Count a record that took its place."""
        self._accepted += 1
        self.pending += 1

    def recount(self, pending: int) -> None:
        """Believe what is there: a put was interrupted before its count."""
        self._accepted += pending - self.pending
        self.pending = pending

    def adopt(self, count: int) -> None:
        """Count records of others; less than none where others took more of ours."""
        self._adopted += count
        self.pending += count

    def deliver(self, count: int) -> None:
        """Count records that waited, and were acknowledged."""
        self._delivered += count
        self.pending -= count

    def reject(self, reason: str, count: int) -> None:
        """Count records that waited, and were set aside."""
        self._rejected[reason] += count
        self.pending -= count

    def drop(self, reason: str, count: int) -> None:
        """Count records that waited, and were let go of."""
        self._dropped[reason] += count
        self.pending -= count

    def stats(self, *, oldest_pending_seconds: float | None, bytes_on_disk: int) -> Stats:
        """Return this moment."""
        return Stats(
            accepted=self._accepted,
            adopted=self._adopted,
            delivered=self._delivered,
            pending=self.pending,
            rejected=dict(+self._rejected),  # the reasons that took one
            dropped=dict(+self._dropped),
            oldest_pending_seconds=oldest_pending_seconds,
            bytes_on_disk=bytes_on_disk,
        )
