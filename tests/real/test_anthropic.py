"""LangChain's Anthropic client through HTTP: one true record a call, in all its shapes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from langchain_core.tools import tool
from pydantic import TypeAdapter

from tests.real.anthropic_server import (
    MODEL,
    PATH,
    message,
    text,
    thinking,
    tool_use,
)
from tests.real.openai_shapes_server import Json, Shape, ShapesServer, failure, serve_shapes
from tests.real.test_openai_shapes import (
    ANSWER,
    CALLS,
    HOWS,
    NOBODY_COUNTED,
    PASSWORD,
    QUESTION,
    USER,
    ask,
    close_what_was_left,
    counts_of,
    told_as_error,
)
from trubrics_trace import PromptRecord, trubrics_scope
from trubrics_trace.testing import capture_prompts

anthropic = pytest.importorskip("anthropic")
types = pytest.importorskip("anthropic.types")
langchain_anthropic = pytest.importorskip("langchain_anthropic")

# LangChain keeps its clients, and their connections, as long as the process lives.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

IS_CORE_0_3 = version("langchain-core").startswith("0.")
KEY = "sk-ant-api03-5ec7e7AbCdEfGhIjKl"
# What was read from the cache, and written to it, is input too: 10 + 4 + 3.
COUNTS = (17, 9, 26, 4, None)

THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}
SEARCH = tool_use("web_search", {"query": "answer"}, "srvtoolu_1")
SEARCH["type"] = "server_tool_use"
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {
            "type": "web_search_result",
            "title": "Answers",
            "url": "https://answers.example/42",
            "encrypted_content": "c2VjcmV0",
            "page_age": None,
        }
    ],
}


@pytest.fixture(scope="module")
def server() -> Iterator[ShapesServer]:
    """Yield the server, which each test tells what to answer."""
    with serve_shapes() as shapes:
        yield shapes


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    """Yield an address at which nobody listens, nor will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Yield what runs a coroutine, always in one loop: LangChain's clients outlive it."""
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.run_until_complete(close_what_was_left())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@tool
def search(words: str) -> str:
    """Search for these words."""
    return words


def client_of(server: ShapesServer, *tools: Any, **options: Any) -> Any:
    """Return a client of this server, with these tools."""
    known = {
        "model": MODEL,
        "base_url": f"http://{server.address}",
        "api_key": KEY,
        "max_retries": 0,
        "max_tokens": 100,
    }
    client = langchain_anthropic.ChatAnthropic(**known | options)
    return client.bind_tools(list(tools)) if tools else client


def told_of(
    answer: Shape, how: str, run: Run, server: ShapesServer, *tools: Any, **options: Any
) -> PromptRecord:
    """Return the one record of a question that is answered so."""
    server.will_answer(answer)
    with capture_prompts() as records, trubrics_scope(user_id="alice"):
        ask(lambda **more: client_of(server, *tools, **options, **more), how, run)
    [record] = records
    assert ("alice", QUESTION) == (record.user_id, record.prompt)
    assert (MODEL, "anthropic") == (record.model, record.provider)
    assert "complete" == record.status
    assert 1 == len(server.asked)
    return record


@pytest.mark.parametrize(
    "shape",
    [
        message(text(ANSWER)),
        message(thinking("Let me see."), text(ANSWER)),
        message(tool_use("search", {"words": "tea"}, "toolu_1"), stop_reason="tool_use"),
        message(SEARCH, FOUND, text(ANSWER)),
    ],
)
def test_what_the_server_speaks(shape: Shape) -> None:
    """The server's answers, whole and streamed, are what the SDK's own types say."""
    TypeAdapter(types.Message).validate_python(shape.whole)
    for event in shape.events({}):
        if event["type"] != "ping":  # of which the SDK tells nobody
            TypeAdapter(types.RawMessageStreamEvent).validate_python(event)


