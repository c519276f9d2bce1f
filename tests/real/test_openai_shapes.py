"""Every shape of OpenAI's APIs, through LangChain's clients: one true record a call."""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import openai
import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from tests.real.openai_shapes_server import (
    MODEL,
    Json,
    Shape,
    ShapesServer,
    chat,
    completion,
    failure,
    output_message,
    output_text,
    response,
    serve_shapes,
)
from trubrics_trace import PromptRecord, trubrics_scope
from trubrics_trace.testing import capture_prompts

# LangChain keeps its clients, and their connections, as long as the process lives.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

QUESTION, ANSWER = "What is it?", "It is 42, I think."
HOWS = ("invoke", "ainvoke", "stream", "astream", "streaming")
CALLS = HOWS[:4]
COUNTS = (14, 9, 23, 4, 5)  # what the server says
COUNTS_WITHOUT_DETAILS = (14, 9, 23, None, None)
NOBODY_COUNTED = (None,) * 5

KEY = "sk-proj-5ec7e7AbCdEfGhIjKl"
USER, PASSWORD = "someone", "url-password-5ec7e7"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = ("5ec7e7", BASIC)  # the first is in every key and password


class Api(NamedTuple):
    """One of OpenAI's APIs: its path, how it says a text, and its client."""

    path: str
    say: Callable[[str], Shape]
    model: Callable[..., Any]


APIS = {
    "chat": Api(
        "/chat/completions",
        lambda text: chat({"content": text}),
        lambda **options: ChatOpenAI(**{"stream_usage": True} | options),
    ),
    # It makes a client of its own each time: slow, so one of a kind is kept.
    "completions": Api("/completions", completion, functools.cache(OpenAI)),
    "responses": Api(
        "/responses",
        lambda text: response(*([output_message(output_text(text))] if text else [])),
        lambda **options: ChatOpenAI(use_responses_api=True, **options),
    ),
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


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    """Return each of the APIs in turn."""
    return APIS[request.param]


async def close_what_was_left() -> None:
    """Let clients that nobody has any more close themselves, in their loop."""
    gc.collect()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})


def client_of(api: str | Api, server: ShapesServer, **options: Any) -> Any:
    """Return a client of one of the APIs, at this server."""
    known = {
        "model": MODEL,
        "base_url": f"http://{server.address}/v1",
        "api_key": KEY,
        "max_retries": 0,
    }
    return (APIS[api] if isinstance(api, str) else api).model(**known | options)


def ask(
    client: Callable[..., Any], how: str, run: Run, *, read: list[Any] | None = None
) -> None:
    """Ask in one of LangChain's ways, and keep what a stream has given.

    Args:
        client: Returns the model, given whether it streams where nobody asks it to.
        read: Where each piece of a stream goes.
    """
    pieces: list[Any] = [] if read is None else read

    async def astream() -> None:
        async for piece in client().astream(QUESTION):
            pieces.append(piece)

    if how == "invoke":
        client().invoke(QUESTION)
    elif how == "ainvoke":
        run(client().ainvoke(QUESTION))
    elif how == "stream":
        pieces.extend(client().stream(QUESTION))
    elif how == "astream":
        run(astream())
    else:
        client(streaming=True).invoke(QUESTION)


def told_of(
    answer: Shape, how: str, run: Run, server: ShapesServer, api: str | Api, **options: Any
) -> PromptRecord:
    """Return the one record of a question that is answered so."""
    server.will_answer(answer)
    with capture_prompts() as records, trubrics_scope(user_id="alice"):
        ask(lambda **more: client_of(api, server, **options, **more), how, run)
    [record] = records
    assert ("alice", QUESTION) == (record.user_id, record.prompt)
    assert (MODEL, "openai") == (record.model, record.provider)
    assert "complete" == record.status
    assert 1 == len(server.asked)
    return record


def counts_of(record: PromptRecord) -> tuple[int | None, ...]:
    """Return all token counts of a record."""
    return (
        record.input_tokens,
        record.output_tokens,
        record.total_tokens,
        record.cached_tokens,
        record.reasoning_tokens,
    )


@tool
def search(words: str) -> str:
    """Search for these words."""
    return words


