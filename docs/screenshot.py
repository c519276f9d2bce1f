"""The report's screenshot: `python docs/screenshot.py` makes it again, with Chromium.

The page is what `trubrics-trace report --html` makes of two days at a shop's support,
which are made up, and the same each time.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Literal

from trubrics_trace import PromptRecord
from trubrics_trace.cli import main
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.pipeline._line import line_of

PICTURE = Path(__file__).parent / "pictures" / "report.png"
WIDTH, HEIGHT = 1200, 1066
MOST_BYTES = 150_000  # a README is read on the train, too
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

BEGAN = datetime(2026, 11, 17, 6, tzinfo=timezone.utc)
HOURS = 46
PROMPTS_PER_HOUR = 18.0
USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", None)
WEIGHTS = (30, 22, 17, 12, 9, 7, 5, 3, 2)
MODELS = ("gpt-4o-mini", "gpt-4o-mini", "gpt-4o-mini", "claude-3-5-haiku")
TALKS = (
    ("Where is my parcel?", "It left Lyon this morning, and is with you by noon."),
    ("Can I still change the address?", "Yes, until it leaves the depot at six."),
    ("How do I send this back?", "Print the label in your account, and drop it off."),
    ("Why was I charged twice?", "The first was a reservation; it is released today."),
    ("Do you ship to Lisbon?", "We do, within four days, for 6.90."),
    ("Write a complaint about the broken lamp.", "Dear team, the lamp that came on"),
)
Status = Literal["complete", "stopped", "cancelled", "error"]


def prompts(chance: Random) -> Iterator[PromptRecord]:
    """Yield two days of a shop, whose customers sleep at night."""
    at, end = BEGAN, BEGAN + timedelta(hours=HOURS)
    while at < end:
        day = math.sin(math.pi * ((at.hour + at.minute / 60 - 6) % 24) / 18)
        hourly = PROMPTS_PER_HOUR * max(0.04, day)
        at += timedelta(hours=chance.expovariate(hourly))
        yield prompt(chance, at)


def prompt(chance: Random, at: datetime) -> PromptRecord:
    """Return one prompt of somebody who may lose patience."""
    (user,) = chance.choices(USERS, WEIGHTS)
    question, answer = chance.choice(TALKS)
    (status,) = chance.choices(tuple[Status](("complete", "stopped", "error")), (92, 7, 1))
    took = chance.lognormvariate(0.1, 0.5)
    return PromptRecord(
        record_id=f"{chance.getrandbits(64):016x}",
        user_id=user,
        thread_id=user and f"{user}-{at:%m-%d}",
        started_at=at.isoformat(timespec="milliseconds"),
        run_name="chat",
        tags=("support",),
        status=status,
        prompt=question,
        generation={"complete": answer, "stopped": answer[:24]}.get(status),
        error_type="APITimeoutError" if status == "error" else None,
        error_message="Request timed out." if status == "error" else None,
        model=chance.choice(MODELS),
        input_tokens=chance.randint(180, 900),
        output_tokens=0 if status == "error" else chance.randint(12, 160),
        latency_seconds=round(10.0 if status == "error" else took, 3),
        first_token_seconds=None if status == "error" else round(took * 0.3, 3),
    )


def page_in(directory: Path) -> Path:
    """Return the report's page on these days."""
    shop = directory / "shop"
    make_private(shop)
    spool = Spool(shop / "local", Limits(2**26))
    for one in sorted(prompts(Random(7)), key=lambda record: record.started_at):  # noqa: S311 - a picture
        spool.put(line_of(one))
    spool.close()
    page = directory / "report.html"
    main(["report", "--html", str(page), "--spool-dir", str(shop)])
    return page


def photograph(page: Path, picture: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Have Chromium make a picture of a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"needs one of {', '.join(BROWSERS)}")
    subprocess.run(  # noqa: S603 - a browser, and a page of ours
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )


if __name__ == "__main__":
    with TemporaryDirectory() as own:
        photograph(page_in(Path(own)), PICTURE, *map(int, sys.argv[1:]))
    size = PICTURE.stat().st_size
    sys.exit(0 if size < MOST_BYTES else f"{PICTURE} takes {size:,} bytes")
