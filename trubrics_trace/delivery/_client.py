"""Trubrics' own client, with a spool where it had a list.

This is the only door of `trubrics`. Code that tracks by hand changes one import. What it
tracks is sent as the client would have sent it, with a `record_id` in its properties, and
survives the process.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

from .. import _clock
from .._frozen import FrozenDict
from .._record import TrackedRecord
from .._settings import Settings
from .._stats import FlushReport
from ..pipeline._guard import attempt
from ..scope._current import prepare
from . import _delivery

if TYPE_CHECKING:
    import logging
    from datetime import datetime

    from typing_extensions import Unpack

    class Trubrics:
        """The client's words, since it ships no types; a test compares them."""

        api_key: str
        host: str

        def __init__(
            self,
            api_key: str,
            host: str = ...,
            flush_interval: float = ...,
            flush_batch_size: int = ...,
            flush_periodic_check: float = ...,
            logger: logging.Logger = ...,
        ) -> None: ...

        def track(
            self,
            user_id: str,
            event: str,
            properties: dict[str, Any] | None = None,
            timestamp: datetime | None = None,
        ) -> None:
            """Track an event."""

        def track_llm(
            self,
            user_id: str,
            prompt: str,
            generation: str,
            prompt_event_name: str = "Prompt",
            generation_event_name: str = "Generation",
            assistant_id: str | None = None,
            properties: dict[str, Any] | None = None,
            timestamp: datetime | None = None,
            latency: float | None = None,
            thread_id: str | None = None,
        ) -> None:
            """Track a prompt and its generation; `latency` is seconds."""

    class ClientOptions(TypedDict, total=False):
        """What else the client takes, for a thread that is not started here."""

        flush_interval: float
        flush_batch_size: int
        flush_periodic_check: float
        logger: logging.Logger
else:
    from trubrics import Trubrics

_ENDPOINTS = {"event": "publish_events", "llm_event": "publish_llm_events"}


class DurableTrubrics(Trubrics):
    """The official client, whose events wait on disk and not in a list.

    Takes what `Trubrics` takes; `api_key` and `host` default to what `configure` said,
    then the environment. `track`, `track_llm`, `flush` and `close` are the client's own
    words. It has no thread of its own: its account's sender carries its events beside the
    prompts. Without a key they stay on this machine.

    Raises:
        ConfigurationError: The key is no key, or the host is no URL.
    """

    def __init__(
        self,
        api_key: str | None = None,
        host: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        prepare()
        self._said = {"api_key": api_key, "host": host}
        settings = self._settings()
        super().__init__(api_key=settings.api_key or "", host=settings.host, **options)
        self.queue: list[Any] = _SpoolingQueue(
            lambda event: attempt("tracked_failed", self._keep, event)
        )
        # The spool has its own; a forked child might inherit this one locked, for ever.
        self._lock = contextlib.nullcontext()

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Send what was tracked before this call; wait at most `timeout` seconds."""
        return _delivery.front.flush(timeout)

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
        _delivery.front.accept(record, recipients=(self._settings(),))

    def _settings(self) -> Settings:
        """Return what `configure` said, with this client's own key and host."""
        own = _delivery.front.settings_with(**self._said)
        return own or _delivery.front.settings()


class _SpoolingQueue(list[Any]):
    """What stands where the client has its list: what is appended is on disk."""

    def __init__(self, keep: Callable[[dict[str, Any]], object]) -> None:
        super().__init__()
        self._keep = keep

    def append(self, event: dict[str, Any]) -> None:
        """Keep an event on disk; the list itself stays empty."""
        self._keep(event)