def call(number: int, arguments: str) -> Json:
    """Return a call of the tool, as chat completions have it."""
    function = {"name": "search", "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def function_call(number: int, arguments: str) -> Json:
    """Return a call of the tool, as the Responses API has it."""
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "call_id": f"call_{number}",
        "name": "search",
        "arguments": arguments,
        "status": "completed",
    }


TEA, MILK = '{"words": "tea for two"}', '{"words": "milk"}'
REFUSAL = output_message({"type": "refusal", "refusal": "I must not."})
THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Let me think of it."}],
}
WEB_SEARCH = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "the answer"},
}
TOOLS = {
    "chat": chat({"tool_calls": [call(1, TEA), call(2, MILK)]}, finish_reason="tool_calls"),
    "responses": response(function_call(1, TEA), function_call(2, MILK)),
}


@pytest.mark.parametrize(
    ("shape", "whole", "event"),
    [
        (TOOLS["chat"], ChatCompletion, ChatCompletionChunk),
        (
            chat({"content": ANSWER}, {"refusal": "No."}),
            ChatCompletion,
            ChatCompletionChunk,
        ),
        (completion(ANSWER, ANSWER), Completion, Completion),
        (TOOLS["responses"], Response, ResponseStreamEvent),
        (
            response(THOUGHT, WEB_SEARCH, output_message(output_text(ANSWER))),
            Response,
            ResponseStreamEvent,
        ),
        (response(REFUSAL, incomplete="content_filter"), Response, ResponseStreamEvent),
    ],
)
def test_what_the_server_speaks(shape: Shape, whole: Any, event: Any) -> None:
    """The server's answers, whole and streamed, are what the SDK's own types say."""
    TypeAdapter(whole).validate_python(shape.whole)
    for said in shape.events({"stream_options": {"include_usage": True}}):
        if event is Completion:  # which knows of no choice that goes on
            for choice in said["choices"]:
                choice["finish_reason"] = "stop"
        TypeAdapter(event).validate_python(said)


@pytest.mark.parametrize("how", HOWS)
def test_text(how: str, api: Api, server: ShapesServer, run: Run) -> None:
    """An answer of text is told with its reason to end and the server's own counts."""
    record = told_of(api.say(ANSWER), how, run, server, api)

    assert ANSWER == record.generation
    assert record.tool_calls is None
    assert ("completed" if api is APIS["responses"] else "stop") == record.finish_reason
    assert (how in {"stream", "astream", "streaming"}) == (
        record.first_token_seconds is not None
    )
    if api is not APIS["completions"]:
        assert COUNTS == counts_of(record)
    elif how in {"invoke", "ainvoke"}:
        assert COUNTS_WITHOUT_DETAILS == counts_of(record)
    else:  # LangChain's client of legacy completions does not ask
        assert NOBODY_COUNTED == counts_of(record)


@pytest.mark.parametrize("how", HOWS)
def test_empty(how: str, api: Api, server: ShapesServer, run: Run) -> None:
    """An empty answer is an answer: complete, counted, and of no text."""
    record = told_of(api.say(""), how, run, server, api)

    assert (None, None) == (record.generation, record.tool_calls)
    if how in {"invoke", "ainvoke"} or api is not APIS["completions"]:
        assert COUNTS[:3] == counts_of(record)[:3]


@pytest.mark.parametrize("how", ["stream", "astream", "streaming"])
def test_stream_without_usage(how: str, server: ShapesServer, run: Run) -> None:
    """Where the client asks for no usage, none is told, not even 0."""
    record = told_of(
        chat({"content": ANSWER}), how, run, server, "chat", stream_usage=False
    )

    assert ANSWER == record.generation
    assert NOBODY_COUNTED == counts_of(record)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        (
            "chat",
            {
                "temperature": 0.5,
                "top_p": 0.9,
                "max_completion_tokens": 12,
                "seed": 7,
                "reasoning_effort": "low",
                "stop_sequences": ["END"],
            },
            {
                "temperature": 0.5,
                "top_p": 0.9,
                "max_completion_tokens": 12,
                "seed": 7,
                "reasoning_effort": "low",
                "stop": ("END",),
            },
        ),
        (
            "completions",
            {"temperature": 0.5, "max_tokens": 12, "presence_penalty": 0.1, "seed": 7},
            {
                "temperature": 0.5,
                "top_p": 1,
                "frequency_penalty": 0,
                "presence_penalty": 0.1,
                "n": 1,
                "max_tokens": 12,
                "seed": 7,
            },
        ),
        (
            "responses",
            {"temperature": 0.5, "max_completion_tokens": 12},
            {"temperature": 0.5, "max_completion_tokens": 12},
        ),
    ],
)
@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_parameters(
    how: str, name: str, options: Json, parameters: Json, server: ShapesServer, run: Run
) -> None:
    """The parameters of a call are told, and none that nobody set."""
    record = told_of(APIS[name].say(ANSWER), how, run, server, name, **options)

    assert parameters == record.parameters