@pytest.mark.parametrize("how", HOWS)
def test_text(how: str, server: ShapesServer, run: Run) -> None:
    """An answer of text is told whole, and the tokens of the cache are counted once."""
    answer = message(text(ANSWER), stop_reason="max_tokens")

    record = told_of(answer, how, run, server, top_k=4)

    assert (ANSWER, "max_tokens") == (record.generation, record.finish_reason)
    assert record.tool_calls is None
    assert COUNTS == counts_of(record)
    assert {"max_tokens": 100, "top_k": 4} == record.parameters
    assert [{"role": "user", "content": QUESTION}] == [*(record.messages or ())]
    assert ("invoke" not in how) == (record.first_token_seconds is not None)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (
            {
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 2,
                    "ephemeral_1h_input_tokens": 1,
                }
            },
            COUNTS,
        ),
        (
            {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
            (10, 9, 19, 0, None),
        ),
        (
            {"cache_creation_input_tokens": None, "cache_read_input_tokens": None},
            (10, 9, 19, None, None),
        ),
    ],
)
@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_cache(
    how: str,
    usage: Json,
    counts: tuple[int | None, ...],
    server: ShapesServer,
    run: Run,
) -> None:
    """The cache is counted as the server says: by age, not at all, or by nobody."""
    record = told_of(message(text(ANSWER), **usage), how, run, server)

    assert counts == counts_of(record)


@pytest.mark.parametrize("how", ["stream", "astream", "streaming"])
def test_stream_without_usage(how: str, server: ShapesServer, run: Run) -> None:
    """Where the client wants no usage, none is told, not even 0."""
    record = told_of(message(text(ANSWER)), how, run, server, stream_usage=False)

    assert ANSWER == record.generation
    assert NOBODY_COUNTED == counts_of(record)


@pytest.mark.parametrize("how", HOWS)
def test_thinking(how: str, server: ShapesServer, run: Run) -> None:
    """What a model thinks is no part of its answer."""
    answer = message(thinking("Let me see: 6 times 7."), text(ANSWER))

    record = told_of(answer, how, run, server, **THINKING)

    assert (ANSWER, "end_turn") == (record.generation, record.finish_reason)
    assert "6 times 7" not in repr(record.to_dict())
    assert COUNTS == counts_of(record)


def test_tokens_of_thinking(
    server: ShapesServer, captured_prompts: list[PromptRecord]
) -> None:
    """They are told where the client tells them, and are part of the output."""
    details = {"thinking_tokens": 5}
    server.will_answer(
        message(thinking("Hm."), text(ANSWER), output_tokens_details=details)
    )

    with trubrics_scope(user_id="alice"):
        said = client_of(server, **THINKING).invoke(QUESTION).usage_metadata

    [record] = captured_prompts
    known = said.get("output_token_details", {}).get("reasoning")
    assert (*COUNTS[:4], known) == counts_of(record)


@pytest.mark.parametrize("said", ["", "Let me look."])
@pytest.mark.parametrize("how", HOWS)
def test_tool_calls(how: str, said: str, server: ShapesServer, run: Run) -> None:
    """The tools that a model calls are told beside what it says."""
    answer = message(
        *([text(said)] if said else []),
        tool_use("search", {"words": "tea for two"}, "toolu_1"),
        tool_use("search", {"words": "milk"}, "toolu_2"),
        stop_reason="tool_use",
    )

    record = told_of(answer, how, run, server, search)

    assert (said or None, "tool_use") == (record.generation, record.finish_reason)
    assert record.tool_calls is not None
    assert [
        {"name": "search", "args": {"words": "tea for two"}, "id": "toolu_1"},
        {"name": "search", "args": {"words": "milk"}, "id": "toolu_2"},
    ] == [*record.tool_calls]
    assert COUNTS == counts_of(record)


@pytest.mark.parametrize("how", HOWS)
def test_tools_of_the_provider(how: str, server: ShapesServer, run: Run) -> None:
    """What Anthropic itself has searched is told as a tool call, and not as text."""
    answer = message(text("I look. "), SEARCH, FOUND, text(ANSWER))

    record = told_of(answer, how, run, server, WEB_SEARCH)

    assert f"I look. {ANSWER}" == record.generation
    assert record.tool_calls is not None
    assert [("web_search", "srvtoolu_1")] == [
        (call["name"], call["id"]) for call in record.tool_calls
    ]
    assert COUNTS == counts_of(record)


