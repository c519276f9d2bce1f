"""What a process's end cuts short, and is told all the same."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.servers import unused_url
from tests.process.program import output_of, run_program
from trubrics_trace.delivery._census import take_census

PROGRAM = """
import logging, threading
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from trubrics_trace import configure, trubrics_scope

logging.basicConfig(level=logging.INFO, format="%(message)s")
reached = threading.Event()

class Fails(FakeListChatModel):
    def _call(self, *_, **__):
        raise LookupError("busy")

def wait(_):
    reached.set()
    threading.Event().wait()

def ask():
    with trubrics_scope(user_id="alice"):
        work().invoke("Hi")

def begin():
    threading.Thread(target=ask, daemon=True).start()
    assert reached.wait(30)
"""


def told(program: str, spool_dir: Path) -> dict[str, Any]:
    """Return the one record of a program, which is over in the middle of its work."""
    ended = run_program(PROGRAM + textwrap.dedent(program), spool_dir)
    assert 0 == ended.returncode, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("{")]
    (record,) = map(json.loads, lines)
    return dict(record)


def test_between_two_attempts(tmp_path: Path) -> None:
    """An attempt that has failed is told, though the next one never comes."""
    program = """
        from langchain_core.callbacks import BaseCallbackHandler

        class WaitsForTheSecond(BaseCallbackHandler):
            def on_chat_model_start(self, *_, **__):
                if seen:
                    wait(None)
                seen.append(1)

        def work():
            model = Fails(responses=[""]).with_retry(wait_exponential_jitter=False)
            return model.with_config(callbacks=[WaitsForTheSecond()])

        seen = []
        begin()
    """
    record = told(program, tmp_path)
    assert ("alice", "error") == (record["user_id"], record["status"])
    assert "LookupError" == record["error_type"]


def test_in_the_middle_of_a_turn(tmp_path: Path) -> None:
    """Of a turn that is cut short the calls are told that were answered."""
    program = """
        configure(record="root")

        def work():
            return FakeListChatModel(responses=["42"]) | RunnableLambda(wait)

        begin()
    """
    record = told(program, tmp_path)
    assert ("alice", "cancelled") == (record["user_id"], record["status"])
    assert ("Hi", "42") == (record["prompt"], record["generation"])


@pytest.mark.parametrize("key", [None, "test-key"], ids=["local", "with a key"])
def test_a_stream_that_a_module_keeps(tmp_path: Path, key: str | None) -> None:
    """It is collected as the interpreter ends, kept on disk, and holds nothing up."""
    program = """
        from langchain_core.language_models import FakeListChatModel
        from trubrics_trace import trubrics_trace
        model = FakeListChatModel(responses=["Hello"])

        @trubrics_trace(user_id="alice")
        def chat():
            yield from model.stream("Hi")

        kept = chat()
        next(kept)
        """
    place = {"TRUBRICS_API_KEY": key, "TRUBRICS_HOST": unused_url()} if key else {}
    output_of(program, tmp_path, **place)
    assert 1 == sum(census.pending for census in take_census(tmp_path))
