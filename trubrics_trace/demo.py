"""Five seconds of trubrics-trace: `python -m trubrics_trace.demo`.

Three users, one of whom presses stop, and somebody anonymous, chat at the same time with
langchain-core's fake model. No account, no network beyond this machine: what would go to
Trubrics goes to a server on loopback that speaks its API.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from . import configure, flush, shutdown, trubrics_trace
from .testing import IngestionServer, serve_ingestion

_WORD_SECONDS = 0.08
_WORDS_BEFORE_STOP = 3

_TALK = {
    "alice": ("Where is my parcel?", "It left Lyon this morning and reaches you today."),
    "bob": (
        "Tell me a long story.",
        "Once upon a time there was a queue that never ended.",
    ),
    "carol": ("Is the shop open on Sunday?", "Yes, from ten to four, and there is cake."),
    "": ("What can you do?", "I can find parcels, tell stories, and read timetables."),
}
_WHO_STOPS = "bob"


@trubrics_trace(
    user_id=lambda user: user, thread_id=lambda user: f"chat-{user or 'walk-in'}"
)
async def answer(
    user: str, question: str, model: GenericFakeChatModel
) -> AsyncGenerator[str, None]:
    """Stream an answer, as a chat's handler would."""
    async for chunk in model.astream(question):
        await asyncio.sleep(_WORD_SECONDS)
        yield str(chunk.content)


async def chat(user: str) -> None:
    """Ask one question, and read the answer to its end, or to the stop button."""
    question, words = _TALK[user]
    model = GenericFakeChatModel(messages=iter([AIMessage(content=words)]))
    stream = answer(user, question, model)
    read = 0
    async for _ in stream:
        read += 1
        if user == _WHO_STOPS and read > _WORDS_BEFORE_STOP:
            break
    await stream.aclose()


async def talk() -> None:
    """Let all of them chat at the same time."""
    await asyncio.gather(*(chat(user) for user in _TALK))


def main() -> int:
    """Run the demo; 0 if each question arrived once, under who asked it."""
    started = time.perf_counter()
    _say(
        "Four people chat with a fake model, at the same time; each record as it is born:\n"
    )
    with serve_ingestion() as server, tempfile.TemporaryDirectory() as spool_dir:
        configure(
            api_key=server.api_key, host=server.url, spool_dir=spool_dir, console=True
        )
        asyncio.run(talk())
        flush()
        shutdown()
        wrong = _what_is_wrong(server)
    for problem in wrong:
        _say(f"WRONG: {problem}")
    if not wrong:
        _say(
            f"\n{len(server.events)} questions asked, {len(server.record_ids)} delivered, "
            f"each once and under its user; {_WHO_STOPS} pressed stop, which is no error. "
            f"{time.perf_counter() - started:.1f} seconds."
        )
        _say("With TRUBRICS_API_KEY set, your own app's go to Trubrics in the same way.")
    return 1 if wrong else 0


def _what_is_wrong(server: IngestionServer) -> list[str]:
    arrived = {event["prompt"]: event for event in server.events}
    wrong = []
    for user, (question, _) in _TALK.items():
        event = arrived.get(question)
        wanted = user or "anonymous:chat-walk-in"
        status = "stopped" if user == _WHO_STOPS else "complete"
        if event is None:
            wrong.append(f"the question of {wanted} did not arrive")
        elif (event["user_id"], event["properties"]["status"]) != (wanted, status):
            wrong.append(f"{wanted} should be {status}, but arrived was {event['user_id']}")
    if any(times > 1 for times in server.record_ids.values()):
        wrong.append("something arrived twice")
    return wrong


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - where the records are told too


if __name__ == "__main__":
    sys.exit(main())
