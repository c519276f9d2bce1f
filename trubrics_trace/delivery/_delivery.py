"""One destination: its spool, and what carries it there, made at need.

Nothing is opened, started or imported before a record is on its way; without credentials
there is a spool, and nothing that sends.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from .. import _clock
from .._ledger import ledger
from .._record import Record
from .._settings import DAY_SECONDS, LOCAL, MIB, Destination, Settings
from .._stats import FlushReport, Stats
from ._directory import spool_root
from ._sender import Sender
from ._spool import Spool
from ._transport import Transport


class Front(Protocol):
    """What the runtime, above, offers to a room down here."""

    def settings(self) -> Settings:
        """Return what holds."""

    def settings_with(self, **given: Any) -> Settings | None:
        """Return what holds, with these credentials; None where none are given."""

    def accept(
        self, record: Record, scope: None = None, recipients: Sequence[Settings] = ()
    ) -> None:
        """Take a record through the pipeline."""

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Send what was accepted before, and wait."""


# The slot that the runtime fills with itself: a lower floor imports no higher one.
front: Front

_LOCAL_MAX_BYTES = 64 * MIB
_LOCAL_KEEP_SECONDS = 7 * DAY_SECONDS


class Delivery:
    """A destination's spool and, where it has credentials, its sender."""

    def __init__(self, destination: Destination, spool: Spool, settings: Settings) -> None:
        self.destination = destination
        self.spool = spool
        self.sender: Sender | None = None
        transport = transport_to(destination, settings)
        if transport is not None:
            self.sender = Sender(
                spool,
                transport,
                label=destination.label,
                flush_interval=settings.flush_interval,
                batch_size=settings.batch_size,
                on_error=settings.on_error,
            )

    def keep(self, record: Record, line: bytes) -> None:
        """Spool one record, and let the sender know."""
        self.spool.put(line)
        if self.sender is not None:
            self.sender.start()
            self.sender.wake_if_full()

    def close(self, timeout: float) -> None:
        """End the sender and let go of the files; what waits stays on disk."""
        if self.sender is not None:
            self.sender.stop(timeout)
        self.spool.close()


class Deliveries:
    """Every destination that this process has a record for."""

    def __init__(self) -> None:
        self._by_label: dict[str, Delivery] = {}
        self._spools: dict[tuple[Path | None, str], Spool] = {}  # with their counts
        self._making = threading.RLock()

    def to(self, destination: Destination, settings: Settings) -> Delivery:
        """Return a destination's delivery, made with these settings if it is new."""
        label = destination.label
        delivery = self._by_label.get(label)
        if delivery is not None:
            return delivery
        with self._making:
            if label not in self._by_label:
                spool = self._spool_of(destination, settings)
                self._by_label[label] = Delivery(destination, spool, settings)
            return self._by_label[label]

    def all(self) -> list[Delivery]:
        """Return those that are open, in the order in which they were made."""
        return list(self._by_label.values())

    def close(self, timeout: float) -> None:
        """Close each, all within `timeout` seconds; a later record opens it anew."""
        deadline = _clock.monotonic() + timeout
        with self._making:
            closing, self._by_label = self._by_label, {}
        for delivery in closing.values():
            delivery.close(deadline - _clock.monotonic())

    def stats(self) -> list[Stats]:
        """Return one moment of each destination's spool, closed ones too."""
        return [spool.stats() for spool in list(self._spools.values())]

    def hold(self) -> None:
        """Before a fork: let nobody be in the middle of making a delivery.

        A child that is forked while another thread imports the HTTP client would wait
        for that import for ever.
        """
        self._making.acquire()

    def release(self) -> None:
        """After a fork, in the parent: go on."""
        with contextlib.suppress(RuntimeError):  # installed while the fork began
            self._making.release()

    def drop_in_child(self) -> None:
        """After a fork, forget the parent's, and close the inherited files."""
        inherited, self._spools = self._spools, {}
        self._by_label = {}
        self._making = threading.RLock()
        for spool in inherited.values():
            spool.let_go()

    def _spool_of(self, destination: Destination, settings: Settings) -> Spool:
        root = spool_root(settings.spool_dir)
        key = (root, destination.label)
        if key not in self._spools:
            self._spools[key] = spool_at(root, destination, settings)
        return self._spools[key]


deliveries = Deliveries()


def spool_at(root: Path | None, destination: Destination, settings: Settings) -> Spool:
    """Return the spool of a destination below a root."""
    keep, max_bytes = settings.keep_delivered, settings.spool_max_bytes
    if destination == LOCAL:
        keep = keep or _LOCAL_KEEP_SECONDS
        max_bytes = min(max_bytes, _LOCAL_MAX_BYTES)
    return Spool(
        None if root is None else root / destination.label,
        max_bytes=max_bytes,
        keep_delivered=keep,
        place=settings.spool_dir or "",
    )


def transport_to(destination: Destination, settings: Settings) -> Transport | None:
    """Return what speaks to a destination, or None where nothing may be sent.

    If that is for want of credentials, it is said once.
    """
    # Imported here: who has no credentials never pays for an HTTP client.
    if destination.platform == "ingestion" and settings.api_key:
        from ._ingestion import IngestionTransport

        return IngestionTransport(
            destination.host, settings.api_key, settings.anonymous_user
        )
    if destination.platform == "platform" and settings.email and settings.password:
        from ._platform import PlatformTransport

        return PlatformTransport(settings.email, settings.password, settings.project)
    if settings.destination == LOCAL:  # else it is nobody's records that stay, as asked
        ledger.say(
            "no_credentials",
            "no credentials are set, so records stay on this machine; set "
            "TRUBRICS_API_KEY to send them, `trubrics-trace status` shows them",
        )
    return None
