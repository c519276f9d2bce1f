"""A flush: what was taken before one moment, on its way where it belongs."""

from __future__ import annotations

import time

from .. import _clock
from .._stats import FlushReport, Stats
from ._delivery import deliveries
from ._sender import Sender

_POLL_SECONDS = 0.01


class Flush:
    """What one destination was to get at a moment, until it has arrived."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._before = sender.spool.stats()  # what is lost from now on, it tells
        self._mark = sender.spool.mark()
        sender.hurry()

    @property
    def is_done(self) -> bool:
        """Whether everything taken before, or adopted since, waits no more."""
        return self._sender.has_met_something or self._sender.spool.is_past(self._mark)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for: it is done, or nobody will do it."""
        return self.is_done or self._sender.has_no_thread

    def report(self) -> FlushReport:
        """Return how it stands now.

        Raises:
            TelemetryError: In strict mode, what the sender met.
        """
        self._sender.raise_what_was_met()
        # Not `is_done`: what the sender meets meanwhile is no delivery.
        is_past, after = self._sender.spool.is_past(self._mark), self._sender.spool.stats()
        return FlushReport(
            complete=is_past and _lost(after) == _lost(self._before),
            delivered=after.delivered - self._before.delivered,
            pending=after.pending,
            last_error=self._sender.last_error,
        )


class Flushes:
    """A flush of every destination at once, waited for together."""

    def __init__(self) -> None:
        # None stands for a destination that nothing carries to.
        self._each = [
            Flush(delivery.sender) if delivery.sender is not None else None
            for delivery in deliveries.all()
            if delivery.sender is not None or delivery.spool.pending
        ]

    def wait(self, deadline: float) -> bool:
        """Wait until all is over, or the deadline has come; whether all is over."""
        while not all(flush is None or flush.is_over for flush in self._each):
            if _clock.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def report(self) -> FlushReport:
        """Return how it stands now.

        Raises:
            TelemetryError: In strict mode, what a sender met.
        """
        reports = [flush.report() for flush in self._each if flush is not None]
        errors = [report.last_error for report in reports if report.last_error]
        return FlushReport(
            # What nothing carries is not acknowledged, if it is of a destination of before.
            complete=None not in self._each
            and all(reports)
            and not deliveries.pending_without_a_sender,
            delivered=sum(report.delivered for report in reports),
            pending=deliveries.pending,
            last_error=errors[0] if errors else None,
        )


def _lost(stats: Stats) -> int:
    return sum(stats.rejected.values()) + sum(stats.dropped.values())
