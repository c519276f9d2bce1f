"""The loopback server speaks the ingestion API, as strictly as it may be spoken."""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from trubrics_trace.testing import IngestionServer, serve_ingestion

PROMPTS, EVENTS = "/publish_llm_events", "/publish_events"


def prompt(record_id: str = "1", **fields: Any) -> dict[str, Any]:
    """Return a prompt as the wire has it."""
    return {
        "user_id": "alice",
        "prompt": "Hi",
        "generation": "Hello",
        "properties": {"record_id": record_id},
        **fields,
    }


def bought(**fields: Any) -> dict[str, Any]:
    """Return an event as the wire has it."""
    return {
        "user_id": "alice",
        "event": "bought",
        "timestamp": "2026-01-01T00:00:00+00:00",
        **fields,
    }


def post(
    server: IngestionServer, path: str, body: Any, key: str | None = None
) -> httpx.Response:
    """Post a body: bytes as they are, anything else as JSON."""
    return httpx.post(
        server.url + path,
        content=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"x-api-key": key or server.api_key},
    )


def test_accepted(trubrics_server: IngestionServer) -> None:
    """What is as it should be is answered 200 with an object, and stored in order."""
    first = post(trubrics_server, PROMPTS, [prompt("1"), prompt("2")])
    second = post(trubrics_server, EVENTS, [bought()])

    assert [(200, {"status": "success"})] * 2 == [
        (response.status_code, response.json()) for response in (first, second)
    ]
    assert [prompt("1"), prompt("2"), bought()] == trubrics_server.events
    assert {200: 2} == trubrics_server.requests


def test_duplicates(trubrics_server: IngestionServer) -> None:
    """How often each record came is counted by its id, and what has none as `none`."""
    post(trubrics_server, PROMPTS, [prompt("1"), prompt("2")])
    post(trubrics_server, PROMPTS, [prompt("2")])
    post(trubrics_server, EVENTS, [bought(), bought(properties=None)])

    assert {"1": 1, "2": 2, "none": 2} == trubrics_server.record_ids


@pytest.mark.parametrize(
    ("path", "key", "body", "status", "detail"),
    [
        ("/publish_everything", None, [prompt()], 404, "Not Found"),
        (PROMPTS, "another", [prompt()], 401, "Invalid API key"),
        (PROMPTS, "another", b"no JSON", 401, "Invalid API key"),
        (PROMPTS, None, b"no JSON", 422, "The body is no JSON"),
        (PROMPTS, None, b"\xff", 422, "The body is no JSON"),
        (PROMPTS, None, b"", 422, "The body is no JSON"),
        (PROMPTS, None, prompt(), 422, "A batch holds 1 to 100 events"),
        (PROMPTS, None, [], 422, "A batch holds 1 to 100 events"),
        (PROMPTS, None, [prompt()] * 101, 422, "A batch holds 1 to 100 events"),
    ],
)
def test_refused(
    trubrics_server: IngestionServer,
    path: str,
    key: str | None,
    body: Any,
    status: int,
    detail: str,
) -> None:
    """What cannot be taken as a whole is refused, counted by status, and not stored."""
    response = post(trubrics_server, path, body, key)

    assert (status, {"detail": detail}) == (response.status_code, response.json())
    assert ([], {status: 1}) == (trubrics_server.events, trubrics_server.requests)


def test_largest_batch(trubrics_server: IngestionServer) -> None:
    """A hundred events are a batch."""
    assert 200 == post(trubrics_server, PROMPTS, [prompt()] * 100).status_code
    assert 100 == len(trubrics_server.events)


@pytest.mark.parametrize(
    ("path", "event", "names"),
    [
        (PROMPTS, {}, ["user_id", "prompt", "generation"]),
        (PROMPTS, "Hi", ["user_id", "prompt", "generation"]),
        (PROMPTS, prompt(user_id=None), ["user_id"]),
        (PROMPTS, prompt(generation=42), ["generation"]),
        (PROMPTS, prompt(prompt="half a \ud83d"), ["prompt"]),
        (EVENTS, {}, ["user_id", "event", "timestamp"]),
        (EVENTS, bought(timestamp=7), ["timestamp"]),
    ],
)
def test_wrong_event(
    trubrics_server: IngestionServer, path: str, event: Any, names: list[str]
) -> None:
    """One wrong event refuses its batch; what is wrong is told by place and name."""
    right = prompt() if path == PROMPTS else bought()
    response = post(trubrics_server, path, [right, event])

    assert 422 == response.status_code
    assert [["body", 1, name] for name in names] == [
        problem["loc"] for problem in response.json()["detail"]
    ]
    assert [] == trubrics_server.events
    assert not trubrics_server.record_ids


