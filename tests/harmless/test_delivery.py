"""A disk that refuses, a server that answers nonsense: the call is over before that."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.delivery.parts import wait_until
from tests.delivery.servers import RawServer, answer, serve_raw, unused_url
from tests.harmless.parts import (
    ANSWER,
    WAYS,
    WORDS,
    Way,
    invoke,
    notices,
    raising,
)
from tests.process.program import clean_environment, output_of
from trubrics_trace import aflush, configure, flush, stats
from trubrics_trace.errors import TelemetryError
from trubrics_trace.testing import IngestionServer

KEY = "test-key"
GOOD = answer("200 OK", b"{}")

# What a server answers, and how `last_error` begins then.
CLOSE = "Connection: close"
NONSENSE = {
    "HTML": (answer("200 OK", b"<html>A proxy's</html>", CLOSE), "HTTP 200"),
    "nothing": (answer("200 OK", b"", CLOSE), "HTTP 200"),
    "list": (answer("200 OK", b"[]", CLOSE), "HTTP 200"),
    "text": (answer("200 OK", b'"success"', CLOSE), "HTTP 200"),
    "no status": (b"nonsense\r\n\r\n", "no answer"),
    "strange status": (answer("799 What", b"{}", CLOSE), "HTTP 799"),
    "half": (answer("200 OK", b"{}", CLOSE, length=9), "no answer"),
    "error": (answer("500 Oops", b"\xff\x00garbage", CLOSE), "HTTP 500"),
    "redirect": (answer("302 Found", b"{}", CLOSE, "Location: /elsewhere"), "HTTP 302"),
    "closed": (b"", "no answer"),
}
each_nonsense = pytest.mark.parametrize(("said", "why"), NONSENSE.values(), ids=NONSENSE)


@pytest.fixture(autouse=True)
def lenient_end() -> Iterator[None]:
    """Let the end of a strict test raise nothing more."""
    yield
    configure()


def send_to(server: RawServer | IngestionServer, **settings: object) -> None:
    """Let records go to a server, soon."""
    configure(api_key=KEY, host=server.url, flush_interval=0.1, **settings)  # type: ignore[arg-type]


@each_nonsense
def test_nonsense(said: bytes, why: str) -> None:
    """A server that answers nonsense has nothing, is counted, and is asked again."""
    with serve_raw(said) as server:
        send_to(server)
        assert ANSWER == invoke(user_id="alice")
        wait_until(lambda: stats().last_error)
        now, report = stats(), flush(timeout=0)
    assert (1, 0, True) == (now.pending, now.delivered, now.is_balanced)
    assert str(now.last_error).startswith(why)
    assert (False, 1) == (report.complete, report.pending)
    with serve_raw(GOOD, url=server.url) as server:
        assert flush(timeout=10)
    assert (1, 0, None) == (stats().delivered, stats().pending, stats().last_error)


def raised_by(end: Callable[[], object]) -> TelemetryError:
    """Return what a flush raises, once the sender's thread has met it."""
    raised: list[TelemetryError] = []

    def has_raised() -> bool:
        try:
            end()
        except TelemetryError as error:
            raised.append(error)
        return bool(raised)

    wait_until(has_raised)
    return raised[0]


@each_nonsense
def test_nonsense_when_strict(said: bytes, why: str) -> None:
    """In strict mode the next flush raises what the sender's thread has met."""
    with serve_raw(said) as server:
        send_to(server, strict=True)
        assert ANSWER == invoke(user_id="alice")
        error = raised_by(lambda: flush(timeout=5))
    assert ("not_delivered", 1) == (error.reason, stats().pending)
    assert why in str(error)


def test_nobody_listens_when_strict() -> None:
    """So it is where nobody listens, for whoever awaits the flush."""
    configure(api_key=KEY, host=unused_url(), flush_interval=0.1, strict=True)
    assert ANSWER == invoke(user_id="alice")
    error = raised_by(lambda: asyncio.run(aflush(timeout=5)))
    assert "not_delivered" == error.reason


def test_mended_when_strict() -> None:
    """In strict mode what was met, and then mended, is no error of a later flush."""
    with serve_raw(answer("503 Soon", b"{}"), GOOD) as server:
        send_to(server, strict=True)
        assert ANSWER == invoke(user_id="alice")
        wait_until(lambda: stats().delivered == 1)
        assert flush(timeout=5)


