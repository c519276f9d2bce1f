"""A flush of every destination at once, waited for together."""

from __future__ import annotations

import time

from .. import _clock
from .._stats import FlushReport
from ._delivery import deliveries

_POLL_SECONDS = 0.01


class Flushes:
    """What was taken before one moment, on its way to each destination."""

    def __init__(self) -> None:
        # None stands for a destination that nothing carries to.
        self._each = [
            delivery.sender.begin_flush() if delivery.sender is not None else None
            for delivery in deliveries.all()
            if delivery.sender is not None or delivery.spool.pending
        ]

    def wait(self, deadline: float) -> bool:
        """Wait until all is done, or the deadline has come; whether all is done."""
        while not all(flush is None or flush.is_done for flush in self._each):
            if _clock.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def report(self, pending: int) -> FlushReport:
        """Return how it stands now, where so many records wait in all.

        Raises:
            TelemetryError: In strict mode, what a sender met.
        """
        reports = [flush.report() for flush in self._each if flush is not None]
        errors = [report.last_error for report in reports if report.last_error]
        return FlushReport(
            # Without anything that carries, it is complete only where nothing waits.
            complete=None not in self._each
            and all(reports)
            and bool(self._each or not pending),
            delivered=sum(report.delivered for report in reports),
            pending=pending,
            last_error=errors[0] if errors else None,
        )
