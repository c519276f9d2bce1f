"""Which records are wanted: by user, tag, thread, time and status."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import get_args

from .. import _clock
from .._record import Status
from ..delivery._reader import Kept, Reader

_UNITS_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a record must be to be shown; what is None does not matter."""

    user: str | None = None
    tag: str | None = None
    thread: str | None = None
    status: str | None = None
    since: float = -math.inf
    until: float = math.inf
    destination: str | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Wanted:
        """Return what was asked for on the command line."""
        names = [field.name for field in dataclasses.fields(cls)]
        said = {name: getattr(options, name, None) for name in names}
        return cls(**{name: value for name, value in said.items() if value is not None})

    def reader(self, root: Path) -> Reader:
        """Return a reader that passes over most of what is not wanted."""
        texts = (self.user, self.tag, self.thread, self.status)
        needles = tuple(_as_written(text) for text in texts if text is not None)
        return Reader(root, self.destination, needles=needles)

    def has(self, kept: Kept) -> bool:
        """Whether the record is wanted."""
        values = kept.values
        tags = values.get("tags")
        return (
            self.user in (None, values.get("user_id"))
            and self.thread in (None, values.get("thread_id"))
            and self.status in (None, values.get("status"))
            and (self.tag is None or (isinstance(tags, list) and self.tag in tags))
            and self._is_in_time(kept)
        )

    def _is_in_time(self, kept: Kept) -> bool:
        if (self.since, self.until) == (-math.inf, math.inf):
            return True
        began = kept.began
        return began is not None and self.since <= began < self.until


def add_wishes(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which records are wanted."""
    wishes = parser.add_argument_group("which records (together: all that fit each)")
    wishes.add_argument("--user", metavar="ID", help="of this user")
    wishes.add_argument("--tag", metavar="TAG", help="with this tag")
    wishes.add_argument("--thread", metavar="ID", help="of this thread")
    wishes.add_argument("--status", choices=get_args(Status), help="prompts that ended so")
    for name, said in (("--since", "that began then or later"), ("--until", "before")):
        wishes.add_argument(
            name,
            type=moment,
            metavar="TIME",
            help=f"{said}: ISO 8601 (UTC unless it says), or how long ago: 30m, 12h, 7d",
        )
    wishes.add_argument("--destination", metavar="LABEL", help="for this destination")


def moment(text: str) -> float:
    """Return the seconds since the epoch that a text means.

    Raises:
        ValueError: It is neither a date nor a time ago; argparse says so.
    """
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if ago:
        return _clock.wall_seconds() - float(ago[1]) * _UNITS_SECONDS[ago[2]]
    said = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    return (said if said.tzinfo else said.replace(tzinfo=timezone.utc)).timestamp()


def _as_written(text: str) -> bytes:
    """Return a text as the spool's lines hold it."""
    return json.dumps(text, ensure_ascii=False).encode(errors="replace")