@pytest.mark.parametrize("how", CALLS)
def test_two_choices(how: str, server: ShapesServer, run: Run) -> None:
    """Two choices of a chat are one record, of both texts, counted once."""
    answer = chat({"content": "It is 42."}, {"content": "Or 43."})

    record = told_of(answer, how, run, server, "chat", n=2)

    assert record.generation is not None
    assert COUNTS == counts_of(record)
    assert "stop" == record.finish_reason
    if "stream" in how:  # LangChain itself mixes the choices of a stream
        assert sorted("It is 42.Or 43.") == sorted(record.generation)
    else:
        assert "It is 42.\n\nOr 43." == record.generation


def test_two_choices_of_a_completion(server: ShapesServer, run: Run) -> None:
    """Two choices of a legacy completion are one record, of both texts, counted once."""
    answer = completion("It is 42.", "Or 43.")

    record = told_of(answer, "invoke", run, server, "completions", n=2)

    assert "It is 42.\n\nOr 43." == record.generation
    assert COUNTS_WITHOUT_DETAILS == counts_of(record)


def test_two_choices_that_call_tools(server: ShapesServer, run: Run) -> None:
    """The tools that each of the choices calls are told."""
    answer = chat({"tool_calls": [call(1, TEA)]}, {"tool_calls": [call(2, MILK)]})

    record = told_of(answer, "invoke", run, server, "chat", n=2)

    assert record.tool_calls is not None
    assert ["call_1", "call_2"] == [one["id"] for one in record.tool_calls]


@pytest.mark.parametrize("choices", [1, 2])
def test_several_prompts_of_one_request(
    choices: int, server: ShapesServer, captured_prompts: list[PromptRecord]
) -> None:
    """Prompts that share a request have a record each, and its counts are told once."""
    texts = ["A joke.", "A jest.", "A poem.", "An ode."][:: 3 - choices]
    server.will_answer(completion(*texts))

    with trubrics_scope(user_id="alice"):
        client_of("completions", server, n=choices).generate(["Joke!", "Poem!"])

    assert 1 == len(server.asked)
    assert ["Joke!", "Poem!"] == [record.prompt for record in captured_prompts]
    assert ["\n\n".join(texts[:choices]), "\n\n".join(texts[choices:])] == [
        record.generation for record in captured_prompts
    ]
    for record in captured_prompts:
        assert ("alice", "stop") == (record.user_id, record.finish_reason)
        assert (MODEL, "openai") == (record.model, record.provider)
    # LangChain tells them of the request as a whole, at its first prompt.
    assert [COUNTS_WITHOUT_DETAILS, NOBODY_COUNTED] == [*map(counts_of, captured_prompts)]


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("how", HOWS)
def test_tool_calls(how: str, name: str, server: ShapesServer, run: Run) -> None:
    """The tools that a model calls are told by name, arguments and id."""
    server.will_answer(TOOLS[name])
    with capture_prompts() as records, trubrics_scope(user_id="alice"):
        ask(
            lambda **more: client_of(name, server, **more).bind_tools(
                [search], tool_choice="required"
            ),
            how,
            run,
        )

    [record] = records
    assert record.generation is None
    assert record.tool_calls is not None
    assert [
        {"name": "search", "args": {"words": "tea for two"}, "id": "call_1"},
        {"name": "search", "args": {"words": "milk"}, "id": "call_2"},
    ] == [*record.tool_calls]
    assert ("tool_calls" if name == "chat" else "completed") == record.finish_reason
    assert {"tool_choice": "required"} == record.parameters
    assert ("alice", QUESTION, MODEL) == (record.user_id, record.prompt, record.model)
    assert COUNTS == counts_of(record)


