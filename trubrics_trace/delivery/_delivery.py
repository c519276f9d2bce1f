"""One destination: its spool, and what carries it there, made at need.

Nothing is opened, started or imported before a record is on its way; without credentials
there is a spool, and nothing that sends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from .. import _clock
from .._ledger import ledger
from .._record import Record
from .._settings import DAY_SECONDS, LOCAL, MIB, Destination, Settings, fingerprint
from .._stats import FlushReport, Stats, sum_of
from .._threads import start_thread
from . import _files
from ._backoff import Backoff
from ._census import Counted, destinations_in
from ._directory import MEMORY, spool_root
from ._limits import Limits
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

# Without credentials nobody may ever ask for them: smaller, and not as long.
_LOCAL_MAX_BYTES = 64 * MIB
_LOCAL_MAX_AGE = 7 * DAY_SECONDS
_LOCAL_KEEP_SECONDS = 7 * DAY_SECONDS


_STAYING_HERE = (
    "no credentials are set, so records stay on this machine; set TRUBRICS_API_KEY to "
    "send them, `trubrics-trace status` shows them"
)
_ENDING_HERE = (
    f"no credentials are set, and the spool is {MEMORY}, so records end with this process; "
    "set TRUBRICS_API_KEY to send them, or TRUBRICS_TRACE_SPOOL_DIR to keep them"
)

_LEAST_CLOSE_SECONDS = 0.1  # for records that wait in memory to reach the disk


class Delivery:
    """A destination's spool and, where it has credentials, its sender."""

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        transport: Transport | None,
        backoff: Backoff,
        settings: Settings,
    ) -> None:
        self.destination = destination
        self.spool = spool
        self.sender: Sender | None = None
        if transport is not None:
            self.sender = Sender(
                spool,
                transport,
                label=destination.label,
                flush_interval=settings.flush_interval,
                batch_size=settings.batch_size,
                on_error=settings.on_error,
                backoff=backoff,
            )
        else:  # nobody adopts here what the dead left, so somebody must tidy up
            with contextlib.suppress(RuntimeError):  # no thread can start: another time
                start_thread(_tidy, spool)

    def keep(self, record: Record, line: bytes) -> None:
        """Spool one record, and let the sender know."""
        self.spool.put(line)
        if self.sender is not None:
            self.sender.start()
            self.sender.wake_if_due()

    def close(self, timeout: float) -> None:
        """End the sender and let go of the files; what waits stays on disk."""
        deadline = _clock.monotonic() + timeout
        if self.sender is not None:
            self.sender.stop(timeout)
        self.spool.close(max(_LEAST_CLOSE_SECONDS, deadline - _clock.monotonic()))


