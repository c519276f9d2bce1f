"""The older platform when it fails: nothing lost, all there after the mend, no secret out.

From the model's call to the document, through the spool and its sender. Whatever happens,
each test ends with a search for the password and the tokens in all that came out of it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.language_models import FakeListChatModel

from tests.delivery.parts import wait_until
from tests.delivery.platform_server import (
    EMAIL,
    PASSWORD,
    PlatformServer,
    Step,
    serve_platform,
)
from tests.delivery.servers import serve_raw
from tests.delivery.test_platform import EMULATORS
from tests.process.faults import settled_in
from tests.process.program import run_program
from tests.process.test_local import command
from trubrics_trace import (
    TrubricsCallbackHandler,
    configure,
    flush,
    shutdown,
    stats,
    trubrics_scope,
)
from trubrics_trace._runtime import settings
from trubrics_trace.delivery._delivery import deliveries
from trubrics_trace.errors import TelemetryError

OLD_PASSWORD = "battery staple"
SECRETS = (PASSWORD, OLD_PASSWORD, "token-")
REFUSED = {"error": {"code": 400, "message": "INVALID_LOGIN_CREDENTIALS"}}
PATIENCE_SECONDS = 60.0

PROGRAM = """
    import logging
    logging.basicConfig(level=logging.DEBUG)
    from langchain_core.language_models import FakeListChatModel
    from trubrics_trace import trubrics_scope
    with trubrics_scope(user_id="alice"):
        print(FakeListChatModel(responses=["42"]).invoke("question 0").content)
    """


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlatformServer]:
    """Serve the platform where the emulators' variables say."""
    with serve_platform() as server:
        for variable in EMULATORS:
            monkeypatch.setenv(variable, server.address)
        yield server


@pytest.fixture
def spool_dir(tmp_path: Path) -> Path:
    """Return where the test's records wait."""
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def no_secret_out(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Search what was logged, down to the level of DEBUG, printed, and looked at."""
    caplog.set_level(logging.DEBUG)
    yield
    look()
    printed = capfd.readouterr()
    logged = [*caplog.get_records("call"), *caplog.records]
    lines = [*map(caplog.handler.format, logged), printed.out, printed.err]
    assert [] == [line for line in lines if any(secret in line for secret in SECRETS)]
    assert any("question 0" in line for line in lines)  # else nothing could be found


def look() -> None:
    """Note what is kept on disk now, and what things say of themselves."""
    parts = [settings(), stats(), flush(0), deliveries, TrubricsCallbackHandler()]
    for delivery in deliveries.all():
        sender = delivery.sender
        parts += [delivery, delivery.spool, sender, sender and sender._transport]
    for part in parts:
        logging.getLogger(__name__).debug("shown: %r", part)
    for path in sorted(Path(settings().spool_dir or "").rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # it may have been sent by now
            kept = path.read_bytes().decode() if path.is_file() else "a directory"
            logging.getLogger(__name__).debug("kept: %s: %s", path.name, kept)


def sign_up(**given: str) -> None:
    """Let records go to the older platform from here on."""
    configure(**{"email": EMAIL, "password": PASSWORD, **given})  # type: ignore[arg-type]


def ask(*numbers: int) -> None:
    """Ask a model so many questions, each of which has its answer."""
    with trubrics_scope(user_id="alice"):
        for number in numbers:
            answer = FakeListChatModel(responses=["42"]).invoke(f"question {number}")
            assert "42" == answer.content


def notices(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    """Return what people were warned of, in these words."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and words in record.getMessage()
    ]


def fail_with(why: str) -> None:
    """Try until the sender meets this."""
    wait_until(lambda: flush(0.05).last_error == why, PATIENCE_SECONDS)
    look()


def assert_all_arrived(
    platform: PlatformServer, spool_dir: Path, count: int, project: str = "default"
) -> None:
    """Fail unless each of so many questions is stored once, and no record is missing."""
    wait_until(lambda: flush(0.2).complete, PATIENCE_SECONDS)
    stored = [
        fields["prompt"]["stringValue"]
        for fields in platform.stored_in(f"{project}/prompts")
    ]
    assert sorted(f"question {number}" for number in range(count)) == sorted(stored)
    assert count == len(platform.documents)
    assert stats().is_balanced
    look()
    shutdown()
    assert count == settled_in(spool_dir)


def test_tokens_that_end(platform: PlatformServer, spool_dir: Path) -> None:
    """Tokens that end in the middle cost sign-ins, and no prompt."""
    sign_up()
    for first in (0, 3, 6):
        ask(first, first + 1, first + 2)
        wait_until(lambda: flush(0.2).complete, PATIENCE_SECONDS)
        platform.forget_tokens()
    ask(9)

    assert_all_arrived(platform, spool_dir, 10)
    assert 4 == platform.steps.count("sign-in")
    assert 1 == platform.steps.count("organisation")


def test_token_that_ends_where_it_is_looked_up(
    platform: PlatformServer, spool_dir: Path
) -> None:
    """A token that ends before the project is found is no project that is not there."""
    platform.answer_next("projects", 401, {})
    sign_up()
    ask(0)

    assert_all_arrived(platform, spool_dir, 1)