def test_tool_call_with_arguments_that_are_no_json(server: ShapesServer, run: Run) -> None:
    """A call that LangChain cannot read is told with the arguments as they came."""
    answer = chat({"tool_calls": [call(1, '{"words": ')]}, finish_reason="tool_calls")

    record = told_of(answer, "invoke", run, server, "chat")

    assert record.tool_calls is not None
    assert [{"name": "search", "args": '{"words": ', "id": "call_1"}] == [
        *record.tool_calls
    ]


# A chat's refusal that is streamed is in nothing that LangChain hands on.
@pytest.mark.parametrize(
    ("name", "answer", "how"),
    [
        ("chat", chat({"refusal": "I must not."}), "invoke"),
        ("chat", chat({"refusal": "I must not."}), "ainvoke"),
        *(("responses", response(REFUSAL), how) for how in HOWS),
    ],
)
def test_refusal(
    name: str, answer: Shape, how: str, server: ShapesServer, run: Run
) -> None:
    """What a model says as it refuses is its answer."""
    record = told_of(answer, how, run, server, name)

    assert "I must not." == record.generation
    assert COUNTS == counts_of(record)


def test_spoken_answer(server: ShapesServer, run: Run) -> None:
    """What a model speaks is its answer, as text, and its sound is not told."""
    spoken = {"id": "audio_1", "data": "U09VTkQ=", "expires_at": 9, "transcript": ANSWER}

    record = told_of(chat({"audio": spoken}), "invoke", run, server, "chat")

    assert ANSWER == record.generation
    assert "U09VTkQ=" not in repr(record.to_dict())
    assert COUNTS == counts_of(record)


@pytest.mark.parametrize("tier", ["default", "flex", "priority"])
@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_service_tier(how: str, tier: str, server: ShapesServer, run: Run) -> None:
    """Details are counted in every tier, though LangChain names them by it."""
    record = told_of(chat({"content": ANSWER}, service_tier=tier), how, run, server, "chat")

    assert COUNTS == counts_of(record)


@pytest.mark.parametrize("how", HOWS)
def test_thoughts_and_built_in_tools(how: str, server: ShapesServer, run: Run) -> None:
    """Thoughts are no text of the answer, and the provider's own tools are tool calls."""
    answer = response(THOUGHT, WEB_SEARCH, output_message(output_text(ANSWER)))

    record = told_of(answer, how, run, server, "responses", output_version="responses/v1")

    assert ANSWER == record.generation
    assert COUNTS == counts_of(record)
    assert record.tool_calls is not None
    assert [("web_search", "ws_1")] == [
        (call["name"], call["id"]) for call in record.tool_calls
    ]


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_custom_tool_call(how: str, server: ShapesServer, run: Run) -> None:
    """A tool that takes plain text is told as a tool call, and not as text too."""
    custom = {
        "id": "ctc_1",
        "type": "custom_tool_call",
        "call_id": "call_1",
        "name": "shell",
        "input": "ls",
    }

    record = told_of(response(custom), how, run, server, "responses")

    assert record.generation is None
    assert record.tool_calls is not None
    assert [{"name": "shell", "args": {"__arg1": "ls"}, "id": "call_1"}] == [
        *record.tool_calls
    ]


def test_incomplete_answer(server: ShapesServer, run: Run) -> None:
    """An answer that was cut says why, as its reason to end."""
    answer = response(output_message(output_text(ANSWER)), incomplete="max_output_tokens")

    record = told_of(answer, "invoke", run, server, "responses")

    assert (ANSWER, "max_output_tokens") == (record.generation, record.finish_reason)
    assert COUNTS == counts_of(record)


