"""Messages told plainly, in every shape that a provider or LangChain gives them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
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

from trubrics_trace.langchain._messages import (
    answer_of,
    prompt_of,
    tell_messages,
    text_of,
    tool_calls_of,
)

BASE64 = base64.b64encode(b"x" * 100).decode()  # padded, so its length tells too much
SIGNED = "https://someone:secret@media.example:8443/cat.png?signature=secret#secret"
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
        (ToolMessage("Hi", tool_call_id="c1"), "tool"),
        (FunctionMessage(name="search", content="Hi"), "tool"),
        (ChatMessage(role="human", content="Hi"), "user"),
        (ChatMessage(role="Assistant", content="Hi"), "assistant"),
        (ChatMessage(role="critic", content="Hi"), "critic"),
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
    ("messages", "prompt"),
    [
        ([], ""),
        ([SystemMessage("Be brief."), HumanMessage("Hi")], "Hi"),
        ([HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Bye")], "Bye"),
        (
            [HumanMessage("Tea?"), AIMessage(""), ToolMessage("no", tool_call_id="c")],
            "Tea?",
        ),
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
        ([{"type": "text", "text": "Hi"}, None, 7], "Hi"),
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
    ],
    ids=lambda block: block["type"],
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
            "[media video/mp4]",
        ),
        ({"inline_data": {"mime_type": "image/png", "data": BASE64}}, "[content]"),
        (
            {"file": {"mime_type": "image/png", "data": BASE64}},
            "[content image/png, 100 bytes]",
        ),
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
        # Anybody
        ({"type": "image", "url": f"data:;base64,{BASE64}"}, "[image 100 bytes]"),
        ({"type": "image", "url": "file:///tmp/cat.png"}, "[image file:///tmp/cat.png]"),
        (
            {"type": "image_url", "image_url": {"url": "http://[no-address/cat.png"}},
            "[image]",
        ),
        ({"type": "executable_code"}, "[executable_code]"),
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
        (None, []),
    ],
)
def test_tool_calls(message: object, calls: list[tuple[Any, ...]]) -> None:
    """Each call is told by name, arguments and id, also one that could not be parsed."""
    told = tool_calls_of(message)

    assert calls == [(call["name"], call["args"], call["id"]) for call in told]
