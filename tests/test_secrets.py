"""Keys and passwords get out nowhere, and what was asked only where it is meant to go.

Each test lets something go wrong with secrets everywhere around, and then searches what
was printed, logged and raised, what things call themselves, the spool and the wire.
"""

from __future__ import annotations

import ast
import contextvars
import dataclasses
import functools
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from trubrics import Trubrics

import trubrics_trace
from tests.delivery.parts import wait_until
from tests.delivery.servers import RawServer, answer, serve_raw, unused_url
from tests.harmless.parts import FAULTS, Fault, raising, spoiled
from trubrics_trace import (
    DurableTrubrics,
    Settings,
    TrubricsCallbackHandler,
    configure,
    current_scope,
    flush,
    identify,
    shutdown,
    stats,
    track_event,
    track_feedback,
    trubrics_scope,
)
from trubrics_trace import trubrics_trace as trace
from trubrics_trace.cli import main
from trubrics_trace.errors import ConfigurationError, TelemetryError
from trubrics_trace.pipeline._guard import _LOST
from trubrics_trace.testing import capture_records

# Nowhere at all, save where a request signs in with them.
API_KEY = "trubrics-key-5ec7e7"
PASSWORD = "trubrics-password-5ec7e7"
EMAIL = "someone-5ec7e7@example.com"
TOKEN = "token-of-the-sign-in-5ec7e7"
PROXY_PASSWORD = "proxy-password-5ec7e7"
MODEL_KEY = "sk-proj-5ec7e7AbCdEfGhIjKl"
BEARER = "bearer-5ec7e7-AbCdEfGh"
URL_PASSWORD = "url-password-5ec7e7"
SAID_PASSWORD = "said-password-5ec7e7"
CLOSED_OVER = "closed-over-5ec7e7"
SECRETS = (
    API_KEY,
    PASSWORD,
    EMAIL,
    TOKEN,
    PROXY_PASSWORD,
    MODEL_KEY,
    BEARER,
    URL_PASSWORD,
    SAID_PASSWORD,
    CLOSED_OVER,
)

# In records alone: their event, their line in the spool, their body on the wire.
PROMPT = "what only the user asked 5eed"
GENERATION = "what only the model answered 5eed"
METADATA = "what only the app noted 5eed"
COMMENT = "what only the user thought 5eed"
ERROR = "what only the model's error said 5eed"
TEXTS = (PROMPT, GENERATION, METADATA, COMMENT, ERROR)

# What an error says that has met all of them.
LEAK = (
    f"{ERROR}: {PROMPT}: key {MODEL_KEY}, Authorization: Bearer {BEARER}, "
    f"postgres://app:{URL_PASSWORD}@db/x, password={SAID_PASSWORD}"
)

# What tells a reader what to do next: a verb, or a command.
REMEDY = re.compile(
    r"\b(ask|await|call|carry|check|choose|close|copy|give|install|leave|look|make|mend|open"
    r"|pass|point|put|report|return|run|send|set|use|wait|write)\b|`trubrics-trace \w+`"
)

GOOD = answer("200 OK", b"{}")
HEAD_END = b"\r\n\r\n"


