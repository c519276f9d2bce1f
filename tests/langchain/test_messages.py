"""Messages told plainly, in every shape that a provider or LangChain gives them."""

from __future__ import annotations

import base64
import copy
import io
import tracemalloc
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.prompts import ChatPromptTemplate

from trubrics_trace import PromptRecord, trubrics_scope
from trubrics_trace.langchain._content import text_of
from trubrics_trace.langchain._messages import (
    answer_of,
    prompt_of,
    tell_messages,
    tool_calls_of,
)

BASE64 = base64.b64encode(b"x" * 100).decode()  # padded, so its length tells too much
SIGNED = "https://someone:secret@media.example:8443/cat.png?signature=secret#secret"
WHEN = date(2025, 1, 1)
TEA: Any = {"name": "search", "args": {"q": "tea"}, "id": "c1", "type": "tool_call"}


def developer(content: str) -> SystemMessage:
    """Return the message that langchain-openai makes for its newest role."""
    return SystemMessage(content, additional_kwargs={"__openai_role__": "developer"})


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (HumanMessage("Hi"), "user"),
        (HumanMessageChunk(content="Hi"), "user"),
        (AIMessage("Hi"), "assistant"),
        (AIMessageChunk(content="Hi"), "assistant"),
        (SystemMessage("Hi"), "system"),
        (developer("Hi"), "developer"),
        (ChatMessage(role="human", content="Hi"), "user"),
        (ChatMessage(role="Assistant", content="Hi"), "assistant"),
        (ChatMessage(role="critic", content="Hi"), "critic"),
        (ChatMessage(role="tool", content="Hi"), "tool"),
        ("Hi", "user"),
    ],
    ids=repr,
)
def test_role(message: object, role: str) -> None:
    """Every type of message has its role; a role of the app's own keeps its name."""
    assert ({"role": role, "content": "Hi"},) == tell_messages([message])


def test_message_that_calls_tools() -> None:
    """An assistant's message of the history keeps the tools that it called, frozen."""
    [told] = tell_messages([AIMessage(content="", tool_calls=[TEA])])

    calls = ({"name": "search", "args": {"q": "tea"}, "id": "c1"},)
    assert {"role": "assistant", "content": "", "tool_calls": calls} == told
    with pytest.raises(TypeError):
        told["content"] = "changed"
    with pytest.raises(TypeError):
        told["tool_calls"][0]["name"] = "changed"


def native(*blocks: dict[str, Any]) -> HumanMessage:
    """Return a user's message in a provider's own shape, where tools answer too."""
    return HumanMessage(content=list(blocks))


@pytest.mark.parametrize(
    ("message", "answered"),
    [
        (ToolMessage("No", tool_call_id="c1"), {"tool_call_id": "c1"}),
        (
            ToolMessage("No", tool_call_id="c1", name="search"),
            {"tool_call_id": "c1", "name": "search"},
        ),
        (ToolMessage("No", tool_call_id=""), {}),
        (FunctionMessage(content="No", name="search"), {"name": "search"}),
        (
            native({"type": "tool_result", "tool_use_id": "c1", "content": "No"}),
            {"tool_call_id": "c1"},
        ),
        (
            native({"type": "function_call_output", "call_id": "c1", "output": "No"}),
            {"tool_call_id": "c1"},
        ),
        (native({"type": "tool_result", "content": "No"}), {}),
        (
            native({"toolResult": {"toolUseId": "c1", "content": [{"text": "No"}]}}),
            {"tool_call_id": "c1"},
        ),
    ],
    ids=repr,
)
def test_result_of_a_tool(message: BaseMessage, answered: dict[str, str]) -> None:
    """A tool's result says which call it answers, and of which tool, where it is known."""
    assert ({"role": "tool", "content": "No", **answered},) == tell_messages([message])


def test_results_of_two_tools() -> None:
    """A user's message that holds nothing but results is the tools', and no prompt."""
    results = [
        {"type": "tool_result", "tool_use_id": call, "content": call} for call in "ab"
    ]
    told = tell_messages([HumanMessage("Tea?"), native(*results)])

    assert {"role": "tool", "content": "a\nb"} == told[1]
    assert "Tea?" == prompt_of(told)


def test_result_beside_a_question() -> None:
    """A result beside what the user says is the user's message."""
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "No."}
    (told,) = tell_messages([native(result, {"type": "text", "text": "Why?"})])

    assert {"role": "user", "content": "No.\nWhy?"} == told


