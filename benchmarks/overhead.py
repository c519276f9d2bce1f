"""What recording adds to one fake chat call: microseconds of CPU, stage by stage.

    python -m benchmarks.overhead [ROUNDS]     also as `make bench`

Each way of recording is measured in a process of its own, all of them in turn, round by
round; of each the lowest counts, because a busy machine only ever adds. `caller` is the
thread that asks, `process` is all of it, until a server on loopback has every record. A
run in which the no-op handler comes out faster than nothing is worth nothing, and leaves
no trace; any other is kept in `benchmarks/results.json`, and drawn in `docs/overhead.svg`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import structlog
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from benchmarks.results import draw, keep
from trubrics_trace import configure, flush, trubrics_trace
from trubrics_trace.testing import capture_prompts

ROUNDS = 11
CHUNKS, CALLS = 6, 200  # of a round: the lowest chunk counts
WARM_UP = 200  # calls, in which everything is imported, opened and specialised

QUESTION = "Where is my parcel? It was to be here on Tuesday."
ANSWER = "It left Lyon this morning, and reaches you today before six."

# Who is asked, and in what order a record goes through more hands. A traced function is
# handed the user, and names it by a callable.
STAGES = (
    "nothing",
    "no-op handler",
    "switched off",
    "scope and record",
    "and structlog to a file",
    "and a durable spool",
    "and delivery",
)
PEERS = ("track_llm by hand", "langfuse", "lunary")
COLUMNS = ("caller sync", "caller async", "process sync", "process async")


class Model(BaseChatModel):
    """Answers at once, and counts its tokens."""

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        message = AIMessage(
            content=ANSWER,
            usage_metadata={"input_tokens": 14, "output_tokens": 15, "total_tokens": 29},
            response_metadata={"model_name": "fake-1", "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        return self._generate()

    @property
    def _llm_type(self) -> str:
        return "fake"


class Recording:
    """One way of recording: how a user is answered, and how its records are awaited."""

    def __init__(self, *handlers: Any) -> None:
        config: Any = {"callbacks": list(handlers)} if handlers else None
        model = Model()

        def ask(user: str) -> str:
            return str(model.invoke(QUESTION, config).content)

        async def aask(user: str) -> str:
            return str((await model.ainvoke(QUESTION, config)).content)

        self.ask, self.aask = ask, aask
        self.finish: Callable[[], object] = lambda: None

    def traced(self) -> None:
        """Record by the decorator."""
        trace = trubrics_trace(user_id=lambda user: user, tags=["support"])
        self.ask, self.aask = trace(self.ask), trace(self.aask)

    def tracked(self, track: Callable[[str, str], object]) -> None:
        """Record by hand, after each call."""
        ask, aask = self.ask, self.aask

        def asked(user: str) -> str:
            answer = ask(user)
            track(user, answer)
            return answer

        async def aasked(user: str) -> str:
            answer = await aask(user)
            track(user, answer)
            return answer

        self.ask, self.aask = asked, aasked


class NoOp(BaseCallbackHandler):
    """Hears of everything, and does nothing: what no handler can be cheaper than."""

    run_inline = True


@contextlib.contextmanager
def recording(name: str, url: str) -> Iterator[Recording]:
    """Yield what records in one way."""
    if name == "nothing":
        yield Recording()
    elif name == "no-op handler":
        yield Recording(NoOp())
    elif name in STAGES:
        with traced_up_to(STAGES.index(name), url) as way:
            yield way
    else:
        yield _PEERS[name](url)


@contextlib.contextmanager
def traced_up_to(stage: int, url: str) -> Iterator[Recording]:
    """Yield what records with ours, through so many hands."""
    way = Recording()
    way.traced()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as around:
        logging.getLogger("trubrics_trace").setLevel(logging.ERROR)  # where it lies
        if stage >= STAGES.index("and structlog to a file"):
            path = Path(folder, "app.log")
            log_json_to(around.enter_context(path.open("w", encoding="utf-8")))
        if stage < STAGES.index("and a durable spool"):
            around.enter_context(capture_prompts())
        is_sent = stage == STAGES.index("and delivery")
        configure(
            enabled=stage > STAGES.index("switched off"),
            spool_dir=Path(folder, "spool"),
            api_key="key" if is_sent else None,
            host=url,
        )
        if is_sent:
            way.finish = lambda: flush(timeout=30) or sys.exit("not all was delivered")
        yield way


def log_json_to(file: TextIO) -> None:
    """Configure structlog as its guide on performance has it."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=file),
        cache_logger_on_first_use=True,
    )