class Watch:
    """All that a test has let out, and where secrets were found in it."""

    def __init__(
        self,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
        spool_dir: Path,
    ) -> None:
        self.servers: list[RawServer] = []
        self._capfd = capfd
        self._caplog = caplog
        self._spool_dir = spool_dir
        self._shown: list[str] = []

    def show(self, *things: object) -> None:
        """Note what things say of themselves, an error also with its traceback."""
        for thing in things:
            self._shown += [repr(thing), str(thing), f"{thing}"]
            if isinstance(thing, BaseException):
                self._shown += traceback.format_exception(
                    type(thing), thing, thing.__traceback__, chain=False
                )

    def notices(self) -> list[str]:
        """Return what people were told."""
        return [
            record.getMessage()
            for record in self._caplog.records
            if record.name == "trubrics_trace" and record.levelno >= logging.WARNING
        ]

    def found(self) -> list[str]:
        """Return where a secret is, or a text where it does not belong, or no remedy."""
        printed = self._capfd.readouterr()
        formatted = [
            (self._caplog.handler.format(record), is_event(record))
            for record in self._caplog.records
        ]
        said = {
            "stdout": printed.out,
            "stderr": printed.err,
            "log": "\n".join(line for line, is_ours in formatted if not is_ours),
            "shown": "\n".join(self._shown),
        }
        records = {
            "event": "\n".join(line for line, is_ours in formatted if is_ours),
            "spool": "\n".join(self._files()),
            "wire": "\n".join(self._bodies()),
        }
        leaks = [
            f"{secret} in {place}"
            for place, text in {**said, **records}.items()
            for secret in SECRETS
            if secret in text
        ]
        leaks += [
            f"{words} in {place}"
            for place, text in said.items()
            for words in TEXTS
            if words in text
        ]
        return leaks + [
            f"no remedy: {said}" for said in self.notices() if not REMEDY.search(said)
        ]

    def meets(self, words: str) -> bool:
        """Whether the records bear these words: else nothing could have been found."""
        events = [one.getMessage() for one in self._caplog.records if is_event(one)]
        return any(words in text for text in (*events, *self._files(), *self._bodies()))

    def _files(self) -> Iterator[str]:
        for path in sorted(self._spool_dir.rglob("*")):
            yield path.name
            if path.is_file():
                yield path.read_bytes().decode(errors="replace")

    def _bodies(self) -> Iterator[str]:
        for server in self.servers:
            for request in server.requests:
                head, _, body = request.partition(HEAD_END)
                if b"signInWithPassword" not in head:
                    yield body.decode(errors="replace").replace(EMAIL, "")


def is_event(record: logging.LogRecord) -> bool:
    """Whether a log line is a record's own event."""
    is_ours = record.name == "trubrics_trace" and record.levelno == logging.INFO
    said = record.getMessage()
    return is_ours and said.startswith("{") and json.loads(said)["event"][:9] == "trubrics."


@pytest.fixture
def watch(
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Watch]:
    """Watch everything, at the level of DEBUG, with secrets in the environment."""
    caplog.set_level(logging.DEBUG)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://app:{PROXY_PASSWORD}@127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRUBRICS_API_KEY", API_KEY)
    monkeypatch.setenv("TRUBRICS_EMAIL", EMAIL)
    monkeypatch.setenv("TRUBRICS_PASSWORD", PASSWORD)
    monkeypatch.setenv("TRUBRICS_HOST", unused_url())
    monkeypatch.setenv("TRUBRICS_TRACE_FLUSH_INTERVAL", "0.1")
    configure()
    yield Watch(capfd, caplog, tmp_path / "spool")
    configure()  # let the end of a strict test raise nothing more


def ask(**said: Any) -> None:
    """Ask in each way, and let the app know of the answer."""
    with trubrics_scope(**{"user_id": "alice", "note": METADATA, **said}):
        FakeListChatModel(responses=[GENERATION]).invoke(PROMPT)
        list(FakeListChatModel(responses=[GENERATION]).stream(PROMPT))
        with pytest.raises(ValueError, match="5eed"):
            Failing(responses=[]).invoke(PROMPT)
        track_feedback(1, COMMENT)
        track_event("clicked", note=METADATA)


class Failing(FakeListChatModel):
    """A model whose error says all that it should not."""

    def _call(self, *_: Any, **__: Any) -> str:
        raise ValueError(LEAK)


def test_search_finds(watch: Watch) -> None:
    """What is searched for is found where it does stand: in what the records say."""
    ask()
    assert [] == watch.found()
    assert dict.fromkeys(TEXTS, True) == {words: watch.meets(words) for words in TEXTS}
    watch.show(LEAK)
    print(API_KEY)  # noqa: T201 - to be found
    logging.getLogger("app").debug(PROMPT)
    expected = [
        f"{API_KEY} in stdout",
        *(f"{one} in shown" for one in (MODEL_KEY, BEARER, URL_PASSWORD, SAID_PASSWORD)),
        f"{PROMPT} in log",
        f"{PROMPT} in shown",
        f"{ERROR} in shown",
    ]
    assert sorted(expected) == sorted(watch.found())


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("strict", [False, True])
def test_faults(fault: Fault, strict: bool, watch: Watch) -> None:
    """Whatever of the app's raises, and whatever it says, is told without its words."""
    with fault.planted(LookupError(LEAK), strict=strict) as said:
        try:
            ask(**said)
        except TelemetryError as error:
            watch.show(error)
    assert [] == watch.found()
    assert strict or watch.notices()


