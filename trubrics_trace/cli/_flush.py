"""Send what waits in the spool for the account that the environment names.

Set TRUBRICS_API_KEY first. Records of another destination are never taken along: what was
recorded without credentials is sent by `--from local` alone. What a running app holds is
left to that app.

Examples:
  trubrics-trace flush --timeout 60
  trubrics-trace flush --from local
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import sys
import time
from pathlib import Path

from .. import _clock
from .._configuration import settings_from
from .._settings import LOCAL, Destination, Settings
from .._stats import FlushReport
from ..delivery._census import take_census
from ..delivery._delivery import limits_of, transport_to
from ..delivery._flushes import Flush
from ..delivery._sender import Sender
from ..delivery._spool import Spool
from ..errors import SpoolError
from ._status import announced_spool
from ._terminal import Progress, say, say_json

SUMMARY = "send what waits in the spool"
EXIT_CODES = {0: "nothing is left", 1: "something is"}

_POLL_SECONDS = 0.02


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "--from",
        dest="source",
        choices=["local"],
        help="send what was recorded without credentials",
    )
    parser.add_argument(
        "--destination",
        metavar="LABEL",
        help="send what waits for this destination; a terminal is asked for its key",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long to try at most (default: 30)",
    )


def run(options: argparse.Namespace) -> int:
    """Send, and print what became of it."""
    settings = _settings_for(options.destination)
    destination = settings.destination
    if destination == LOCAL:
        message = "there are no credentials to send with; set TRUBRICS_API_KEY"
        raise SpoolError(message)
    if options.destination not in (None, destination.label):
        message = (
            f"the credentials are those of {destination.label}, not of "
            f"{options.destination}; set the TRUBRICS_API_KEY and TRUBRICS_HOST of that"
        )
        raise SpoolError(message)
    root = announced_spool(options)
    source = LOCAL if options.source == "local" else destination
    report = _send(root, source, settings, options.timeout)
    left = sum(row.pending for row in take_census(root) if row.label == source.label)
    if options.json:
        said = {**dataclasses.asdict(report), "left": left, "from": source.label}
        say_json(said)
    else:
        error = f"; the last error was: {report.last_error}" if report.last_error else ""
        say(
            f"sent {report.delivered:,} of {source.label} to {destination.label}, "
            f"{left:,} left{error}"
        )
    return 0 if report.complete and not left else 1


def _settings_for(label: str | None) -> Settings:
    """Return what the environment says, or a person who knows a label's key."""
    settings = settings_from({})
    if label in (None, settings.destination.label) or not sys.stdin.isatty():
        return settings
    return settings_from({"api_key": getpass.getpass(f"the API key of {label}: ")})


def _send(
    root: Path, source: Destination, settings: Settings, timeout: float
) -> FlushReport:
    """Send what lies below a root for `source`, to where the settings say."""
    transport = transport_to(settings.destination, settings)
    if transport is None:
        message = f"nothing carries to {settings.destination.label}"
        raise SpoolError(message)
    spool = Spool(root / source.label, limits_of(source, settings))
    spool.adopt()
    sender = Sender(
        spool,
        transport,
        label=settings.destination.label,
        flush_interval=settings.flush_interval,
        batch_size=settings.batch_size,
    )
    deadline = _clock.monotonic() + timeout
    flush, progress = Flush(sender), Progress()
    while not flush.is_over and _clock.monotonic() < deadline:
        progress.tell(spool.pending, "left")
        time.sleep(_POLL_SECONDS)
    report = flush.report()
    progress.end(report.pending, "left")
    sender.stop(1.0)
    spool.close()
    return report
