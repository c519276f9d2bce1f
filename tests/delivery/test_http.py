"""One kept-alive connection: an answer is whole and in time, or it is none."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.servers import answer, serve_raw, unused_url
from tests.delivery.test_deadline import TickingClock
from trubrics_trace.delivery._deadline import Deadline
from trubrics_trace.delivery._http import (
    Answer,
    Connection,
    NoAnswerError,
    _read,
    _seconds_of,
)

DAY_SECONDS = 24 * 3600.0


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Return a connection that ends with the test."""
    made = Connection()
    yield made
    made.close()


def test_answer(connection: Connection) -> None:
    """An answer has its status, and its body where that is JSON."""
    with serve_raw(answer("200 OK", b'{"status": "success"}')) as server:
        got = connection.request("POST", server.url, body=[{"user_id": "alice"}])
    assert got == Answer(200, {"status": "success"})
    assert got.is_success
    assert [{"user_id": "alice"}] == json.loads(
        server.requests[0].partition(b"\r\n\r\n")[2]
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("200 OK", b"<html>Sign in</html>"),
        ("200 OK", b'"oops"'),
        ("200 OK", b"[]"),
        ("200 OK", b"null"),
        ("200 OK", b""),
        ("200 OK", b"[" * 100_000),
        ("204 No Content", b""),
        ("302 Found", b"{}"),
        ("404 Not Found", b"{}"),
        ("500 Internal Server Error", b"{}"),
    ],
)
def test_what_is_no_success(connection: Connection, status: str, body: bytes) -> None:
    """Success is 2xx and a JSON object: a proxy's page, or any other body, is not."""
    with serve_raw(answer(status, body)) as server:
        assert not connection.request("POST", server.url, body=[]).is_success


def test_cut_gzip_is_no_success(connection: Connection) -> None:
    """A compressed answer that ends too early is no success."""
    cut = gzip.compress(b'{"status": "success"}')[:20]
    raw = answer("200 OK", cut, "Content-Encoding: gzip")
    with serve_raw(raw) as server:
        assert not connection.request("POST", server.url, body=[]).is_success


def test_redirect_is_not_followed(connection: Connection) -> None:
    """A redirect is an answer like any other: nothing is sent to where it points."""
    with serve_raw(answer("200 OK", b"{}")) as other:
        location = f"Location: {other.url}/elsewhere"
        with serve_raw(answer("307 Temporary Redirect", b"{}", location)) as server:
            got = connection.request(
                "POST", server.url, headers={"x-api-key": "secret"}, body=[]
            )
    assert 307 == got.status
    assert [] == other.requests


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        answer("200 OK", b'{"status":', "Connection: close", length=100),
        answer("200 OK", b"no gzip", "Content-Encoding: gzip"),
        answer("200 OK", b" " * 1_100_000),
    ],
    ids=["reset", "no HTTP", "cut", "no gzip", "too long"],
)
def test_broken_answer(connection: Connection, raw: bytes) -> None:
    """An answer that is broken, or too long, is none: nobody knows what it meant."""
    with serve_raw(raw) as server, pytest.raises(NoAnswerError):
        connection.request("POST", server.url, body=[])


def test_nobody_listens(connection: Connection) -> None:
    """Where nobody listens there is no answer."""
    with pytest.raises(NoAnswerError, match="ConnectionError"):
        connection.request("POST", unused_url(), body=[])


def test_connection_is_kept(connection: Connection) -> None:
    """Many requests go over one connection, also after answers that were refusals."""
    answers = [
        answer("500 Oops", b"oops"),
        answer("422 No", b"{}"),
        answer("200 OK", b"{}"),
    ]
    with serve_raw(*answers) as server:
        for _ in range(5):
            connection.request("POST", server.url, body=[])
        connection.close()
    assert (5, 1) == (len(server.requests), server.connections)


def test_connection_after_a_close(connection: Connection) -> None:
    """A connection that the server has closed is made anew."""
    answers = [answer("200 OK", b"{}", "Connection: close"), answer("200 OK", b"{}")]
    with serve_raw(*answers) as server:
        statuses = [connection.request("POST", server.url).status for _ in range(2)]
        connection.close()
    assert ([200, 200], 2) == (statuses, server.connections)


def test_retry_after_of_an_answer(connection: Connection) -> None:
    """What a Retry-After header asks for is part of the answer."""
    with serve_raw(answer("429 Slow", b"{}", "Retry-After: 20")) as server:
        assert 20.0 == connection.request("POST", server.url).retry_after_seconds


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("2.5", 2.5),
        ("-3", 0.0),
        ("soon", 0.0),
        ("nan", 0.0),
        ("inf", DAY_SECONDS),
        ("99999999999999999999", DAY_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY_SECONDS),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0.0),
    ],
)
def test_seconds_of_retry_after(said: str | None, seconds: float) -> None:
    """A Retry-After is believed up to a day; what is neither number nor date is none."""
    assert _seconds_of(said) == seconds


