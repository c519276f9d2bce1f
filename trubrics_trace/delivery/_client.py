"""Trubrics' own client with a spool where it had a list: the only door of `trubrics`.

Code that tracks by hand changes one import. What it tracks is sent as the client would
have sent it, with a `record_id` in its properties, and survives the process.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from trubrics import Trubrics

from .. import _clock
from .._record import FrozenDict, TrackedRecord
from .._settings import settings_from
from .._stats import FlushReport
from ..pipeline._pipeline import attempt, line_of
from ..pipeline._redact import prepare
from ._delivery import Delivery, deliveries

_ENDPOINTS = {"event": "publish_events", "llm_event": "publish_llm_events"}


class DurableTrubrics(Trubrics):  # type: ignore[misc] # the client is untyped
    """The official client, whose events wait on disk and not in a list.

    Takes what `Trubrics` takes; `api_key` and `host` default to the environment's.
    `track`, `track_llm`, `flush` and `close` are the client's own words. It has no thread
    of its own: its account's sender carries its events beside the prompts.

    Raises:
        ConfigurationError: There is no key, or the host is no URL.
    """

    def __init__(
        self, api_key: str | None = None, host: str | None = None, **options: Any
    ) -> None:
        self._settings = settings_from({"api_key": api_key, "host": host})
        super().__init__(
            api_key=self._settings.api_key or "", host=self._settings.host, **options
        )
        self.queue = _SpoolingQueue(self._keep)

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Send what was tracked before this call; wait at most `timeout` seconds."""
        from .. import _runtime  # above this room: only a person's own call goes there

        return _runtime.flush(timeout)

    def close(self, timeout: float = 5.0) -> FlushReport:
        """Flush. What has not arrived by then stays on disk."""
        return self.flush(timeout)

    def _periodic_flush(self) -> None:
        """End the thread where the client's constructor starts it."""

    def _keep(self, event: dict[str, Any]) -> None:
        endpoint = _ENDPOINTS[getattr(event["event_type"], "value", event["event_type"])]
        payload = {name: value for name, value in event.items() if name != "event_type"}
        record_id = str(uuid.uuid4())
        payload["properties"] = {
            **(payload["properties"] or {}),
            "record_id": record_id,
        }
        record = TrackedRecord(
            record_id=record_id,
            user_id=payload["user_id"],
            started_at=_clock.utc_now(),
            endpoint=endpoint,
            payload=FrozenDict(payload),
        )
        attempt("tracked_failed", self._spool, record)

    def _spool(self, record: TrackedRecord) -> None:
        prepared = prepare(record, self._settings)
        self._delivery().keep(prepared, line_of(prepared))

    def _delivery(self) -> Delivery:
        return deliveries.to(self._settings.destination, self._settings)


class _SpoolingQueue(list[Any]):
    """What stands where the client has its list: what is appended is on disk."""

    def __init__(self, keep: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._keep = keep

    def append(self, event: dict[str, Any]) -> None:
        self._keep(event)
