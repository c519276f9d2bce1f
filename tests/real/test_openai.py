"""LangChain's OpenAI clients through HTTP: one record a call, and delivered as it is."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_openai import ChatOpenAI, OpenAI

import trubrics_trace
from examples.chat import smollm2
from tests.real.openai_server import MODEL, answer_to, serve_openai, usage_of
from trubrics_trace import PromptRecord, TrubricsCallbackHandler, trubrics_scope
from trubrics_trace.testing import IngestionServer, assert_tracked, serve_ingestion

# LangChain keeps its clients, and their connections, as long as the process lives.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

JOKE, POEM = "Tell me a joke", "Write me a poem"
REPOSITORY = Path(__file__).parents[2]


class Server(NamedTuple):
    """A server for the clients: where it is, what it is called, and if it echoes."""

    url: str
    model: str
    echoes: bool

    def chat(self, **options: Any) -> ChatOpenAI:
        """Return a chat model of this server."""
        known = self._known() | {"max_completion_tokens": 12}
        return ChatOpenAI(**known | options)

    def completion(self, **options: Any) -> OpenAI:
        """Return a completion model of this server."""
        return OpenAI(**self._known() | {"max_tokens": 12} | options)

    def _known(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "base_url": self.url,
            "api_key": "none",
            "max_retries": 0,
        }


@pytest.fixture(scope="module")
def stub() -> Iterator[Server]:
    """Yield a server whose answers and counts are known beforehand."""
    with serve_openai() as url:
        yield Server(url, MODEL, echoes=True)


@pytest.fixture(scope="module")
def small_model() -> Iterator[Server]:
    """Yield the real small language model, where `make demo` has installed it."""
    if not smollm2.is_installed():
        pytest.skip("the real model is not installed here; `make demo` installs it")
    server = subprocess.Popen(
        [sys.executable, "-m", smollm2.__name__],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield Server(f"{server.stdout.readline().strip()}/v1", smollm2.NAME, echoes=False)
        server.stdin.close()


@pytest.fixture(params=["stub", "small_model"])
def llm(request: pytest.FixtureRequest) -> Server:
    """Return each of the servers in turn."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Yield what runs a coroutine, always in one loop: LangChain's clients outlive it."""
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    gc.collect()  # a client's stream that was left closes itself in its loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def ingestion(tmp_path: Path) -> Iterator[IngestionServer]:
    """Yield where the records of the test are delivered to."""
    with serve_ingestion() as server:
        trubrics_trace.configure(
            api_key=server.api_key, host=server.url, spool_dir=tmp_path
        )
        yield server


def delivered(server: IngestionServer) -> list[dict[str, Any]]:
    """Return what has arrived, once everything has."""
    assert trubrics_trace.flush(10)
    assert set(server.record_ids.values()) <= {1}
    return server.events


def test_each_of_several_prompts_has_its_own_generation(
    llm: Server, captured_prompts: list[PromptRecord]
) -> None:
    """`generate` of a joke and a poem gives two records, each with its own prompt."""
    with trubrics_scope(user_id="alice"):
        result = llm.completion().generate([JOKE, POEM])

    joke = assert_tracked(captured_prompts, prompt=JOKE, user_id="alice")
    poem = assert_tracked(captured_prompts, prompt=POEM, user_id="alice")
    assert isinstance(joke, PromptRecord)
    assert isinstance(poem, PromptRecord)
    assert [result.generations[0][0].text, result.generations[1][0].text] == [
        joke.generation,
        poem.generation,
    ]
    assert 2 == len(captured_prompts)
    if llm.echoes:
        assert [answer_to(JOKE), answer_to(POEM)] == [joke.generation, poem.generation]


def test_the_handler_by_hand_tells_the_joke_from_the_poem(
    stub: Server, captured_prompts: list[PromptRecord]
) -> None:
    """Trubrics' own documented program saves two prompts, each with its generation."""
    handler = TrubricsCallbackHandler(tags=["docs"], user_id="user-id-1234")

    stub.completion(callbacks=[handler]).generate([JOKE, POEM])

    told = [(record.prompt, record.generation) for record in captured_prompts]
    assert [(JOKE, answer_to(JOKE)), (POEM, answer_to(POEM))] == told
    assert {("langchain", "docs")} == {record.tags for record in captured_prompts}
    assert {"user-id-1234"} == {record.user_id for record in captured_prompts}


