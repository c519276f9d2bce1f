"""Take records away, as lines of JSON or as a table for a spreadsheet.

Reads what waits and what was delivered and is kept, a record at a time; an app may be
writing meanwhile. Process by process, in the order in which each has written. Delivery is
at least once, and so is this: `record_id` tells duplicates.

In CSV, lists and mappings are JSON in their cell. A text that begins as a formula does,
with one of = + - @, has an apostrophe before it: users write these texts, and a spreadsheet
would run them. `--json` is `--format jsonl`.

Examples:
  trubrics-trace export > records.jsonl
  trubrics-trace export --format csv --user alice --since 7d --output alice.csv
  trubrics-trace export --tag support --status error | jq .error_type
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .._record import EventRecord, FeedbackRecord, PromptRecord, TrackedRecord, field_names
from ..delivery import _files
from ..delivery._reader import Kept
from ._status import spool_root_of
from ._terminal import Progress, counting
from ._wanted import Wanted, add_wishes

SUMMARY = "take records away, as JSON or CSV"
EXIT_CODES = {0: "exported, be it nothing"}

_KINDS = (PromptRecord, FeedbackRecord, EventRecord, TrackedRecord)
_COLUMNS = tuple(
    dict.fromkeys(
        ["destination", "kind", *(n for kind in _KINDS for n in field_names(kind))]
    )
)
_FORMULAS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
)  # owasp.org/www-community/attacks/CSV_Injection


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the format, where to, and which."""
    parser.add_argument(
        "--format",
        choices=["jsonl", "csv"],
        default="jsonl",
        help="lines of JSON (default), or comma-separated values",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write to a file that nobody else may read (default: print)",
    )
    add_wishes(parser)


def run(options: argparse.Namespace) -> int:
    """Write each record that is wanted."""
    wanted = Wanted.of(options)
    reader = wanted.reader(spool_root_of(options))
    found = filter(wanted.has, reader.all(wanted.since))
    each = counting(found, Progress(is_shown=options.output is None))
    is_csv = options.format == "csv" and not options.json
    with _opened(options.output) as file:
        for number, row in enumerate(_csv(each) if is_csv else _jsonl(each)):
            file.write(row)
            if not number:
                file.flush()  # the first is seen at once, however rare they are
        file.flush()
    return 0


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    with (
        _files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as number,
        os.fdopen(number, "wb", closefd=False) as file,
    ):
        yield file


def _jsonl(each: Iterable[Kept]) -> Iterator[bytes]:
    for kept in each:
        # As it stands: to write it anew takes longer than all the rest.
        yield _opening(kept.label) + kept.line.lstrip()[1:]


@functools.cache
def _opening(label: str) -> bytes:
    """Return how each line of a destination begins."""
    return json.dumps({"destination": label})[:-1].encode() + b", "


def _csv(each: Iterable[Kept]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for kept in each:
        said = {**kept.values, "destination": kept.label}
        writer.writerow([_cell(said.get(column)) for column in _COLUMNS])
        yield text.getvalue().encode(errors="replace")
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()  # the names alone, where there was nothing


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return value