def late() -> None:
    """Ask in a context that has outlived its scope."""
    with trubrics_scope(user_id="alice"):
        context = contextvars.copy_context()
    context.run(lambda: FakeListChatModel(responses=[GENERATION]).invoke(PROMPT))


def closed_over() -> Callable[..., Any]:
    """Return a user's callable that holds a secret, and fails."""
    secret = CLOSED_OVER

    def user_of(salt: str = CLOSED_OVER) -> Any:
        raise LookupError(secret + salt)

    return user_of


class Secretive:
    """Something of the app's that tells its secrets to whoever asks."""

    def __repr__(self) -> str:
        return LEAK


MISTAKES: dict[str, Callable[[], object]] = {
    "callable": lambda: ask(user_id=closed_over()),
    "partial": lambda: ask(user_id=functools.partial(closed_over(), CLOSED_OVER)),
    "bad user": lambda: ask(user_id=Secretive()),
    "bad thread": lambda: ask(thread_id=Secretive()),
    "bad tags": lambda: ask(tags=[Secretive()]),
    "bad metadata": lambda: ask(metadata=[METADATA]),
    "near misses": lambda: ask(user=METADATA, session=METADATA, conversation_id=METADATA),
    "nobody": lambda: ask(user_id=None),
    "late": late,
    "identified outside": lambda: identify("alice", token=CLOSED_OVER),
    "untellable values": lambda: ask(note=[spoiled(LookupError(LEAK)), METADATA]),
    "event": lambda: track_event(spoiled(LookupError(LEAK)), note=METADATA),
    "score": lambda: track_feedback(spoiled(LookupError(LEAK)), COMMENT, user_id="alice"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("strict", [False, True])
def test_mistakes(mistake: Callable[[], object], strict: bool, watch: Watch) -> None:
    """Whatever is given wrongly is told by its place and type, and not by its content."""
    configure(strict=strict)
    try:
        mistake()
    except TelemetryError as error:
        watch.show(error)
    assert [] == watch.found()
    assert strict or watch.notices()


def quoting(status: str, *headers: str) -> bytes:
    """Return an answer that quotes what it was sent, and the key."""
    said = {"loc": ["body", 0, "prompt"], "msg": LEAK, "input": PROMPT, "key": API_KEY}
    return answer(status, json.dumps({"detail": [said]}).encode(), *headers)


ANSWERS: dict[str, bytes] = {
    "accepted": GOOD,
    "not valid": quoting("422 Unprocessable"),
    "refused key": quoting("401 Unauthorized"),
    "throttled": quoting("429 Slow down", f"Retry-After: {API_KEY}"),
    "too large": quoting("413 Too large"),
    "broken": quoting("500 Oops"),
    "list": answer("200 OK", json.dumps([API_KEY, PROMPT]).encode()),
    "redirect": quoting("302 Found", f"Location: http://app:{API_KEY}@127.0.0.1:9/"),
    "no status": f"{API_KEY} {PROMPT}\r\n\r\n".encode(),
    "closed": b"",
}


@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
def test_answers_of_a_server(said: bytes, watch: Watch) -> None:
    """Whatever a server quotes of what it was sent, nobody is told."""
    with serve_raw(said) as server:
        watch.servers.append(server)
        configure(host=server.url, on_error=raising(LookupError(LEAK)))
        ask()
        wait_until(lambda: server.requests)
        wait_until(lambda: stats().delivered or stats().rejected or stats().retries)
        watch.show(stats(), flush(timeout=0), shutdown(timeout=0), stats())
    assert [] == watch.found()
    assert watch.meets(PROMPT)


def as_answer(said: object) -> bytes:
    """Return JSON as an answer."""
    return answer("200 OK", json.dumps(said).encode())


SIGNED_IN = as_answer({"idToken": TOKEN, "expiresIn": "3600", "email": EMAIL})
ORGANISATION = as_answer([{"document": {"name": "root"}}])
PROJECTS = as_answer({"documents": [{"name": "root/projects/default"}]})

PLATFORM: dict[str, list[bytes]] = {
    "stored": [SIGNED_IN, ORGANISATION, PROJECTS, as_answer({"name": "x"})],
    "refused password": [quoting("400 Bad")],
    "strange sign-in": [as_answer({"idToken": {TOKEN: TOKEN}, "expiresIn": PASSWORD})],
    "no project": [SIGNED_IN, ORGANISATION, as_answer({"documents": []})],
    "strange project": [SIGNED_IN, as_answer([{"document": TOKEN}])],
    "refused token": [SIGNED_IN, ORGANISATION, PROJECTS, quoting("401 Unauthorized")],
    "refused document": [SIGNED_IN, ORGANISATION, PROJECTS, quoting("400 Bad")],
}


@pytest.mark.parametrize("answers", PLATFORM.values(), ids=PLATFORM)
def test_answers_of_the_older_platform(
    answers: list[bytes], watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E-mail and password go to the sign-in alone, and the token to the platform."""
    monkeypatch.delenv("TRUBRICS_API_KEY")
    with serve_raw(*answers) as server:
        watch.servers.append(server)
        for name in ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
            monkeypatch.setenv(name, server.url.removeprefix("http://"))
        watch.show(configure())
        ask()
        wait_until(lambda: stats().delivered or stats().rejected or stats().retries)
        watch.show(stats(), flush(timeout=0), shutdown(timeout=0), stats())
    assert [] == watch.found()
    assert watch.meets(PROMPT)


@pytest.mark.parametrize("is_there", [True, False])
def test_proxy_with_a_password(
    is_there: bool, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's password is told by nothing, whether the proxy answers or not."""
    with serve_raw(GOOD) as proxy:
        watch.servers.append(proxy)
        port = (proxy.url if is_there else unused_url()).rpartition(":")[2]
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://app:{PROXY_PASSWORD}@127.0.0.1:{port}")
        configure(host="http://trubrics.invalid")
        ask()
        wait_until(lambda: stats().delivered or stats().retries)
        watch.show(stats(), flush(timeout=0), shutdown(timeout=0))
        assert is_there == bool(proxy.requests)
    assert [] == watch.found()


def test_place_that_refuses(watch: Watch, tmp_path: Path) -> None:
    """Where nothing can be kept, or sent, that is told without what could not be."""
    (tmp_path / "file").touch()
    configure(spool_dir=tmp_path / "file" / "spool")
    ask()
    watch.show(stats(), flush(timeout=0))
    assert [] == watch.found()
    assert [said for said in watch.notices() if "the disk refused" in said]


def test_no_credentials(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where credentials are incomplete, those that are there are not told."""
    monkeypatch.delenv("TRUBRICS_API_KEY")
    monkeypatch.delenv("TRUBRICS_EMAIL")
    watch.show(configure())
    ask()
    watch.show(flush(timeout=0), stats())
    assert [] == watch.found()
    assert [said for said in watch.notices() if "TRUBRICS_API_KEY" in said]


WRONG: list[dict[str, Any]] = [
    {"api_key": f"{API_KEY}\0"},
    {"api_key": f"{API_KEY}é"},
    {"api_key": API_KEY.encode()},
    {"api_key": [API_KEY]},
    {"password": PASSWORD.encode()},
    {"password": f"{PASSWORD}\0"},
    {"email": EMAIL.encode()},
    {"email": f"{EMAIL}\0"},
    {"host": f"https://app:{URL_PASSWORD}@trubrics.example"},
    {"host": API_KEY},
    {"host": f"ftp://{API_KEY}"},
    {"host": f"https://[{API_KEY}"},
    {"client": {"api_key": API_KEY}},
    {"api_kee": API_KEY},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
def test_wrong_credentials(wrong: dict[str, Any], watch: Watch) -> None:
    """A credential that cannot be used is refused by its name alone, at each door."""
    doors = (configure, TrubricsCallbackHandler, DurableTrubrics)
    for door in doors if wrong.keys() <= {"api_key", "host"} else doors[:1]:
        with pytest.raises(ConfigurationError) as raised:
            door(**wrong)
        watch.show(raised.value)
    assert [] == watch.found()


SETTINGS = [field.name for field in dataclasses.fields(Settings) if field.init]


@pytest.mark.parametrize("name", SETTINGS)
def test_wrong_objects(name: str, watch: Watch) -> None:
    """Something of the app's that is no setting is named by its type."""
    for wrong in (Secretive(), [Secretive()]):
        given: dict[str, Any] = {name: wrong}
        with pytest.raises(ConfigurationError, match=name) as raised:
            configure(**given)
        watch.show(raised.value)
    assert [] == watch.found()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TRUBRICS_API_KEY", f"{API_KEY}\a"),
        ("TRUBRICS_PASSWORD", f"{PASSWORD}\a"),
        ("TRUBRICS_EMAIL", f"{EMAIL}\a"),
        ("TRUBRICS_HOST", f"https://app:{URL_PASSWORD}@trubrics.example"),
        ("TRUBRICS_HOST", API_KEY),
        ("TRUBRICS_TRACE_STRICT", "perhaps"),
    ],
)
def test_wrong_environment(
    variable: str, text: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment says wrongly is told by the variable's name, and goes unused."""
    monkeypatch.setenv(variable, text)
    watch.show(configure())
    ask()
    assert [] == watch.found()
    assert [said for said in watch.notices() if variable in said]


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "--json"],
        ["flush", "--timeout", "0"],
        ["flush", "--timeout", "0", "--json"],
        ["flush", "--timeout", "0", "--from", "local"],
        ["flush", "--destination", "elsewhere"],
    ],
    ids=" ".join,
)
def test_command_line(arguments: list[str], watch: Watch) -> None:
    """The command line says how much waits and where, and nothing of what."""
    ask()
    shutdown(timeout=0)
    assert main(arguments) in (0, 1, 2)
    assert [] == watch.found()


