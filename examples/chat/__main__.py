"""Six people chat through a traced app; then three counts are compared.

`FAKE=1` goes without the model, `BREAK=user` plants one wrong user. Exits with 0
only if the counts agree and every prompt stands under the user who asked it; then
`.cache/demo/report.html` shows them in a browser.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from structlog.typing import EventDict

from trubrics_trace import configure, flush, shutdown
from trubrics_trace.cli import main as trubrics_trace_command
from trubrics_trace.testing import serve_ingestion

from . import report, smollm2, users
from .app import Asker, asker, chat_app, mistaken_asker, served
from .llm import Llm, ModelError, real_llm, scripted_llm
from .screen import BOLD, DIM, RED, YELLOW, painted, progress, say

LOGS = Path(".cache", "demo")
PAGE = LOGS / "report.html"
TITLE = "Six people, one model, every prompt under its user"
FLUSH_SECONDS = 10
REPORTABLE_SECONDS = 600  # what has been delivered is let go of at once, unless asked


def main() -> int:
    """Tell the whole story, from the first process to the verdict."""
    os.environ["no_proxy"] = "127.0.0.1"  # nothing here leaves this machine
    LOGS.mkdir(parents=True, exist_ok=True)
    say(painted(TITLE, BOLD))
    with (
        recording(LOGS / "records.jsonl") as records,
        serve_ingestion() as ingestion,
        TemporaryDirectory() as spool,
    ):
        configure(
            api_key=ingestion.api_key,
            host=ingestion.url,
            spool_dir=spool,
            keep_delivered=REPORTABLE_SECONDS,
            console=True,
        )
        try:
            with chosen_llm() as llm:
                talk(llm, records)
        except ModelError as error:
            say(painted(f"✗ {error}; {LOGS / 'model.log'} may say why", RED))
            return 1
        with progress("flushing to the ingestion server"):
            flush(timeout=FLUSH_SECONDS)
        shutdown()
        told = {event["properties"]["record_id"]: event for event in ingestion.events}
        counts = report.Counts(
            witness=llm.witness,
            requests=llm.requests(),
            records=len(records),
            delivered=len(ingestion.record_ids),
        )
        say(painted("\none of them, as structlog has it:", DIM))
        say(json.dumps(records[-1]))
        events = list(told.values())
        report.show(events, counts)
        say(painted(f"  the logs are in {LOGS}/", DIM))
        return report.verdict(events, counts) or page_of(Path(spool), PAGE)


def page_of(spool: Path, page: Path) -> int:
    """Make the page that `trubrics-trace report` makes, and say where it is."""
    return trubrics_trace_command(
        ["report", "--html", str(page), "--spool-dir", str(spool), "--title", TITLE]
    )


def talk(llm: Llm, records: list[EventDict]) -> None:
    """Let everybody have their say, and the app shut down after them."""
    questions = len(users.asked())

    def so_far() -> str:
        return f"{len(records)} of {questions} recorded"

    with (
        served(chat_app(llm.chat, chosen_asker())) as url,
        progress(f"{questions} questions for {llm.name}", so_far),
    ):
        asyncio.run(users.chat(url))


def chosen_llm() -> AbstractContextManager[Llm]:
    """Take the real model wherever it is installed; where it is not, say so."""
    if os.environ.get("FAKE"):
        why = "FAKE=1"
    elif not smollm2.is_installed():
        why = "the model could not be installed here"
    else:
        return real_llm(LOGS / "model.log")
    say(painted(f"! {why}: no language model in this run, a script answers", YELLOW))
    return scripted_llm()


def chosen_asker() -> Asker:
    """Take the honest one, unless `BREAK=user` asks for a mistake."""
    if os.environ.get("BREAK") != "user":
        return asker
    say(painted("! BREAK=user: one question will stand under a wrong user", YELLOW))
    return mistaken_asker


@contextmanager
def recording(path: Path) -> Iterator[list[EventDict]]:
    """Log as the app would: JSON lines in a file; and keep our records, to count them."""
    records: list[EventDict] = []

    def keep(_: object, __: str, event: EventDict) -> EventDict:
        if event["event"] == "trubrics.prompt":
            records.append(dict(event))
        return event

    with path.open("w") as lines:
        structlog.configure(
            processors=[keep, structlog.processors.JSONRenderer(default=str)],
            logger_factory=structlog.WriteLoggerFactory(lines),
        )
        yield records
        structlog.reset_defaults()


if __name__ == "__main__":
    sys.exit(main())
