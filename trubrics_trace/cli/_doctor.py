"""Look for what goes wrong in practice: here, and in an app's modules.

Names each trubrics_trace that stands above a framework's own decorator, where nobody
calls it, in the modules that are given; they are imported for that. Names also where
records would be kept and sent from here.

Example:
  trubrics-trace doctor myapp.main
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from .._configuration import settings_from
from .._settings import LOCAL
from ..delivery._directory import spool_root
from ..errors import ConfigurationError
from ..wrapping._decorator import TracedFunction
from ..wrapping._misplaced import registered, told_of, wrapped_in
from ._terminal import painted, say, say_json

NAME = "doctor"
SUMMARY = "look for what goes wrong in practice"
EXIT_CODES = {0: "nothing is amiss", 1: "something is"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the modules to look at."""
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="to be imported and looked at, as `myapp.main` or `myapp.main:app`",
    )


def run(options: argparse.Namespace) -> int:
    """Print what was found, and return whether something is amiss."""
    for module in options.modules:
        _import(module)
    notes, faults = list(_notes(options.spool_dir)), list(_faults())
    if options.json:
        say_json({"notes": notes, "faults": faults})
    else:
        said = [*notes, *(painted(f"amiss: {fault}", "red") for fault in faults)]
        say("\n".join(said))
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


def _notes(spool_dir: str | None) -> Iterator[str]:
    settings = settings_from({"spool_dir": spool_dir} if spool_dir else {})
    place = spool_root(settings.spool_dir)
    yield (
        f"records are kept in {place}"
        if place
        else (
            "records are kept in memory, for no place on disk is ours alone; give one with "
            "TRUBRICS_TRACE_SPOOL_DIR"
        )
    )
    label = settings.destination.label
    yield (
        f"and sent to {label}"
        if label != LOCAL.label
        else ("and sent nowhere, for there are no credentials; set TRUBRICS_API_KEY")
    )
    count = len(wrapped_in(TracedFunction))
    yield f"{count} traced function{'' if count == 1 else 's'} found"


def _faults() -> Iterator[str]:
    for function, kind in registered(wrapped_in(TracedFunction)):
        yield told_of(function, kind)