def test_on_error(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """An `on_error` that raises is counted and said; the destination is not to blame."""
    refusal = answer("422 Unprocessable", b'{"detail": []}')
    with serve_raw(refusal, GOOD) as server:
        send_to(server, on_error=raising(error))
        assert ANSWER == invoke(user_id="alice")
        wait_until(lambda: stats().noticed)
        assert ANSWER == invoke(user_id="bob")
        wait_until(lambda: stats().delivered)
    now = stats()
    assert ({"on_error_failed": 1}, 0, 1) == (now.noticed, now.retries, now.delivered)
    assert (1, None, True) == (sum(now.rejected.values()), now.last_error, now.is_balanced)
    [notice] = notices(caplog.messages)
    says = ("on_error=", "parts.py:", "mend")
    assert [] == [named for named in says if named not in notice]
    assert WORDS not in notice


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ("401 Unauthorized", ("HTTP 401", "127.0.0.1-", "set")),
        ("422 Unprocessable", ("HTTP 422", "127.0.0.1-", "`trubrics-trace rejected list`")),
    ],
)
def test_refusal_is_said(
    refusal: str, says: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal is said once, with its reason, its destination and what to do."""
    with serve_raw(answer(refusal, b'{"detail": []}')) as server:
        send_to(server)
        assert [ANSWER, ANSWER] == [invoke(user_id="alice"), invoke(user_id="bob")]
        wait_until(lambda: stats().retries or sum(stats().rejected.values()) == 2)
        wait_until(lambda: caplog.messages)
    [notice] = caplog.messages
    assert [] == [named for named in says if named not in notice]


def test_on_error_when_strict() -> None:
    """In strict mode the next flush raises what `on_error` raised."""
    with serve_raw(answer("422 Unprocessable", b'{"detail": []}')) as server:
        send_to(server, on_error=raising(LookupError(WORDS)), strict=True)
        assert ANSWER == invoke(user_id="alice")
        error = raised_by(lambda: flush(timeout=5))
    assert "on_error_failed" == error.reason


def below_a_file(directory: Path) -> str:
    """Return a place below a regular file."""
    (directory / "file").touch()
    return str(directory / "file" / "spool")


def full_device(directory: Path) -> str:
    """Return a place that takes nothing."""
    return "/dev/full"


def no_name(directory: Path) -> str:
    """Return a place that cannot be named."""
    return "spool\0"


each_place = pytest.mark.parametrize("place", [below_a_file, full_device, no_name])
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
Place = Callable[[Path], str]


@each_way
@each_place
def test_unwritable_spool(
    way: Way,
    place: Place,
    tmp_path: Path,
    trubrics_server: IngestionServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where no file can be written the call answers, and its record goes by memory."""
    send_to(trubrics_server, spool_dir=place(tmp_path))
    assert [ANSWER, ANSWER] == [way(user_id="alice"), way(user_id="alice")]
    assert flush(timeout=10)
    assert {"spool_refused": 2, "in_memory": 2} == stats().noticed
    assert (2, True) == (len(trubrics_server.record_ids), stats().is_balanced)
    [notice] = notices(caplog.messages)
    says = (place(tmp_path).rstrip("\0"), "mend it", "TRUBRICS_TRACE_SPOOL_DIR")
    assert [] == [named for named in says if named not in notice]


@each_way
@each_place
def test_unwritable_spool_when_strict(way: Way, place: Place, tmp_path: Path) -> None:
    """In strict mode the call raises it, and the record is kept all the same."""
    configure(spool_dir=place(tmp_path), strict=True)
    with pytest.raises(TelemetryError) as raised:
        way(user_id="alice")
    assert ("spool_refused", 1) == (raised.value.reason, stats().pending)


def test_spool_that_is_deleted(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Where the spool is deleted while the app runs every record arrives all the same."""
    trubrics_server.answer_next(503)
    send_to(trubrics_server)
    assert ANSWER == invoke(user_id="alice")
    wait_until(lambda: stats().retries)
    shutil.rmtree(tmp_path / "spool")
    assert ANSWER == invoke(user_id="bob")
    (tmp_path / "spool").touch()  # and something else stands in its place
    assert ANSWER == invoke(user_id="carol")
    assert flush(timeout=10)
    said = sorted(event["user_id"] for event in trubrics_server.events)
    assert (["alice", "bob", "carol"], True) == (said, stats().is_balanced)
    assert ({}, {}) == (stats().dropped, stats().rejected)


@pytest.mark.parametrize("limit", [0, 2_000])
def test_full_disk(limit: int, tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """On a full disk each call answers as ever; the first is raised when strict."""
    program = f"""
        import resource
        from langchain_core.language_models import FakeListChatModel
        import trubrics_trace.delivery._ingestion
        from trubrics_trace import configure, flush, stats, trubrics_scope
        from trubrics_trace.errors import TelemetryError
        model = FakeListChatModel(responses=["42"])
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        for number in range(9):
            with trubrics_scope(user_id="alice"):
                assert model.invoke("Hi").content == "42"
        assert flush(10)
        print(stats().noticed["spool_refused"] > 0, stats().is_balanced, stats().delivered)
        configure(strict=True)
        try:
            for number in range(9):
                with trubrics_scope(user_id="alice"):
                    model.invoke("Hi")
        except TelemetryError as error:
            print(error.reason)
        """
    destination = {"TRUBRICS_API_KEY": KEY, "TRUBRICS_HOST": trubrics_server.url}
    said = output_of(program, tmp_path, **destination)
    assert "True True 9\nspool_refused" == said


@pytest.mark.skipif(sys.platform != "linux", reason="no /dev/full elsewhere")
def test_stderr_on_a_full_disk(tmp_path: Path) -> None:
    """Where stderr takes nothing, neither records nor notices, the program runs on."""
    program = """
        from langchain_core.language_models import FakeListChatModel
        from trubrics_trace import configure, stats, trubrics_scope
        configure(console=True)
        with trubrics_scope(user_id="alice"):
            print(FakeListChatModel(responses=["42"]).invoke("Hi").content)
        print(stats().noticed, stats().pending)
        """
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=clean_environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=60,
            check=True,
        )
    assert "42\n{'console_failed': 1} 1\n" == ended.stdout