@pytest.mark.parametrize("properties", ["text", ["list"], 7])
def test_properties_that_are_no_object(
    trubrics_server: IngestionServer, properties: Any
) -> None:
    """They refuse the batch like anything else that is wrong, and are answered."""
    response = post(trubrics_server, PROMPTS, [prompt(properties=properties)])

    assert 422 == response.status_code
    assert [["body", 0, "properties"]] == [
        problem["loc"] for problem in response.json()["detail"]
    ]
    assert [] == trubrics_server.events


@pytest.mark.parametrize(
    ("body", "content"),
    [(b"<html>", b"<html>"), ({"detail": "busy"}, b'{"detail": "busy"}'), (None, b"null")],
)
def test_answer_next(trubrics_server: IngestionServer, body: Any, content: bytes) -> None:
    """The next requests are answered as told, whatever they hold, and are not stored."""
    trubrics_server.answer_next(429, body, headers={"Retry-After": "7"}, times=2)
    answers = [post(trubrics_server, PROMPTS, [prompt()]) for _ in range(3)]

    assert [429, 429, 200] == [answer.status_code for answer in answers]
    assert [content, content] == [answer.content for answer in answers[:2]]
    assert ["7", "7", None] == [answer.headers.get("Retry-After") for answer in answers]
    assert [prompt()] == trubrics_server.events
    assert {429: 2, 200: 1} == trubrics_server.requests


def test_headers_told(trubrics_server: IngestionServer) -> None:
    """An answer is JSON, unless its headers say otherwise."""
    trubrics_server.answer_next(200, b"<html>", headers={"Content-Type": "text/html"})
    answers = [post(trubrics_server, PROMPTS, [prompt()]) for _ in range(2)]

    assert ["text/html", "application/json"] == [
        answer.headers["Content-Type"] for answer in answers
    ]


def test_many_at_once(trubrics_server: IngestionServer) -> None:
    """Requests of many threads are each counted once."""
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(post, trubrics_server, PROMPTS, [prompt(str(number))])

    assert {str(number): 1 for number in range(40)} == trubrics_server.record_ids
    assert {200: 40} == trubrics_server.requests


def test_connection_kept_alive(trubrics_server: IngestionServer) -> None:
    """One connection serves one request after the other."""
    connection = http.client.HTTPConnection(urlsplit(trubrics_server.url).netloc)
    sockets = []
    for _ in range(2):
        connection.request("POST", PROMPTS, body=b"[]")
        connection.getresponse().read()
        sockets.append(connection.sock)
    connection.close()

    assert sockets[0] is not None
    assert sockets[0] is sockets[1]
    assert {401: 2} == trubrics_server.requests


def test_request_that_is_none(
    trubrics_server: IngestionServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read ends its own connection, without a word, and no other."""
    address = urlsplit(trubrics_server.url)
    with socket.create_connection((str(address.hostname), address.port or 0)) as client:
        client.sendall(b"POST /publish_events HTTP/1.1\r\nContent-Length: many\r\n\r\n")
        assert b"" == client.recv(1)

    assert 200 == post(trubrics_server, EVENTS, [bought()]).status_code
    assert "" == capfd.readouterr().err


def test_key_of_ones_own() -> None:
    """Each server has a port and a key of its own, and its words say what it holds."""
    with serve_ingestion("one") as first, serve_ingestion("two") as second:
        assert first.url != second.url
        assert 401 == post(first, EVENTS, [bought()], "two").status_code
        assert 200 == post(second, EVENTS, [bought()], "two").status_code
        assert f"<IngestionServer at {second.url}, 1 events>" == repr(second)


def test_afterwards() -> None:
    """After its block the port is free again, and what was sent can still be read."""
    with serve_ingestion() as server:
        post(server, EVENTS, [bought()])

    assert [bought()] == server.events
    with pytest.raises(httpx.ConnectError):
        post(server, EVENTS, [bought()])