@dataclasses.dataclass
class Masker:
    """A redactor of the app's, with a secret of its own."""

    secret: str

    def mask(self, text: str) -> str:
        """Return the text as it is."""
        return text


def test_what_things_say_of_themselves(watch: Watch) -> None:
    """No `repr` and no `str` of ours holds a key, a password, a prompt or an answer."""
    mask = Masker(CLOSED_OVER).mask
    send = functools.partial(lambda record, secret: record, secret=CLOSED_OVER)
    with (
        trubrics_scope(user_id="alice", note=METADATA) as scope,
        capture_records() as kept,
    ):
        watch.show(configure(redact=mask, before_send=send, on_error=send))
        watch.show(configure(client=Trubrics(API_KEY, "https://trubrics.example")))
        watch.show(
            scope,
            current_scope(),
            trubrics_scope(user_id="alice", note=METADATA, metadata={"key": CLOSED_OVER}),
            trace(user_id=closed_over(), note=METADATA),
            TrubricsCallbackHandler(api_key=API_KEY, note=METADATA, user_id=closed_over()),
            TrubricsCallbackHandler(email=EMAIL, password=PASSWORD),
            DurableTrubrics(API_KEY),
        )
        ask()
        DurableTrubrics(API_KEY).track("alice", "clicked", {"note": METADATA})
        assert 6 == len(kept)
        watch.show(kept, *kept)
    watch.show(stats(), flush(timeout=0))
    assert [] == watch.found()


def messages_of_notices() -> Iterator[tuple[str, str]]:
    """Yield where something is said to people, and what of it stands in the code."""
    folder = Path(trubrics_trace.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        functions = {
            node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
        }
        for node in ast.walk(tree):
            name = getattr(getattr(node, "func", None), "attr", None)
            if not isinstance(node, ast.Call) or name not in ("fault", "say", "say_once"):
                continue
            if len(node.args) < 2:  # what a lock's holder says of itself
                continue
            message = node.args[1]
            called = message.func if isinstance(message, ast.Call) else message
            told: ast.AST = functions.get(getattr(called, "id", ""), message)
            words = [
                part.value
                for part in ast.walk(told)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            if words:
                yield f"{path.name}:{node.lineno}", " ".join(words)


def test_every_notice_has_a_remedy() -> None:
    """Each notice of the package tells what to do about it."""
    told = dict(messages_of_notices())
    assert len(told) >= 15
    told.update(_LOST)
    bare = [
        f"{where}: {words}"
        for where, words in told.items()
        if not REMEDY.search(words) and not where.startswith(("_guard", "_ledger", "_conf"))
    ]
    assert [] == bare