@pytest.mark.parametrize(
    ("message", "content"),
    [(HumanMessage, "4\n2"), (SystemMessage, "4\n2"), (AIMessage, "42")],
)
def test_blocks_of_a_message(message: type[BaseMessage], content: str) -> None:
    """What was asked stands block by block on lines; an answer's blocks have no gap."""
    [told] = tell_messages([message(content=["4", {"type": "text", "text": "2"}])])

    assert content == told["content"]


def test_answer() -> None:
    """An answer's blocks are put together as they were streamed, in pieces of words."""
    pieces: list[Any] = [{"type": "text", "text": "Ber"}, {"type": "text", "text": "lin"}]

    assert "Berlin" == answer_of(AIMessage(content=pieces))
    assert "" == answer_of(None)


@pytest.mark.parametrize(
    ("content", "extra", "answer"),
    [
        ("", {"refusal": "I cannot."}, "I cannot."),
        ("", {"refusal": None}, ""),
        ("42", {"refusal": None}, "42"),
        ([{"type": "refusal", "refusal": "I cannot."}], {}, "I cannot."),
        (
            "",
            {"audio": {"id": "a1", "data": BASE64, "transcript": "Forty-two"}},
            "Forty-two",
        ),
        ("", {"audio": {"id": "a1", "data": BASE64}}, "[audio 100 bytes]"),
        ("", {"audio": b"x" * 100}, "[audio 100 bytes]"),
        ("", {"audio": {}}, ""),
        ("", {"reasoning_content": "Hm"}, ""),
        ([], {}, ""),
    ],
)
def test_answer_beside_the_content(
    content: Any, extra: dict[str, Any], answer: str
) -> None:
    """A refusal, and what is spoken, stand beside the content; thoughts are no answer."""
    message = AIMessage(content=content, additional_kwargs=extra)

    assert answer == answer_of(message)
    assert answer == tell_messages([message])[0]["content"]


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([], ""),
        ([SystemMessage("Be brief."), HumanMessage("Hi")], "Hi"),
        ([HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Bye")], "Bye"),
        (
            [HumanMessage("Tea?"), AIMessage(""), ToolMessage("no", tool_call_id="c")],
            "Tea?",
        ),
        (
            [
                HumanMessage("Coffee?"),
                AIMessage("Yes."),
                HumanMessage("Tea?"),
                AIMessage("", tool_calls=[TEA]),
                ToolMessage("no", tool_call_id="c1"),
                AIMessage("", tool_calls=[TEA]),
                ToolMessage("yes", tool_call_id="c1"),
            ],
            "Tea?",
        ),
        ([HumanMessage(""), AIMessage("Hello")], ""),
        ([SystemMessage("Begin."), developer("Now.")], "Now."),
    ],
)
def test_prompt(messages: list[BaseMessage], prompt: str) -> None:
    """The prompt is what the user said last; where no user spoke, the last message."""
    assert prompt == prompt_of(tell_messages(messages))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hi", "Hi"),
        ("", ""),
        (None, ""),
        (42, "42"),
        ({"type": "text", "text": "Hi"}, "Hi"),
        (["Hi", "", "there"], "Hi\nthere"),
        (("Hi", {"text": "there"}), "Hi\nthere"),
        ([{"type": "text", "text": "Hi"}, None, 7, {"Hi"}, Ellipsis], "Hi"),
        ([["Hi", {"text": "there"}], "."], "Hi\nthere\n."),
        ([{"type": "text"}, {"type": None, "text": "Hi"}, {}], "[text]\nHi\n[content]"),
        ([{"type": "input_text", "text": "Hi"}], "Hi"),
        ([{"type": "output_text", "text": "Hi", "annotations": []}], "Hi"),
        ([{"type": "text-plain", "text": "Hi", "mime_type": "text/plain"}], "Hi"),
        ([{"type": "refusal", "refusal": "I cannot."}], "I cannot."),
        ([{"type": "tool_result", "content": "Oolong"}], "Oolong"),
        (
            [{"type": "tool_result", "content": [{"type": "text", "text": "Oolong"}, "."]}],
            "Oolong\n.",
        ),
        ([{"type": "tool_result", "tool_use_id": "c1"}], ""),
        ([{"type": "tool_result", "content": []}], ""),
        ([{"type": "function_call_output", "output": "Oolong"}], "Oolong"),
        (
            [{"type": "custom_tool_call_output", "output": [{"text": "Oolong"}]}],
            "Oolong",
        ),
        # Documents that are text: Anthropic's, Bedrock's, LangChain's
        (
            [{"type": "document", "source": {"type": "text", "data": "Oolong"}}],
            "Oolong",
        ),
        (
            [{"type": "document", "source": {"type": "content", "content": "Oolong"}}],
            "Oolong",
        ),
        (
            [
                {
                    "type": "document",
                    "source": {
                        "type": "content",
                        "content": [{"type": "text", "text": "O"}],
                    },
                }
            ],
            "O",
        ),
        (
            [
                {
                    "type": "search_result",
                    "source": "https://tea.example",
                    "title": "Tea",
                    "content": [{"type": "text", "text": "Oolong"}],
                }
            ],
            "Oolong",
        ),
        ([{"document": {"format": "txt", "source": {"text": "Oolong"}}}], "Oolong"),
        (
            [{"document": {"format": "txt", "source": {"content": [{"text": "Oolong"}]}}}],
            "Oolong",
        ),
        ([{"type": "file", "source_type": "text", "text": "Oolong"}], "Oolong"),
        # Bedrock's own shapes
        ([{"text": "Oolong"}, {"cachePoint": {"type": "default"}}], "Oolong"),
        ([{"toolResult": {"content": [{"json": {"tea": "ö"}}]}}], '{"tea": "ö"}'),
        ([{"type": "json", "json": [1, b"x"]}], '[1, "[bytes 1 bytes]"]'),
        ([{"guardContent": {"text": {"text": "Oolong"}}}], "Oolong"),
        (
            [{"citationsContent": {"content": [{"text": "Oolong"}], "citations": []}}],
            "Oolong",
        ),
        # What LangChain knows no word for
        ([{"type": "non_standard", "value": {"type": "text", "text": "Hi"}}], "Hi"),
        ([{"type": "non_standard", "value": {"type": "thinking", "thinking": "Hm"}}], ""),
        ([{"type": "non_standard", "value": 42}], "[non_standard]"),
    ],
    ids=repr,
)
def test_text(content: Any, text: str) -> None:
    """Of strings, blocks and results of tools the text is told, and nothing is raised."""
    assert text == text_of(content)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "Hm", "signature": "x"},
        {"type": "thinking", "text": "Hm"},
        {"type": "redacted_thinking", "data": "Hm"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "reasoning_content", "reasoning_content": {"text": "Hm"}},
        {"type": "tool_use", "name": "search", "input": {"q": "tea"}},
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"text": "Hm", "thought": True},
        {"reasoningContent": {"reasoningText": {"text": "Hm"}}},
        {"type": "compaction", "content": "Hm"},
        {"type": "input_json_delta", "partial_json": "{"},
        {"type": "tool_call", "name": "search", "args": {"q": "tea"}},
        {"type": "tool_call_chunk", "name": "search", "args": "{"},
        {"type": "function_call", "name": "search", "arguments": "{}"},
        {"type": "server_tool_use", "name": "web_search", "input": {"query": "tea"}},
        {"type": "server_tool_call", "name": "web_search", "args": {"query": "tea"}},
        {"type": "web_search_call", "status": "completed"},
        {"type": "file_search_call", "queries": ["tea"]},
        {"type": "code_interpreter_call", "code": "1 + 1"},
        {"type": "mcp_call", "name": "search", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "search", "input": "tea"},
        {"type": "computer_call", "action": {"type": "click"}},
        {"type": "mcp_tool_use", "name": "search", "input": {"q": "tea"}},
        {"type": "invalid_tool_call", "name": "search", "args": "{"},
        {"toolUse": {"name": "search", "input": {"q": "tea"}}},
        {"type": "executable_code", "executable_code": "1 + 1"},
        # What the provider's own tools gave back
        {"type": "web_search_tool_result", "content": [{"title": "Tea"}]},
        {"type": "code_execution_tool_result", "content": {"stdout": "2"}},
        {"type": "server_tool_result", "output": "2"},
        {"type": "code_execution_result", "code_execution_result": "2"},
        {"type": "mcp_list_tools", "tools": []},
    ],
    ids=lambda block: next(iter(block.values())) if "type" in block else next(iter(block)),
)
def test_silent_block(block: dict[str, Any]) -> None:
    """Thoughts and calls of tools, also of the provider's own, are no part of a text."""
    assert "42" == text_of([block, {"type": "text", "text": "42"}])