def test_date_of_retry_after() -> None:
    """A Retry-After may be a date: it is as far away as our own clock says."""
    soon = datetime.now(timezone.utc) + timedelta(seconds=90)
    assert 80 < _seconds_of(format_datetime(soon, usegmt=True)) <= 90


@given(st.text())
def test_any_retry_after(said: str) -> None:
    """Whatever a Retry-After says, the wait is between nothing and a day."""
    assert 0.0 <= _seconds_of(said) <= DAY_SECONDS


def test_loopback_needs_no_proxy(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is for this machine does not leave it by a proxy of the environment."""
    with serve_raw(answer("200 OK", b"{}")) as server, serve_raw(b"") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        got = connection.request("POST", server.url, body=[])
    assert got.is_success
    assert [] == proxy.requests


@pytest.mark.parametrize("is_local", [True, False])
def test_name_of_this_machine_needs_no_proxy(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    """A proxy of the environment serves every host but `localhost`, by that name too."""
    with serve_raw(answer("200 OK", b"{}")) as server, serve_raw(b"") as proxy:
        port = server.url.rsplit(":", 1)[1]
        host = "localhost" if is_local else "elsewhere.invalid"
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with suppress(NoAnswerError):  # by the proxy, which closes
            connection.request("POST", f"http://{host}:{port}", body=[])
    assert (is_local, not is_local) == (bool(server.requests), bool(proxy.requests))


def test_environment_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection keeps the proxy it began with; the next one asks anew."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    served = answer("200 OK", b"{}")
    with serve_raw(served) as before, serve_raw(served) as after:
        monkeypatch.setenv("http_proxy", before.url)
        for again in (1, 2):
            kept = Connection()
            for _ in range(2):
                kept.request("POST", "http://elsewhere.invalid", body=[])
                monkeypatch.setenv("http_proxy", after.url)
            kept.close()
            assert (2, 2 * again - 2) == (len(before.requests), len(after.requests))


def test_password_of_a_netrc_file(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No password of a netrc file leaves, nor takes the place of a header of ours."""
    (tmp_path / "netrc").write_text("default login bob password hunter2\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serve_raw(answer("200 OK", b"{}")) as proxy:  # sees what any host would be sent
        monkeypatch.setenv("http_proxy", proxy.url)
        connection.request(
            "POST", "http://elsewhere.invalid", headers={"Authorization": "Bearer token"}
        )
        connection.close()
    [request] = proxy.requests
    assert b"Authorization: Bearer token\r\n" in request
    assert b"Basic" not in request


@pytest.mark.parametrize("is_by_proxy", [True, False])
def test_each_request_has_its_deadline(
    monkeypatch: pytest.MonkeyPatch, is_by_proxy: bool
) -> None:
    """Each request over a connection has its own deadline, also by way of a proxy."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    clock = TickingClock(tick=5.0)
    connection = Connection(Deadline(clock))
    with serve_raw(answer("200 OK", b"{}")) as server:
        monkeypatch.setenv("http_proxy", server.url)
        url = "http://elsewhere.invalid" if is_by_proxy else server.url
        for _ in range(5):
            assert connection.request("POST", url).is_success
        clock.tick = DAY_SECONDS
        with pytest.raises(NoAnswerError) as late:
            connection.request("POST", url)
        assert late.value.is_heard
        connection.close()
    assert (5, 1) == (len(server.requests), server.connections)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("Ж漢🙂", "Ж漢🙂".encode()),
        ("a\ud800b", b"a?b"),
        ('"\\\n\0', rb"\"\\\n\u0000"),
    ],
)
def test_body_is_utf8(connection: Connection, said: str, sent: bytes) -> None:
    """A body is sent as it is written, in UTF-8; what that cannot say is a `?`."""
    with serve_raw(answer("200 OK", b"{}")) as server:
        connection.request("POST", server.url, body=[said])
        connection.close()
    [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert b'["' + sent + b'"]' == body
    assert b"Content-Type: application/json\r\n" in head


def test_certificates_of_the_environment(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The certificates that the environment names are asked, also for this machine."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nothing.pem"))
    with serve_raw(b"") as server, pytest.raises(NoAnswerError, match=r"^OSError$"):
        connection.request("POST", server.url.replace("http:", "https:"), body=[])
    assert 0 == server.connections


@pytest.mark.parametrize(
    "url", ["http://two..dots", f"http://{'x' * 70}.long", "http://:80", "no URL"]
)
def test_host_that_is_none(connection: Connection, url: str) -> None:
    """A host that no name can be is one that does not answer."""
    with pytest.raises(NoAnswerError):
        connection.request("POST", url, body=[])


@pytest.mark.parametrize("length", ["3", "", "no number", "2"])
def test_cut_before_its_length(length: str) -> None:
    """What is shorter than it says is broken, also where urllib3 does not tell."""
    response = requests.Response()
    response.raw = io.BytesIO(b"{}")
    response.headers["Content-Length"] = length
    if length == "3":
        with pytest.raises(requests.ConnectionError, match="cut"):
            _read(response)
    else:
        assert b"{}" == _read(response)