def told_as_error(
    asking: Callable[[], object],
    error: type[BaseException] | tuple[type[BaseException], ...],
    caplog: pytest.LogCaptureFixture,
) -> PromptRecord:
    """Return the record of a call that fails, once no secret was found anywhere.

    It is asked twice: the second time with a structlog that the app has configured.
    """
    with (
        caplog.at_level(logging.DEBUG, "trubrics_trace"),
        capture_prompts() as records,
        trubrics_scope(user_id="alice"),
    ):
        with pytest.raises(error) as raised:
            asking()
        with capture_logs() as lines, pytest.raises(error):
            asking()
    said = [record.message for record in caplog.records if record.name == "trubrics_trace"]
    record, again = records
    for told in records:
        assert ("error", "alice", QUESTION) == (told.status, told.user_id, told.prompt)
        assert type(raised.value).__name__ == told.error_type
        assert NOBODY_COUNTED == counts_of(told)
    assert record.record_id in "".join(said)
    assert [again.record_id] == [line["record_id"] for line in lines]
    everything = "\n".join([*(repr(one.to_dict()) for one in records), *said, repr(lines)])
    for secret in SECRETS:
        assert secret not in everything
    return record


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize(
    ("status", "error"), [(429, openai.RateLimitError), (500, openai.InternalServerError)]
)
def test_refused_by_the_server(
    how: str,
    status: int,
    error: type[Exception],
    api: Api,
    server: ShapesServer,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that refuses is an error of the client's type, with no key in it."""
    message = f"not you, {{key}}, at https://{USER}:{PASSWORD}@llm.example/v1"
    server.will_answer(failure(api.path, status, message))

    record = told_as_error(
        lambda: ask(lambda **more: client_of(api, server, **more), how, run), error, caplog
    )

    assert str(record.error_message).startswith(f"Error code: {status}")
    assert "not you" in str(record.error_message)
    assert record.generation is None


def test_signed_in_by_the_url(
    api: Api, server: ShapesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A password in the server's URL is nowhere, even if the server says it back."""
    server.will_answer(failure(api.path, 500, "bad header Authorization: {key}"))
    url = f"http://{USER}:{PASSWORD}@{server.address}/v1"

    record = told_as_error(
        lambda: client_of(api, server, base_url=url).invoke(QUESTION),
        openai.InternalServerError,
        caplog,
    )

    assert "bad header" in str(record.error_message)


@pytest.mark.parametrize("how", CALLS)
def test_nobody_listens(
    how: str,
    api: Api,
    closed: str,
    server: ShapesServer,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A connection that is refused is the client's own connection error."""
    url = f"http://{USER}:{PASSWORD}@{closed}/v1"

    record = told_as_error(
        lambda: ask(lambda **more: client_of(api, server, base_url=url, **more), how, run),
        openai.APIConnectionError,
        caplog,
    )

    assert "Connection error." == record.error_message


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_half_a_body(
    how: str, api: Api, server: ShapesServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A body that ends half-way is an error, of which nothing was read."""
    server.will_answer(api.say(ANSWER).broken_off())

    record = told_as_error(
        lambda: ask(lambda **more: client_of(api, server, **more), how, run),
        openai.APIConnectionError,
        caplog,
    )

    assert record.generation is None


@pytest.mark.parametrize("how", ["stream", "astream", "streaming"])
def test_half_a_stream(
    how: str, api: Api, server: ShapesServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream that ends half-way is an error that keeps the text it had given."""
    server.will_answer(api.say(ANSWER).broken_off())

    record = told_as_error(
        lambda: ask(lambda **more: client_of(api, server, **more), how, run),
        Exception,  # the client's own, or httpx's: that differs between versions
        caplog,
    )

    assert record.generation is not None
    assert ANSWER.startswith(record.generation)
    assert "It is " == record.generation[:6]
    assert record.finish_reason is None


OVERLOADED = {"message": "overloaded", "type": "server_error", "param": None, "code": None}


@pytest.mark.parametrize("name", ["chat", "completions"])
@pytest.mark.parametrize("how", ["stream", "astream", "streaming"])
def test_an_error_in_a_stream(
    how: str,
    name: str,
    server: ShapesServer,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that fails in the middle of a stream is an error, and its text is kept."""
    answer = APIS[name].say(ANSWER)
    server.will_answer(
        answer._replace(
            events=lambda asked: [*answer.events(asked)[:3], {"error": OVERLOADED}]
        )
    )

    record = told_as_error(
        lambda: ask(lambda **more: client_of(name, server, **more), how, run),
        openai.APIError,
        caplog,
    )

    assert "overloaded" in str(record.error_message)
    assert record.generation in {"It is ", "It is 42, "}  # a chat begins with a role


@pytest.mark.parametrize("how", CALLS)
def test_the_clients_own_retries(
    how: str, api: Api, server: ShapesServer, run: Run
) -> None:
    """Requests that the client sends again by itself are one call, and one record."""
    server.will_answer(
        failure(api.path, 429, "slower"), failure(api.path, 500, "oh"), api.say(ANSWER)
    )

    with capture_prompts() as records, trubrics_scope(user_id="alice"):
        ask(lambda **more: client_of(api, server, max_retries=2, **more), how, run)

    [record] = records
    assert 3 == len(server.asked)
    assert ("complete", ANSWER) == (record.status, record.generation)
    assert (None, None) == (record.error_type, record.error_message)


def test_retries_that_are_given_up(
    api: Api, server: ShapesServer, captured_prompts: list[PromptRecord]
) -> None:
    """A client that gives up after its own retries has failed once."""
    server.will_answer(failure(api.path, 429, "slower"))

    with trubrics_scope(user_id="alice"), pytest.raises(openai.RateLimitError):
        client_of(api, server, max_retries=2).invoke(QUESTION)

    [record] = captured_prompts
    assert 3 == len(server.asked)
    assert "error" == record.status
    assert "RateLimitError" in str(record.error_type)


class Scripted(BaseChatModel):
    """A chat model that gives these pieces, or all of them as one message."""

    pieces: list[AIMessageChunk]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        first, *rest = self.pieces
        whole = first.__add__(rest) if rest else first
        message = AIMessage(
            content=whole.content,
            usage_metadata=whole.usage_metadata,
            response_metadata=whole.response_metadata,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self.pieces:
            yield ChatGenerationChunk(message=piece)


def piece(text: str, usage: Json | None = None, **metadata: Any) -> AIMessageChunk:
    """Return a piece of an answer, with what its model says of tokens there."""
    said: Any = usage
    return AIMessageChunk(content=text, usage_metadata=said, response_metadata=metadata)


@pytest.mark.parametrize(
    ("pieces", "counts", "finish_reason"),
    [
        pytest.param(
            [
                # Each piece says what is new since the one before it.
                piece(
                    "It is ",
                    {
                        "input_tokens": 14,
                        "output_tokens": 6,
                        "total_tokens": 20,
                        "input_token_details": {"cache_read": 4},
                        "output_token_details": {"reasoning": 5},
                    },
                ),
                piece(
                    "42, I think.",
                    {
                        "input_tokens": 0,
                        "output_tokens": 3,
                        "total_tokens": 3,
                        "input_token_details": {"cache_read": 0},
                        "output_token_details": {"reasoning": 0},
                    },
                    finish_reason="STOP",
                    model_name="gemini-shape-1",
                ),
            ],
            COUNTS,
            "STOP",
            id="Gemini",
        ),
        pytest.param(
            [
                piece("It is "),
                piece(
                    "42, I think.",
                    {"input_tokens": 14, "output_tokens": 9, "total_tokens": 23},
                    model="llama-shape-1",
                    done=True,
                    done_reason="stop",
                    prompt_eval_count=14,
                    eval_count=9,
                    eval_duration=99,
                ),
            ],
            COUNTS_WITHOUT_DETAILS,
            "stop",
            id="Ollama",
        ),
        pytest.param(
            [
                piece("It is "),
                piece(
                    "42, I think.",
                    model="llama-shape-1",
                    done_reason="stop",
                    prompt_eval_count=14,
                    eval_count=9,
                ),
            ],
            COUNTS_WITHOUT_DETAILS,
            "stop",
            id="Ollama, in its own words alone",
        ),
    ],
)
@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_other_providers(
    how: str,
    pieces: list[AIMessageChunk],
    counts: tuple[int | None, ...],
    finish_reason: str,
    run: Run,
    captured_prompts: list[PromptRecord],
) -> None:
    """Gemini's and Ollama's counts are told as they are, of a stream as of a whole."""
    with trubrics_scope(user_id="alice"):
        ask(lambda: Scripted(pieces=pieces), how, run)

    [record] = captured_prompts
    assert (ANSWER, finish_reason) == (record.generation, record.finish_reason)
    assert str(record.model).endswith("shape-1")
    assert counts == counts_of(record)