def by_hand(url: str) -> Recording:
    """Return what tracks with the official client."""
    from trubrics import Trubrics

    client, way = Trubrics(api_key="key", host=url), Recording()
    way.tracked(lambda user, answer: client.track_llm(user, QUESTION, answer))
    way.finish = client.flush
    return way


def langfuse(url: str) -> Recording:
    """Return what records with Langfuse's handler."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    client = Langfuse(public_key="key", secret_key="key", base_url=url)  # noqa: S106 - none
    way = Recording(CallbackHandler())
    way.finish = client.flush
    return way


def lunary(url: str) -> Recording:
    """Return what records with Lunary's handler."""
    from lunary import LunaryCallbackHandler

    return Recording(LunaryCallbackHandler(app_id="key", api_url=url))


_PEERS: dict[str, Callable[[str], Recording]] = {
    "track_llm by hand": by_hand,
    "langfuse": langfuse,
    "lunary": lunary,
}


def measured(way: Recording) -> list[float]:
    """Return the microseconds of a call, in the order of the columns."""

    def sync(calls: int) -> None:
        for _ in range(calls):
            way.ask("alice")

    def in_loop(calls: int) -> None:
        async def ask_all() -> None:
            for _ in range(calls):
                await way.aask("alice")

        loop.run_until_complete(ask_all())

    loop = asyncio.new_event_loop()
    found = [lowest_of(ask, way.finish) for ask in (sync, in_loop)]
    loop.close()
    return [column for columns in zip(*found, strict=True) for column in columns]


def lowest_of(
    ask: Callable[[int], None], finish: Callable[[], object]
) -> tuple[float, float]:
    """Return the microseconds of a call: of its caller, of its process."""
    ask(WARM_UP)
    finish()
    callers, processes = [], []
    for _ in range(CHUNKS):
        caller, process = time.thread_time(), time.process_time()
        ask(CALLS)
        callers.append(time.thread_time() - caller)
        finish()
        processes.append(time.process_time() - process)
    return min(callers) / CALLS * 1e6, min(processes) / CALLS * 1e6


class Server(BaseHTTPRequestHandler):
    """Takes everything, whoever it was meant for."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        """Read it all, and say that it is well."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serve on loopback during the block, from this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def lowest_of_rounds(rounds: int) -> dict[str, list[float]]:
    """Return the lowest microseconds of each way, over interleaved rounds."""
    names = [*STAGES, *(name for name in PEERS if name.islower() and is_here(name))]
    lowest: dict[str, list[float]] = {}
    with served() as url:
        for _ in range(rounds):
            for name in names:
                command = [sys.executable, "-m", __spec__.name, "--only", name, url]
                printed = subprocess.run(command, capture_output=True, check=True).stdout
                found = json.loads(printed.splitlines()[-1])
                lowest[name] = [*map(min, lowest.get(name, found), found)]
    return lowest


def is_here(peer: str) -> bool:
    """Whether a peer is installed: the official client always is."""
    return " " in peer or find_spec(peer) is not None


def main() -> None:
    """Print what each way adds to nothing."""
    if "--only" in sys.argv:
        with recording(*sys.argv[2:]) as way:
            print(json.dumps(measured(way)))
        return
    lowest = lowest_of_rounds(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    bare = lowest.pop("nothing")
    added = {
        name: [round(value - least, 1) for value, least in zip(columns, bare, strict=True)]
        for name, columns in lowest.items()
    }
    print(f"{'':26}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name, values in {"nothing": bare, **added}.items():
        print(f"{name:26}" + "".join(f"{value:15,.1f}" for value in values))
    if min(added["no-op handler"]) <= 0:
        sys.exit("the no-op handler came out faster than nothing: measure again")
    keep(
        "overhead",
        {
            "unit": "microseconds of CPU that are added to a call",
            "columns": COLUMNS,
            "nothing": [round(value, 1) for value in bare],
            **added,
        },
    )
    draw(
        "overhead",
        "CPU that recording adds to one model call",
        {name: values[:2] for name, values in added.items()},
        ("sync", "async"),
        "µs",
    )


if __name__ == "__main__":
    main()
