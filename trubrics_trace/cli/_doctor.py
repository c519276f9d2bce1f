"""Look for what goes wrong in practice: here, and in an app's modules.

Here: where records would be kept and sent; a spool that is in memory, on a network or
read-only; processes that share what one should hold, and an ini file of uWSGI that lets
them; a clock far off; prompts without a user. With --online Trubrics' server is asked for
its time, without a key.

In the modules that are given, which are imported for that: each trubrics_trace that stands
above a framework's own decorator, where nobody calls it; an older handler beside ours, or
several for different accounts; where records are logged.

Examples:
  trubrics-trace doctor
  trubrics-trace doctor myapp.main --online
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from .. import _clock
from .._configuration import settings_from
from .._settings import LOCAL, Settings
from ..delivery._directory import MEMORY, spool_root
from ..delivery._reader import Reader
from ..errors import ConfigurationError
from ..wrapping._decorator import TracedFunction
from ..wrapping._misplaced import registered, told_of, wrapped_in
from ._app import faults_of_handlers, faults_of_users, notes_of_logging
from ._host import (
    faults_of_clock,
    faults_of_clock_beside,
    faults_of_forks,
    faults_of_place,
    faults_of_uwsgi,
)
from ._terminal import painted, say, say_json

SUMMARY = "look for what goes wrong in practice"
EXIT_CODES = {0: "nothing is amiss", 1: "something is"}

_MOST_RECORDS = 1_000  # to judge by: the latest


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the modules to look at."""
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="to be imported and looked at, as `myapp.main` or `myapp.main:app`",
    )
    parser.add_argument(
        "--online", action="store_true", help="ask the server that records go to, too"
    )


def run(options: argparse.Namespace) -> int:
    """Print what was found, and return whether something is amiss."""
    for module in options.modules:
        _import(module)
    spool_dir = options.spool_dir
    settings = settings_from({"spool_dir": spool_dir} if spool_dir else {})
    place = spool_root(settings.spool_dir)
    notes = list(_notes(place, settings.destination.label))
    faults = [*_faults_of_app(settings), *_faults_of_host(place, settings, options)]
    if options.json:
        say_json({"notes": notes, "faults": faults})
    else:
        say("\n".join([*notes, *(painted(f"amiss: {fault}", "red") for fault in faults)]))
    return 1 if faults else 0


def _import(name: str) -> None:
    module = name.partition(":")[0]  # as servers name an app
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        importlib.import_module(module)
    except ImportError as error:
        message = f"{module} cannot be imported from {here}: {error}"
        raise ConfigurationError(message) from error


def _notes(place: Path | None, label: str) -> Iterator[str]:
    yield f"records are kept in {place}" if place else "records are kept in memory"
    yield (
        f"and sent to {label}"
        if label != LOCAL.label
        else "and sent nowhere, for there are no credentials; set TRUBRICS_API_KEY"
    )
    count = len(wrapped_in(TracedFunction))
    yield f"{count} traced function{'' if count == 1 else 's'} found"
    yield from notes_of_logging()


def _faults_of_app(settings: Settings) -> Iterator[str]:
    for function, kind in registered(wrapped_in(TracedFunction)):
        yield told_of(function, kind)
    yield from faults_of_handlers(settings)
    yield from faults_of_uwsgi(Path.cwd())


def _faults_of_host(
    place: Path | None, settings: Settings, options: argparse.Namespace
) -> Iterator[str]:
    if settings.spool_dir == MEMORY:
        yield (
            f"the spool is {MEMORY}, as is meant for tests, so records are lost with the "
            "process; name a directory with TRUBRICS_TRACE_SPOOL_DIR"
        )
        return
    if place is None:
        asked = Path(settings.spool_dir) if settings.spool_dir else Path.home()
        yield (
            "no place on disk is ours alone, so records are lost with the process; give "
            "one that can be written, and that nobody else can read, with "
            "TRUBRICS_TRACE_SPOOL_DIR"
        )
        yield from faults_of_place(asked)
        return
    yield from faults_of_place(place)
    yield from faults_of_forks(place)
    latest = Reader(place).latest(_MOST_RECORDS, lambda kept: True)
    yield from faults_of_clock(latest, _clock.wall_seconds())
    if options.online and settings.destination != LOCAL:
        yield from faults_of_clock_beside(settings.destination.host)
    yield from faults_of_users(latest)