def test_password_that_is_revoked(
    platform: PlatformServer, spool_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A password that held and holds no more is told once, and not tried in a hurry."""
    sign_up()
    ask(0, 1, 2)
    assert flush(PATIENCE_SECONDS)
    platform.forget_tokens()
    platform.answer_next("sign-in", 400, REFUSED)
    ask(3, 4)
    fail_with("sign-in: HTTP 400")
    ask(5)
    for _ in range(3):
        assert not flush(0.05)

    assert 2 == platform.steps.count("sign-in")
    assert (3, 3) == (stats().delivered, stats().pending)
    (notice,) = notices(caplog, "refuses the credentials")
    assert "set those that it accepts, every record is kept for them" in notice
    sign_up()
    ask(6)
    assert_all_arrived(platform, spool_dir, 7)


def test_password_that_is_mended(platform: PlatformServer, spool_dir: Path) -> None:
    """What was kept under a wrong password leaves with the right one."""
    sign_up(password=OLD_PASSWORD)
    ask(0, 1)
    fail_with("sign-in: HTTP 400")
    assert ["sign-in"] == platform.steps
    sign_up()
    ask(2)

    assert_all_arrived(platform, spool_dir, 3)


def test_project_that_comes_later(
    platform: PlatformServer, spool_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A project that is not there is told once, beside those that are; it may be made."""
    platform.projects["support"] = False
    sign_up(project="mine")
    ask(0, 1)
    fail_with("there is no project 'mine', only default, support")

    assert {} == platform.documents
    assert 2 == stats().pending
    (notice,) = notices(caplog, "there is no project 'mine', only default, support")
    assert "every record is kept" in notice
    platform.projects["mine"] = False
    sign_up(project="mine")
    ask(2)
    assert_all_arrived(platform, spool_dir, 3, project="mine")


def test_flush_after_the_mend(platform: PlatformServer, spool_dir: Path) -> None:
    """Once the account is mended a flush sends what was kept: no further call is needed."""
    sign_up(password=OLD_PASSWORD)
    ask(0, 1)
    fail_with("sign-in: HTTP 400")
    sign_up()

    assert 2 == flush(5).delivered
    assert_all_arrived(platform, spool_dir, 2)


def test_project_of_a_handler(
    platform: PlatformServer, spool_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler whose project is not there keeps its prompts, and nobody else's."""
    sign_up()
    handler = TrubricsCallbackHandler("mine", EMAIL, PASSWORD, user_id="alice")
    model = FakeListChatModel(responses=["42"], callbacks=[handler])
    model.invoke("question 1")
    ask(0)
    fail_with("there is no project 'mine', only default")
    wait_until(lambda: flush(0.05).pending == 1, PATIENCE_SECONDS)

    assert 1 == len(platform.stored_in("default/prompts")) == len(platform.documents)
    assert 1 == len(notices(caplog, "there is no project 'mine', only default"))
    platform.projects["mine"] = False
    sign_up()
    model.invoke("question 2")
    wait_until(lambda: flush(0.2).complete, PATIENCE_SECONDS)
    assert 2 == len(platform.stored_in("mine/prompts"))
    shutdown()
    assert 3 == settled_in(spool_dir)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"project": "mine"}, "there is no project 'mine', only default"),
        ({"password": OLD_PASSWORD}, "sign-in: HTTP 400"),
    ],
    ids=["project", "password"],
)
def test_strict(platform: PlatformServer, given: dict[str, str], why: str) -> None:
    """In strict mode a flush raises what the platform has against the account."""
    sign_up(strict="true", **given)
    ask(0)
    with pytest.raises(TelemetryError, match=why):
        flush(PATIENCE_SECONDS)
    sign_up()


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ("document", 429),
        ("document", 503),
        ("projects", 429),
        ("organisation", 503),
        ("sign-in", 429),
        ("sign-in", 503),
    ],
)
def test_platform_that_is_busy(
    platform: PlatformServer, spool_dir: Path, step: Step, status: int
) -> None:
    """Whatever is throttled or unavailable, and however often, it is done in the end."""
    sign_up()
    if step == "document":
        ask(0, 1)
        assert flush(PATIENCE_SECONDS)
    for _ in range(2):
        platform.answer_next(step, status, {"error": {"code": status}})
    ask(*range(2 if step == "document" else 0, 8))
    wait_until(lambda: flush(0.01) or stats().retries, PATIENCE_SECONDS)
    look()

    assert_all_arrived(platform, spool_dir, 8)
    assert 2 == stats().retries


def test_sign_in_that_hangs(
    platform: PlatformServer, spool_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a sign-in hangs no call waits for it, and all are sent when it is mended."""
    gate = threading.Event()
    with serve_raw(b"", before_each=gate.wait) as server:
        try:
            monkeypatch.setenv(EMULATORS[0], server.url.removeprefix("http://"))
            sign_up()
            ask(0, 1)
            wait_until(lambda: flush(0.05) or server.requests, PATIENCE_SECONDS)
            ask(2)
            look()
            assert not flush(0.05)
            assert (0, 3) == (stats().delivered, stats().pending)
            monkeypatch.setenv(EMULATORS[0], platform.address)
        finally:
            gate.set()
        assert_all_arrived(platform, spool_dir, 3)
    assert 1 == len(server.requests)


def test_program_that_ends_while_its_sign_in_hangs(
    platform: PlatformServer, spool_dir: Path
) -> None:
    """A program ends though its sign-in hangs, and the next one delivers what it left."""
    account = {"TRUBRICS_EMAIL": EMAIL, "TRUBRICS_PASSWORD": PASSWORD}
    gate = threading.Event()
    with serve_raw(b"", before_each=gate.wait) as server:
        try:
            hanging = {EMULATORS[0]: server.url.removeprefix("http://")}
            ended = run_program(PROGRAM, spool_dir, **account, **hanging)
        finally:
            gate.set()
    assert (0, "42\n") == (ended.returncode, ended.stdout), ended.stderr
    assert {} == platform.documents
    flushed = command(spool_dir, "flush", **account)
    assert 0 == flushed.returncode, flushed.stderr
    assert 1 == len(platform.stored_in("default/prompts"))
    assert 1 == settled_in(spool_dir)
    sys.stderr.write(ended.stderr + flushed.stdout + flushed.stderr)  # to be searched