@pytest.mark.parametrize("stop_reason", ["end_turn", "refusal"])
@pytest.mark.parametrize("how", HOWS)
def test_empty(how: str, stop_reason: str, server: ShapesServer, run: Run) -> None:
    """An empty answer is an answer, complete and counted, and says why it ended."""
    record = told_of(message(stop_reason=stop_reason), how, run, server)

    assert (None, stop_reason) == (record.generation, record.finish_reason)
    assert COUNTS == counts_of(record)


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "RateLimitError"), (500, "InternalServerError"), (529, "APIStatusError")],
)
def test_refused_by_the_server(
    how: str,
    status: int,
    name: str,
    server: ShapesServer,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that refuses is an error of the client's type, with no key in it."""
    said = f"not you, x-api-key: {{key}}, at https://{USER}:{PASSWORD}@llm.example"
    server.will_answer(failure(PATH, status, said))

    record = told_as_error(
        lambda: ask(lambda **more: client_of(server, **more), how, run),
        getattr(anthropic, name),
        caplog,
    )

    assert str(record.error_message).startswith(f"Error code: {status}")
    assert "not you" in str(record.error_message)
    assert record.generation is None


def test_signed_in_by_the_url(
    server: ShapesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A password in the server's URL is nowhere, even if the server says it back."""
    server.will_answer(failure(PATH, 500, "bad header Authorization: {key}"))
    url = f"http://{USER}:{PASSWORD}@{server.address}"

    record = told_as_error(
        lambda: client_of(server, base_url=url).invoke(QUESTION),
        anthropic.InternalServerError,
        caplog,
    )

    assert "bad header" in str(record.error_message)


@pytest.mark.parametrize("how", CALLS)
def test_nobody_listens(
    how: str, closed: str, server: ShapesServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is refused is the client's own connection error."""
    url = f"http://{USER}:{PASSWORD}@{closed}"

    record = told_as_error(
        lambda: ask(lambda **more: client_of(server, base_url=url, **more), how, run),
        anthropic.APIConnectionError,
        caplog,
    )

    assert "Connection error." == record.error_message


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_half_a_body(
    how: str, server: ShapesServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A body that ends half-way is an error, of which nothing was read."""
    server.will_answer(message(text(ANSWER)).broken_off())

    record = told_as_error(
        lambda: ask(lambda: client_of(server), how, run),
        anthropic.APIConnectionError,
        caplog,
    )

    assert record.generation is None


OVERLOADED = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
}


@pytest.mark.parametrize("tools", [(), (search,)], ids=["text", "blocks"])
@pytest.mark.parametrize("ends", ["closed", "overloaded"])
@pytest.mark.parametrize("how", ["stream", "astream", "streaming"])
def test_half_a_stream(
    how: str,
    ends: str,
    tools: tuple[Any, ...],
    server: ShapesServer,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stream that ends half-way is an error that keeps the text it had given."""
    if IS_CORE_0_3 and (ends == "overloaded" or (tools and how == "streaming")):
        pytest.skip("langchain-core 0.3 tells no handler of it")
    answer = message(text(ANSWER))
    failing = answer._replace(events=lambda asked: [*answer.events(asked)[:5], OVERLOADED])
    server.will_answer(failing if ends == "overloaded" else answer.broken_off())

    record = told_as_error(
        lambda: ask(lambda **more: client_of(server, *tools, **more), how, run),
        Exception,  # the client's own, or httpx's: that differs between versions
        caplog,
    )

    assert "It is " == record.generation
    assert record.finish_reason is None


@pytest.mark.parametrize("how", CALLS)
def test_the_clients_own_retries(how: str, server: ShapesServer, run: Run) -> None:
    """Requests that the client sends again by itself are one call, and one record."""
    server.will_answer(
        failure(PATH, 429, "slower"), failure(PATH, 529, "oh"), message(text(ANSWER))
    )

    with capture_prompts() as records, trubrics_scope(user_id="alice"):
        ask(lambda **more: client_of(server, max_retries=2, **more), how, run)

    [record] = records
    assert 3 == len(server.asked)
    assert ("complete", ANSWER) == (record.status, record.generation)
    assert (None, None) == (record.error_type, record.error_message)