CALLS = ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"]


def ask(model: ChatOpenAI, how: str, run: Run) -> int:
    """Ask in one of LangChain's ways; returns how many questions that were."""

    async def astream() -> None:
        async for _ in model.astream(JOKE):
            pass

    if how == "invoke":
        model.invoke(JOKE)
    elif how == "ainvoke":
        run(model.ainvoke(JOKE))
    elif how == "stream":
        list(model.stream(JOKE))
    elif how == "astream":
        run(astream())
    elif how == "batch":
        model.batch([JOKE, POEM])
    else:
        run(model.abatch([JOKE, POEM]))
    return 2 if "batch" in how else 1


@pytest.mark.parametrize("how", CALLS)
def test_a_chat_call_is_one_record_and_is_delivered_as_it_is(
    how: str, llm: Server, ingestion: IngestionServer, run: Run
) -> None:
    """Each way to call a chat model gives one record a call, with all that it said."""
    with trubrics_scope(user_id="alice", thread_id="t-1"):
        asked = ask(llm.chat(stream_usage=True), how, run)

    events = delivered(ingestion)

    assert asked == len(events)
    assert sorted([JOKE, POEM][:asked]) == sorted(event["prompt"] for event in events)
    for event in events:
        properties = event["properties"]
        assert ("alice", "t-1") == (event["user_id"], event["thread_id"])
        assert (llm.model, "openai") == (properties["model"], properties["provider"])
        assert "complete" == properties["status"]
        assert [{"role": "user", "content": event["prompt"]}] == properties["messages"]
        counts = [properties[f"{kind}_tokens"] for kind in ("input", "output", "total")]
        assert counts[0] + counts[1] == counts[2] > 0
        assert ("stream" in how) == ("first_token_seconds" in properties)
        if llm.echoes:
            answer = answer_to(event["prompt"])
            assert answer == event["generation"]
            assert list(usage_of([event["prompt"]], [answer]).values()) == counts
        else:
            assert event["generation"]


def test_several_choices_are_counted_once(
    stub: Server, captured_prompts: list[PromptRecord]
) -> None:
    """With `n=2` both texts are told, and the tokens are the server's own numbers."""
    with trubrics_scope(user_id="alice"):
        stub.chat(n=2).invoke(JOKE)

    (record,) = captured_prompts
    answer = answer_to(JOKE)
    assert f"{answer}\n\n{answer}" == record.generation
    usage = usage_of([JOKE], [answer, answer])
    assert usage["total_tokens"] == record.total_tokens


def test_a_stream_without_usage_says_nothing_of_tokens(
    stub: Server, captured_prompts: list[PromptRecord]
) -> None:
    """Tokens that nobody counted are None, not 0."""
    with trubrics_scope(user_id="alice"):
        list(stub.chat(stream_usage=False).stream(JOKE))

    (record,) = captured_prompts
    assert (None, None) == (record.input_tokens, record.output_tokens)


def test_a_failed_call_is_an_error_that_gives_no_key_away(
    stub: Server, captured_prompts: list[PromptRecord]
) -> None:
    """The server's error is told by its type, its message cleared of keys."""
    broken = stub._replace(model="broken").chat()

    with trubrics_scope(user_id="alice"), pytest.raises(Exception, match="no sk-test"):
        broken.invoke(JOKE)

    (record,) = captured_prompts
    assert "error" == record.status
    assert record.error_type is not None
    assert record.error_type.endswith("Error")
    assert "sk-test" not in str(record.error_message)
    assert "[masked]" in str(record.error_message)


def test_a_stream_left_early_is_stopped_and_keeps_its_text(
    llm: Server, captured_prompts: list[PromptRecord]
) -> None:
    """A consumer that leaves a stream is no error, and what it had read is told."""
    with trubrics_scope(user_id="alice"):
        stream = llm.chat().stream(JOKE)
        read = [next(stream).content, next(stream).content]
        stream.close()  # type: ignore[attr-defined] # it is a generator

    (record,) = captured_prompts
    assert "stopped" == record.status
    assert "".join(map(str, read)) == (record.generation or "")
