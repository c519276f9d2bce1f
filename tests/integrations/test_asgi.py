"""The ASGI middleware, under a real uvicorn and by hand."""

from __future__ import annotations

import asyncio
import contextvars
import http.client
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config

from trubrics_trace import PromptRecord, Scope, current_scope, errors, stats, trubrics_scope
from trubrics_trace.integrations.asgi import TrubricsMiddleware, cookie, header

Serve = Callable[[Any], str]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

llm = FakeListChatModel(responses=["42"])


async def read_body(receive: Receive) -> bytes:
    """Return a request's whole body, in however many parts it comes."""
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send: Send, *parts: bytes) -> None:
    """Send an answer in these parts."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def ask(scope: Message, receive: Receive, send: Send) -> None:
    """Answer a POST of a prompt."""
    prompt = (await read_body(receive)).decode()
    await answer(send, str((await llm.ainvoke(prompt)).content).encode())


def by_hand(app: Any, connection: Message, *messages: Message) -> list[Message]:
    """Let an app answer one connection without a server; return what it sends."""
    sent: list[Message] = []
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        await app(connection, receive, send)

    asyncio.run(run())
    return sent


def http_connection(**headers: str) -> Message:
    """Return the scope of an HTTP request with these headers."""
    pairs = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
    ]
    return {"type": "http", "method": "POST", "path": "/", "headers": pairs}


def test_two_users_at_once(serve_asgi: Serve, captured_prompts: list[PromptRecord]) -> None:
    """Two requests that are answered at once keep their users apart."""
    arrived: list[str] = []
    both = asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        prompt = (await read_body(receive)).decode()
        arrived.append(prompt)
        if len(arrived) == 2:
            both.set()
        await both.wait()
        await llm.ainvoke(prompt)
        await answer(send, b"")

    url = serve_asgi(TrubricsMiddleware(app, user_id=header("x-user-id")))

    async def post_both() -> None:
        async with httpx.AsyncClient(base_url=url) as client:
            await asyncio.gather(
                *(
                    client.post("/", content=f"I am {user}", headers={"x-user-id": user})
                    for user in ("alice", "bob")
                )
            )

    asyncio.run(post_both())

    assert {("alice", "I am alice"), ("bob", "I am bob")} == {
        (record.user_id, record.prompt) for record in captured_prompts
    }


def test_stream_body(serve_asgi: Serve, captured_prompts: list[PromptRecord]) -> None:
    """A model called while the body is streamed belongs to the request's user."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for chunk in llm.astream("Hi"):
            body = str(chunk.content).encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    url = serve_asgi(TrubricsMiddleware(app, user_id=header("x-user-id"), tags="web"))
    response = httpx.post(url, headers={"X-User-Id": "alice"})

    assert "42" == response.text
    [record] = captured_prompts
    assert ("alice", ("langchain", "web")) == (record.user_id, record.tags)


def test_anonymous_request(serve_asgi: Serve, captured_prompts: list[PromptRecord]) -> None:
    """A request without the header is nobody's, also after one that had it."""
    url = serve_asgi(TrubricsMiddleware(ask, user_id=header("x-user-id")))
    with httpx.Client(base_url=url) as client:
        client.post("/", content="Hi", headers={"x-user-id": "alice"})
        client.post("/", content="Hi")

    assert ["alice", None] == [record.user_id for record in captured_prompts]


@pytest.mark.parametrize("inside_a_run", [False, True])
def test_keep_alive(
    serve_asgi: Serve, captured_prompts: list[PromptRecord], inside_a_run: bool
) -> None:
    """A user never leaks to the connection's next request, even while still at work."""
    at_work = threading.Event()

    async def chat(scope: Message, receive: Receive, send: Send) -> None:
        async def work(_: object) -> None:
            await read_body(receive)
            await answer(send, str((await llm.ainvoke("I am alice")).content).encode())
            while at_work.is_set():
                await asyncio.sleep(0.001)

        await (RunnableLambda(work).ainvoke if inside_a_run else work)("")

    door = TrubricsMiddleware(chat, user_id=header("x-user-id"))

    async def site(scope: Message, receive: Receive, send: Send) -> None:
        await (door if scope["path"] == "/chat" else ask)(scope, receive, send)

    address = urlsplit(serve_asgi(site)).netloc
    rounds = 12
    for _ in range(rounds):
        at_work.set()
        connection = http.client.HTTPConnection(address)
        headers = {"x-user-id": "alice"}
        connection.request("POST", "/chat", body=b"x" * 100_000, headers=headers)
        assert b"42" == connection.getresponse().read()
        connection.request("POST", "/undoored", body=b"I am nobody")
        assert b"42" == connection.getresponse().read()
        connection.close()
        at_work.clear()

    assert [("alice", "I am alice")] * rounds == [
        (record.user_id, record.prompt) for record in captured_prompts
    ]


def test_next_user_while_the_last_is_at_work(
    serve_asgi: Serve, captured_prompts: list[PromptRecord]
) -> None:
    """A request that comes inside somebody's live run belongs to its own user."""

    async def site(scope: Message, receive: Receive, send: Send) -> None:
        async def within_alice(_: object) -> None:
            await TrubricsMiddleware(ask, user_id="bob")(scope, receive, send)

        with trubrics_scope(user_id="alice"):
            await RunnableLambda(within_alice).ainvoke("")

    by_hand(site, http_connection(), {"type": "http.request", "body": b"Hi"})

    assert ["bob"] == [record.user_id for record in captured_prompts]