class Deliveries:
    """Every destination that this process has a record for."""

    def __init__(self) -> None:
        self._by_label: dict[str, Delivery] = {}
        # With their counts; by where they are to be, and for whom.
        self._spools: dict[tuple[str | None, str], Spool] = {}
        # What a destination asked of whoever has these credentials holds also for a
        # sender that is made anew, and for a forked child's.
        self._backoffs: dict[tuple[str, str], Backoff] = {}
        self._counted = Counted()
        self._making = threading.RLock()

    def to(self, destination: Destination, settings: Settings) -> Delivery:
        """Return a destination's delivery, made with these settings if it is new."""
        label = destination.label
        delivery = self._by_label.get(label)
        if delivery is not None:
            return delivery
        with self._making:
            if label not in self._by_label:
                self._by_label[label] = Delivery(
                    destination,
                    self._spool_of(destination, settings),
                    transport_to(destination, settings),
                    self._backoff_of(destination, settings),
                    settings,
                )
            delivery = self._by_label[label]
        # Outside: a logger has locks of its own, whose holder may be waiting for ours. Not
        # of nobody's records that stay, as asked.
        if settings.destination == LOCAL:
            ledger.say(
                "no_credentials",
                _ENDING_HERE if settings.spool_dir == MEMORY else _STAYING_HERE,
            )
        return delivery

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

    def revoke(self) -> None:
        """At exit: close also what is lent to a sender, which ends here, too."""
        for spool in list(self._spools.values()):
            spool.revoke()

    @property
    def pending(self) -> int:
        """How many records wait in this process's spools, closed ones too."""
        return sum(spool.pending for spool in list(self._spools.values()))

    @property
    def pending_without_a_sender(self) -> int:
        """How many of them nothing carries now."""
        carried = [one.spool for one in self.all() if one.sender is not None]
        spools = list(self._spools.values())
        return sum(spool.pending for spool in spools if spool not in carried)

    def open_again(self, settings: Settings) -> None:
        """Carry what waits for the usual destination, should that be closed."""
        spool = self._spools.get((settings.spool_dir, settings.destination.label))
        if spool is not None and spool.pending:
            self.to(settings.destination, settings)

    def begin_again(self) -> None:
        """After a configuration: ask at once whoever did not say when."""
        for backoff in list(self._backoffs.values()):
            backoff.begin_again()

    def stats(self) -> Stats:
        """Return one moment of this process's spools, closed ones too, summed up."""
        backoffs = list(self._backoffs.values())
        senders = [one.sender for one in self.all() if one.sender is not None]
        errors = (sender.last_error for sender in senders)
        each = [spool.stats() for spool in list(self._spools.values())]
        return dataclasses.replace(
            sum_of(each),
            stranded=self._stranded(),
            retries=sum(backoff.retries for backoff in backoffs),
            last_error=next(filter(None, errors), None),
        )

    def _stranded(self) -> int:
        """Return what waits for destinations that nobody names now."""
        ours = {label for _, label in list(self._spools)} | {LOCAL.label}
        places = [spool.directory for spool in list(self._spools.values())]
        roots = {place.parent for place in places if place is not None}
        return sum(
            self._counted.pending(place)
            for root in roots
            for place in destinations_in(root)
            if place.name not in ours
        )

    def hold(self) -> None:
        """Before a fork: let nobody be in the middle of making a delivery.

        A child that is forked while another thread imports the HTTP client would wait
        for that import for ever.
        """
        self._making.acquire()
        _files.hold()

    def release(self) -> None:
        """After a fork, in the parent: go on."""
        _files.release()
        with contextlib.suppress(RuntimeError):  # installed while the fork began
            self._making.release()

    def drop_in_child(self) -> None:
        """After a fork, forget the parent's, and close the inherited files."""
        _files.close_all()
        self._spools, self._by_label = {}, {}
        for backoff in self._backoffs.values():
            backoff.retries = 0
        self._making = threading.RLock()

    def _spool_of(self, destination: Destination, settings: Settings) -> Spool:
        key = (settings.spool_dir, destination.label)
        if key not in self._spools:
            self._spools[key] = Spool(
                lambda: _place_of(destination, settings),
                limits_of(destination, settings),
                place=settings.spool_dir or "",
            )
        self._spools[key].shares.limits = limits_of(destination, settings)
        return self._spools[key]

    def _backoff_of(self, destination: Destination, settings: Settings) -> Backoff:
        secret = fingerprint(settings.api_key or settings.password or "")
        return self._backoffs.setdefault((destination.label, secret), Backoff())


deliveries = Deliveries()


def _place_of(destination: Destination, settings: Settings) -> Path | None:
    """Return a destination's directory; None while no place will do."""
    root = spool_root(settings.spool_dir)
    return None if root is None else root / destination.label


def limits_of(destination: Destination, settings: Settings) -> Limits:
    """Return what a destination's directory may hold."""
    if destination != LOCAL:
        return Limits(
            settings.spool_max_bytes, settings.spool_max_age, settings.keep_delivered
        )
    return Limits(
        min(settings.spool_max_bytes, _LOCAL_MAX_BYTES),
        min(settings.spool_max_age, _LOCAL_MAX_AGE),
        settings.keep_delivered or _LOCAL_KEEP_SECONDS,
    )


def transport_to(destination: Destination, settings: Settings) -> Transport | None:
    """Return what speaks to a destination, or None where nothing may be sent."""
    if sys.is_finalizing():  # nothing can be imported any more: the next process sends it
        return None
    # Imported here: who has no credentials never pays for an HTTP client.
    if destination.platform == "ingestion" and settings.api_key:
        from ._ingestion import IngestionTransport

        return IngestionTransport(
            destination.host, settings.api_key, settings.anonymous_user
        )
    if destination.platform == "platform" and settings.email and settings.password:
        from ._platform import PlatformTransport

        return PlatformTransport(settings.email, settings.password, settings.project)
    return None


def _tidy(spool: Spool) -> None:
    with contextlib.suppress(OSError):  # too many open files, say: another time
        spool.tidy()