@pytest.mark.parametrize(
    ("block", "note"),
    [
        # OpenAI's chat completions
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}},
            "[image image/png, 100 bytes]",
        ),
        (
            {"type": "image_url", "image_url": f"data:image/png;base64,{BASE64}"},
            "[image image/png, 100 bytes]",
        ),
        (
            {"type": "image_url", "image_url": {"url": SIGNED}},
            "[image https://media.example/cat.png]",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}},
            "[audio wav, 100 bytes]",
        ),
        (
            {
                "type": "file",
                "file": {"file_data": f"data:application/pdf;base64,{BASE64}"},
            },
            "[file application/pdf, 100 bytes]",
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "[file]"),
        # OpenAI's responses
        (
            {"type": "input_image", "image_url": SIGNED},
            "[image https://media.example/cat.png]",
        ),
        (
            {"type": "input_file", "file_data": f"data:application/pdf;base64,{BASE64}"},
            "[file application/pdf, 100 bytes]",
        ),
        # Anthropic
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": BASE64},
            },
            "[image image/jpeg, 100 bytes]",
        ),
        (
            {"type": "image", "source": {"type": "url", "url": SIGNED}},
            "[image https://media.example/cat.png]",
        ),
        (
            {
                "type": "tool_result",
                "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
            },
            "[image]",
        ),
        # Gemini
        (
            {"type": "media", "mime_type": "video/mp4", "data": BASE64},
            "[media video/mp4, 100 bytes]",
        ),
        (
            {"type": "media", "mime_type": "video/mp4", "data": b"x" * 100},
            "[media video/mp4, 100 bytes]",
        ),
        (
            {"type": "media", "mime_type": "video/mp4", "file_uri": "gs://tea/cat.mp4"},
            "[media gs://tea/cat.mp4]",
        ),
        (
            {"inline_data": {"mime_type": "image/png", "data": b"x" * 100}},
            "[file image/png, 100 bytes]",
        ),
        (
            {
                "inlineData": {"mimeType": "image/png", "data": BASE64},
                "thoughtSignature": "x",
            },
            "[file image/png, 100 bytes]",
        ),
        (
            {"type": "file_data", "file_uri": "gs://tea/cat.mp4"},
            "[file gs://tea/cat.mp4]",
        ),
        (
            {"file": {"mime_type": "image/png", "data": BASE64}},
            "[file image/png, 100 bytes]",
        ),
        # Bedrock
        (
            {"image": {"format": "png", "source": {"bytes": b"x" * 100}}},
            "[image png, 100 bytes]",
        ),
        (
            {"type": "image", "image": {"format": "png", "source": {"bytes": b"x" * 100}}},
            "[image png, 100 bytes]",
        ),
        (
            {
                "document": {
                    "format": "pdf",
                    "name": "cat",
                    "source": {"bytes": bytearray(100)},
                }
            },
            "[document pdf, 100 bytes]",
        ),
        (
            {
                "video": {
                    "format": "mp4",
                    "source": {"s3Location": {"uri": "s3://tea/cat.mp4"}},
                }
            },
            "[video s3://tea/cat.mp4]",
        ),
        (
            {
                "type": "video",
                "source": {"type": "s3Location", "data": {"uri": "s3://tea/cat.mp4"}},
            },
            "[video s3://tea/cat.mp4]",
        ),
        (
            {
                "toolResult": {
                    "content": [{"image": {"format": "png", "source": {"bytes": b"x"}}}]
                }
            },
            "[image png, 1 bytes]",
        ),
        # Ollama
        ({"type": "image_url", "image_url": BASE64}, "[image 100 bytes]"),
        # LangChain, by its older words and its newer
        (
            {
                "type": "audio",
                "source_type": "base64",
                "mime_type": "audio/mp3",
                "data": BASE64,
            },
            "[audio audio/mp3, 100 bytes]",
        ),
        (
            {"type": "image", "source_type": "url", "url": SIGNED},
            "[image https://media.example/cat.png]",
        ),
        (
            {"type": "image", "mime_type": "image/png", "base64": BASE64},
            "[image image/png, 100 bytes]",
        ),
        ({"type": "file", "file_id": "file-1"}, "[file]"),
        (
            {"type": "video", "mime_type": "video/mp4", "base64": BASE64},
            "[video video/mp4, 100 bytes]",
        ),
        (
            {"type": "text-plain", "mime_type": "text/plain", "base64": BASE64},
            "[text-plain text/plain, 100 bytes]",
        ),
        (
            {
                "type": "non_standard",
                "value": {"type": "document", "source": {"type": "url", "url": SIGNED}},
            },
            "[document https://media.example/cat.png]",
        ),
        # Anybody
        (
            {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{BASE64}"}},
            "[video video/mp4, 100 bytes]",
        ),
        ({"type": "image", "data": memoryview(bytes(100))}, "[image 100 bytes]"),
        ({"type": "image", "data": io.BytesIO(bytes(100))}, "[image]"),
        (
            {"type": "image", "url": "data:image/svg+xml,<svg/>"},
            "[image image/svg+xml, 6 bytes]",
        ),
        ({"type": "image", "url": "data:"}, "[image 3 bytes]"),
        ({"type": "image", "url": f"data:;base64,{BASE64}"}, "[image 100 bytes]"),
        ({"type": "image", "url": "file:///tmp/cat.png"}, "[image file:///tmp/cat.png]"),
        (
            {"type": "image_url", "image_url": {"url": "http://[no-address/cat.png"}},
            "[image]",
        ),
        ({"type": "container_upload", "file_id": "f"}, "[container_upload]"),
        ({"type": "image"}, "[image]"),
        ({"type": ""}, "[content]"),
        # OpenAI's answers that are images, and screens that are shown to a model
        (
            {"type": "image_generation_call", "result": BASE64, "output_format": "png"},
            "[image png, 100 bytes]",
        ),
        (
            {
                "type": "computer_call_output",
                "output": {
                    "type": "input_image",
                    "image_url": f"data:image/png;base64,{BASE64}",
                },
            },
            "[image image/png, 100 bytes]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_media(block: dict[str, Any], note: str) -> None:
    """Media leave a note of kind and size, or of where they are, without its secrets."""
    assert note == text_of([block])


def test_text_around_media() -> None:
    """Text and notes keep their order."""
    content = ["Is", {"type": "image", "url": SIGNED}, {"type": "text", "text": "a cat?"}]

    assert "Is\n[image https://media.example/cat.png]\na cat?" == text_of(content)


class Answer:
    """A message of somebody's own making."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


BROKEN: Any = {"name": "search", "args": "{", "id": "c2", "error": "no JSON"}


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        (AIMessage(content="42"), []),
        (AIMessage(content="", tool_calls=[TEA]), [("search", {"q": "tea"}, "c1")]),
        (
            AIMessage(content="", tool_calls=[TEA], invalid_tool_calls=[BROKEN]),
            [("search", {"q": "tea"}, "c1"), ("search", "{", "c2")],
        ),
        (HumanMessage("Hi"), []),
        (Answer(tool_calls=[{"name": "search"}, "no call"]), [("search", None, None)]),
        (Answer(tool_calls=None), []),
        (Answer(tool_calls=7, content=7), []),
        (None, []),
        (
            AIMessageChunk(
                content="",
                tool_call_chunks=[
                    tool_call_chunk(name="search", args='{"q": "tea"}', id="c1", index=0)
                ],
            ),
            [("search", {"q": "tea"}, "c1")],
        ),
        (
            AIMessage(
                content="",
                additional_kwargs={
                    "function_call": {"name": "search", "arguments": '{"q": "tea"}'}
                },
            ),
            [("search", '{"q": "tea"}', None)],
        ),
    ],
)
def test_tool_calls(message: object, calls: list[tuple[Any, ...]]) -> None:
    """Each call is told by name, arguments and id, also one that could not be parsed."""
    told = tool_calls_of(message)

    assert calls == [(call["name"], call["args"], call["id"]) for call in told]


SEARCH: Any = {"type": "search", "query": "tea"}


@pytest.mark.parametrize(
    ("block", "call"),
    [
        # Anthropic
        (
            {"type": "server_tool_use", "name": "web_search", "input": SEARCH, "id": "s1"},
            ("web_search", SEARCH, "s1"),
        ),
        (
            {
                "type": "server_tool_use",
                "name": "web_search",
                "input": {},
                "partial_json": '{"q":',
                "id": "s1",
            },
            ("web_search", '{"q":', "s1"),
        ),
        (
            {
                "type": "mcp_tool_use",
                "name": "tea",
                "server_name": "m",
                "input": {},
                "id": "m1",
            },
            ("tea", {}, "m1"),
        ),
        # OpenAI's responses
        (
            {"type": "web_search_call", "action": SEARCH, "id": "ws_1"},
            ("web_search", SEARCH, "ws_1"),
        ),
        (
            {"type": "file_search_call", "queries": ["tea"], "id": "fs_1"},
            ("file_search", ("tea",), "fs_1"),
        ),
        (
            {"type": "code_interpreter_call", "code": "1 + 1", "id": "ci_1"},
            ("code_interpreter", "1 + 1", "ci_1"),
        ),
        (
            {"type": "mcp_call", "name": "tea", "arguments": "{}", "id": "mcp_1"},
            ("tea", "{}", "mcp_1"),
        ),
        (
            {"type": "computer_call", "action": {"x": 1}, "id": "cu_1", "call_id": "c1"},
            ("computer", {"x": 1}, "c1"),
        ),
        # Gemini
        (
            {"type": "executable_code", "executable_code": "1 + 1", "language": 1},
            ("executable_code", "1 + 1", None),
        ),
        # LangChain
        (
            {"type": "server_tool_call", "name": "web_search", "args": SEARCH, "id": "s1"},
            ("web_search", SEARCH, "s1"),
        ),
        (
            {"type": "non_standard", "value": {"type": "web_search_call", "id": "ws_1"}},
            ("web_search", None, "ws_1"),
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_calls_of_the_providers_own_tools(
    block: dict[str, Any], call: tuple[Any, ...]
) -> None:
    """They stand among the content's blocks, and are told behind the app's own tools."""
    message = AIMessage(content=[block, "42"], tool_calls=[TEA])

    own, told = tool_calls_of(message)

    assert "c1" == own["id"]
    assert call == (told["name"], told["args"], told["id"])
    assert "42" == answer_of(message)


def test_calls_that_are_told_once() -> None:
    """A call that LangChain has read from a block is not told again for the block."""
    blocks: list[Any] = [
        {"type": kind, "name": "search", "input": {}, "id": "c1"}
        for kind in ("tool_use", "function_call", "custom_tool_call", "tool_call")
    ]

    (told,) = tool_calls_of(AIMessage(content=blocks, tool_calls=[TEA]))

    assert "c1" == told["id"]


def test_arguments_that_change() -> None:
    """What a tool does to its arguments later is not told, at any depth."""
    arguments = {"filter": {"colours": ["green"]}, "when": WHEN}
    message = Answer(tool_calls=[{"name": "search", "args": arguments, "id": "c1"}])

    (told,) = tool_calls_of(message)
    arguments["filter"]["colours"].append("black")  # type: ignore[index]

    assert {"filter": {"colours": ("green",)}, "when": WHEN} == told["args"]


MEGABYTES = 5
IMAGE = "A" * (MEGABYTES * 2**20 // 3 * 4) + "AA=="  # 5 MB and a byte
SIZE = f"{MEGABYTES * 2**20 // 3 * 3 + 1:,} bytes"
RAW = bytes(MEGABYTES * 2**20)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}],
            f"[image image/png, {SIZE}]",
        ),
        ([{"type": "image_url", "image_url": IMAGE}], f"[image {SIZE}]"),
        (
            [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": IMAGE},
                }
            ],
            f"[image image/png, {SIZE}]",
        ),
        (
            [{"type": "image", "mime_type": "image/png", "base64": IMAGE}],
            f"[image image/png, {SIZE}]",
        ),
        (
            [{"image": {"format": "png", "source": {"bytes": RAW}}}],
            "[image png, 5,242,880 bytes]",
        ),
        (
            [{"type": "media", "mime_type": "image/png", "data": RAW}],
            "[media image/png, 5,242,880 bytes]",
        ),
        (f"data:image/png;base64,{IMAGE}", f"[image image/png, {SIZE}]"),
        (f"See ![](data:;base64,{IMAGE})!", f"See ![]([file {SIZE}])!"),
    ],
    ids=[
        "data URL",
        "base64",
        "Anthropic",
        "LangChain",
        "bytes",
        "Gemini",
        "text",
        "Markdown",
    ],
)
def test_large_image(content: Any, told: str) -> None:
    """It leaves a note of type and size, no copy is made, and nothing of it changes."""
    message = HumanMessage(content=content)
    held, blocks, before = message.content, list(message.content), copy.deepcopy(message)
    tell_messages([message])  # what Python makes but once is not counted

    tracemalloc.start()
    try:
        (message_told,) = tell_messages([message])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert told == message_told["content"]
    assert held is message.content
    assert all(one is other for one, other in zip(blocks, message.content, strict=True))
    assert before == message
    assert 2**19 > peak


def test_large_image_as_an_argument() -> None:
    """In a tool's arguments a data URL leaves the note, too."""
    call = {**TEA, "args": {"image": [f"data:image/png;base64,{IMAGE}"]}}

    (told,) = tool_calls_of(AIMessage(content="", tool_calls=[call]))

    assert {"image": (f"[image image/png, {SIZE}]",)} == told["args"]


@pytest.mark.parametrize(
    "text",
    [
        "What is data:text/plain;base64,SGk=?",
        "data:;base64,",
        ";base64," * 1_000,
        "data:" * 100_000 + ";base64,",
        "data:a/" + "a" * 1_000_000 + ";base64,",
        "data:a/a" + ";a" * 500_000 + ";base64,",
    ],
    ids=["short", "empty", "none", "many", "long type", "many parameters"],
)
def test_text_that_looks_like_media(text: str) -> None:
    """A short data URL may be what is talked of, and no text takes for ever."""
    assert text == text_of(text)


class Hostile(str):
    """A text that helps nobody to read it."""

    __slots__ = ()

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError

    __str__ = __repr__ = __len__ = __iter__ = __getitem__ = __contains__ = _refuse
    __eq__ = __ne__ = __add__ = __format__ = __mod__ = _refuse
    startswith = endswith = lower = removesuffix = partition = find = _refuse
    __hash__ = str.__hash__


class Unreadable(Mapping[str, Any]):
    """A block that raises, however it is read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


def cyclic() -> Any:
    """Return blocks that hold themselves, twice."""
    block: dict[str, Any] = {"type": "tool_result"}
    block["content"] = [block, block]
    return [block]


def nested(depth: int) -> Any:
    """Return a block in a block, so deep."""
    content: Any = "Hi"
    for _ in range(depth):
        content = [{"type": "tool_result", "content": content}]
    return content


def within(key: str, depth: int) -> dict[str, Any]:
    """Return a mapping that holds another under this key, and so on."""
    return {key: within(key, depth - 1)} if depth else {}


HOSTILE: dict[str, tuple[Any, str]] = {
    "text": (Hostile("Hi"), "Hi"),
    "text in a list": ([Hostile("Hi")], "Hi"),
    "text in a block": ([{"type": "text", "text": Hostile("Hi")}], "Hi"),
    "type": ([{"type": Hostile("text"), "text": "Hi"}], "Hi"),
    "address": (
        [{"type": "image", "url": Hostile(SIGNED)}],
        "[image https://media.example/cat.png]",
    ),
    "type of media": (
        [{"type": "image", "mime_type": Hostile("a/b"), "data": b""}],
        "[image a/b, 0 bytes]",
    ),
    "names in names": ([{"type": "image", "image": within("image", 9)}], "[image]"),
    "no data": ([{"type": "document", "source": {"type": "text"}}], "[document]"),
    "no content": ([{"type": "document", "source": {"type": "content"}}], "[document]"),
    "no source": ([{"type": "image", "source": None}], "[image]"),
    "no value": ([{"type": "json"}], "null"),
    "keys": ([{7: 8}], "[content]"),
    "block": (["Hi", Unreadable(), "you"], "Hi\n[Unreadable that cannot be told]\nyou"),
    "content": (Unreadable(), "[Unreadable that cannot be told]"),
    "JSON": ([{"type": "json", "json": cyclic()}], "[list that cannot be told]"),
    "bytes": (b"x" * 100, "[bytes 100 bytes]"),
    "levels": (nested(30), "Hi"),
    "too many levels": (nested(10_000), "[deeper than 32 levels]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content(name: str) -> None:
    """Whatever a message holds, something is told of it, and nothing is raised."""
    content, told = HOSTILE[name]

    assert told == text_of(content)


def test_cycle() -> None:
    """Blocks that hold themselves end, though they would be told 2**32 times."""
    told = text_of(cyclic())

    assert told.startswith("[deeper than 32 levels]\n")
    assert told.endswith("[cut, 2 blocks in all]")


def test_many_blocks() -> None:
    """As many are told as an answer may have been streamed in pieces."""
    assert "a" * 100_000 == answer_of(AIMessage(content=["a"] * 100_000))
    assert "a" * 100_000 + "[cut, 100,001 blocks in all]" == answer_of(
        AIMessage(content=["a"] * 100_001)
    )


def test_generator_as_content() -> None:
    """What can be read but once is left to whom it is for."""
    pieces = iter(["Hi"])

    assert text_of(pieces).startswith("<list_iterator")
    assert ["Hi"] == list(pieces)


def test_hostile_arguments() -> None:
    """Arguments that hold themselves, or are very many, are told, and nothing is raised."""
    many = [0] * 200_000
    calls = [
        {"name": Hostile("search"), "args": cyclic(), "id": "c1"},
        {"name": "search", "args": {"many": many}, "id": "c2"},
    ]

    told = tool_calls_of(Answer(tool_calls=calls))

    assert ["c1", "c2"] == [call["id"] for call in told]


@pytest.mark.parametrize(
    "asked",
    [
        "Tea?",
        ("user", "Tea?"),
        {"role": "user", "content": "Tea?"},
        {"role": "user", "content": [{"type": "text", "text": "Tea?"}]},
        HumanMessage("Tea?"),
    ],
    ids=["string", "tuple", "dict", "blocks", "message"],
)
def test_chat_prompt(asked: Any, captured_prompts: list[PromptRecord]) -> None:
    """However a chat model is asked, the record has the prompt and its role."""
    with trubrics_scope(user_id="alice"):
        FakeListChatModel(responses=["Yes."]).invoke([asked])

    (record,) = captured_prompts
    assert "Tea?" == record.prompt
    assert ({"role": "user", "content": "Tea?"},) == record.messages


def test_template_as_a_prompt(captured_prompts: list[PromptRecord]) -> None:
    """A chat template's messages are told as they were filled in."""
    template = ChatPromptTemplate.from_messages(
        [("system", "Be brief."), ("placeholder", "{history}"), ("human", "{drink}?")]
    )
    chain = template | FakeListChatModel(responses=["Yes."])

    with trubrics_scope(user_id="alice"):
        chain.invoke({"drink": "Tea", "history": [("human", "Hi"), ("ai", "Hello")]})

    (record,) = captured_prompts
    assert "Tea?" == record.prompt
    assert (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Tea?"},
    ) == record.messages


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ("Tea?", "Tea?"),
        (
            [SystemMessage("Be brief."), HumanMessage("Tea?")],
            "System: Be brief.\nHuman: Tea?",
        ),
    ],
)
def test_completion_prompt(
    asked: Any, prompt: str, captured_prompts: list[PromptRecord]
) -> None:
    """A completion model's prompt is the string that it is sent, and has no messages."""
    with trubrics_scope(user_id="alice"):
        FakeListLLM(responses=["Yes."]).invoke(asked)

    (record,) = captured_prompts
    assert (prompt, None) == (record.prompt, record.messages)