def test_websocket(captured_prompts: list[PromptRecord]) -> None:
    """Every message of a WebSocket belongs to the user who opened it."""

    async def chat(scope: Message, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            await send(
                {
                    "type": "websocket.send",
                    "text": str((await llm.ainvoke(message["text"])).content),
                }
            )

    connection = {"type": "websocket", "path": "/", "headers": [(b"cookie", b"user=alice")]}
    sent = by_hand(
        TrubricsMiddleware(chat, user_id=cookie("user")),
        connection,
        {"type": "websocket.receive", "text": "one"},
        {"type": "websocket.receive", "text": "two"},
        {"type": "websocket.disconnect"},
    )

    assert 2 == len(sent)
    assert [("alice", "one"), ("alice", "two")] == [
        (record.user_id, record.prompt) for record in captured_prompts
    ]


def test_lifespan() -> None:
    """The lifespan passes through untouched, and opens no scope."""
    seen: list[object] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive, send, current_scope()))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        pass

    connection: Message = {"type": "lifespan"}
    asyncio.run(_call(TrubricsMiddleware(app, user_id="alice"), connection, receive, send))

    assert [connection, receive, send, None] == seen


async def _call(app: Any, *arguments: Any) -> None:
    await app(*arguments)


def test_outside_in_receive_and_send() -> None:
    """The server's `receive` and `send` see no scope; the app has its own again after."""
    seen: dict[str, list[Scope | None]] = {"server": [], "app": []}

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen["app"].append(current_scope())
        await receive()
        seen["app"].append(current_scope())
        await send({})
        seen["app"].append(current_scope())

    async def receive() -> Message:
        seen["server"].append(current_scope())
        return {}

    async def send(message: Message) -> None:
        seen["server"].append(current_scope())

    async def run() -> None:
        with trubrics_scope(user_id="operator", tags="outer") as outer:
            await TrubricsMiddleware(app, user_id="alice")(http_connection(), receive, send)
            assert outer is current_scope()

    asyncio.run(run())

    assert [None, None] == seen["server"]
    [scope, *again] = seen["app"]
    assert scope is not None
    assert [scope, scope] == again
    assert ("alice", (), True) == (scope.user_id, scope.tags, scope.is_root)
    assert not scope.is_open


def test_app_that_raises() -> None:
    """What the app raises reaches the server, and the scope is closed."""
    scopes: list[Scope | None] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        scopes.append(current_scope())
        raise LookupError("no such page")

    with pytest.raises(LookupError, match="no such page"):
        by_hand(TrubricsMiddleware(app, user_id="alice"), http_connection())

    assert [False] == [scope.is_open for scope in scopes if scope is not None]


def test_callable_that_raises(captured_prompts: list[PromptRecord]) -> None:
    """A callable that raises means nobody, is counted, and the app answers as ever."""
    before = stats().noticed.get("user_id_failed", 0)
    app = TrubricsMiddleware(ask, user_id=lambda scope: scope["user"].id)
    sent = by_hand(app, http_connection(), {"type": "http.request", "body": b"Hi"})

    assert b"42" == sent[1]["body"]
    assert [None] == [record.user_id for record in captured_prompts]
    assert before + 1 == stats().noticed["user_id_failed"]


def test_callable_that_takes_nothing() -> None:
    """A callable that does not take the ASGI scope is refused where it is given."""
    with pytest.raises(errors.ConfigurationError, match="the ASGI scope"):
        TrubricsMiddleware(ask, user_id=lambda: "alice")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(b"x-user-id", b"alice")], "alice"),
        ([(b"X-USER-ID", b"alice"), (b"x-user-id", b"alice")], "alice"),
        ([(b"x-user-id", b"alice"), (b"x-user-id", b"bob")], None),
        ([(b"x-user-id", b"Ren\xe9e")], "Renée"),
    ],
)
def test_header(headers: list[tuple[bytes, bytes]], expected: str | None) -> None:
    """A header that is absent, or says two things, names nobody."""
    assert expected == header("X-User-Id")({"headers": headers})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([b"theme=dark"], None),
        ([b"theme=dark; user=alice"], "alice"),
        ([b'user="alice"'], "alice"),
        ([b"user=a=b"], "a=b"),
        ([b"theme=dark", b"user=alice"], "alice"),
        ([b"user=alice; user=bob"], None),
        ([b"User=bob"], None),
    ],
)
def test_cookie(lines: list[bytes], expected: str | None) -> None:
    """A cookie that is absent, or says two things, names nobody."""
    headers = [(b"cookie", line) for line in lines]
    assert expected == cookie("user")({"headers": headers})


def test_request_collected_half_done() -> None:
    """A request that is given up in another context disturbs nothing that is there."""

    async def receive_never() -> Message:
        await asyncio.sleep(0)  # a bare step: it needs no loop
        raise AssertionError

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()

    door = TrubricsMiddleware(app, user_id="alice")
    request: Any = door(http_connection(), receive_never, _send_nothing)
    chain: Any = RunnableLambda(lambda _: contextvars.copy_context())
    chain.invoke("").run(request.send, None)

    def give_up(_: str) -> None:
        run, scope = var_child_runnable_config.get(), current_scope()
        request.close()
        assert run is var_child_runnable_config.get()
        assert scope is current_scope()

    with trubrics_scope(user_id="bob"):
        RunnableLambda(give_up).invoke("")


async def _send_nothing(message: Message) -> None:
    pass


def test_repr() -> None:
    """The middleware says who asks, and not what the metadata holds."""
    door = TrubricsMiddleware(ask, user_id="alice", plan="a-secret")

    assert "TrubricsMiddleware(user_id='alice', plan=...)" == repr(door)