def test_image_in_a_completion_prompt(captured_prompts: list[PromptRecord]) -> None:
    """In a completion model's prompt, too, a data URL leaves a note."""
    with trubrics_scope(user_id="alice"):
        FakeListLLM(responses=["Yes."]).invoke(f"A cat? data:image/png;base64,{IMAGE}")

    assert f"A cat? [image image/png, {SIZE}]" == captured_prompts[0].prompt


# As an app writes them; LangChain hands some of them to callbacks in another shape.
SENT: dict[str, Any] = {
    "OpenAI": {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{BASE64}"},
    },
    "Anthropic": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": BASE64},
    },
    "LangChain of old": {
        "type": "image",
        "source_type": "base64",
        "mime_type": "image/png",
        "data": BASE64,
    },
    "LangChain": {"type": "image", "mime_type": "image/png", "base64": BASE64},
    "Bedrock": {"image": {"format": "image/png", "source": {"bytes": b"x" * 100}}},
}


@pytest.mark.parametrize("block", SENT.values(), ids=SENT.keys())
def test_image_that_is_sent(
    block: dict[str, Any], captured_prompts: list[PromptRecord]
) -> None:
    """An image is told as a note in the record, and the app's message stays as it was."""
    message = HumanMessage(content=["A cat?", block])
    held, before = message.content[1], copy.deepcopy(message)

    with trubrics_scope(user_id="alice"):
        FakeListChatModel(responses=["Yes."]).invoke([message])

    (record,) = captured_prompts
    assert "A cat?\n[image image/png, 100 bytes]" == record.prompt
    assert before == message
    assert held is message.content[1]
