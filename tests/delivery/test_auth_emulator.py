"""The older platform's sign-in, against the real auth emulator of Firebase's own tools.

It runs where `FIREBASE_TOOLS` names the `firebase` executable of the npm package
`firebase-tools`. The documents' half is the loopback server's, which asks the emulator
whether a token holds: so does Firestore ask Firebase.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from langchain_core.language_models import FakeListChatModel

from tests.delivery.parts import record, wait_until
from tests.delivery.platform_server import (
    EMAIL,
    PASSWORD,
    PlatformServer,
    serve_platform,
)
from tests.process.program import clean_environment
from trubrics_trace import configure, flush, trubrics_scope
from trubrics_trace.delivery._platform import PlatformTransport
from trubrics_trace.delivery._transport import Delivered, Outcome, Retry

FIREBASE = os.environ.get("FIREBASE_TOOLS", "")
PATIENCE_SECONDS = 60.0
EMULATED_PROJECT = "demo-trubrics"  # `demo-` tells the tools to keep to themselves
NEW_PASSWORD = "battery staple"
REFUSED = Retry("sign-in: HTTP 400", 60.0, is_refused_key=True)

pytestmark = [
    pytest.mark.skipif(not FIREBASE, reason="FIREBASE_TOOLS names no firebase executable"),
    pytest.mark.timeout(4 * PATIENCE_SECONDS),
]


class Emulator:
    """The emulator as its clients see it, and its administrator."""

    def __init__(self, address: str) -> None:
        self.address = address

    def post(
        self, action: str, *, key: str = "any", is_owner: bool = False, **body: Any
    ) -> requests.Response:
        """Ask the API for something; an owner may do anything, and is not checked."""
        return requests.post(
            f"http://{self.address}/identitytoolkit.googleapis.com/v1/accounts:{action}",
            params={"key": key} if key else {},
            json=body,
            headers={"Authorization": "Bearer owner"} if is_owner else {},
            timeout=PATIENCE_SECONDS,
        )

    def begin_anew(self) -> None:
        """Forget every account, and make the one that the loopback platform knows."""
        url = f"http://{self.address}/emulator/v1/projects/{EMULATED_PROJECT}/accounts"
        requests.delete(url, timeout=PATIENCE_SECONDS).raise_for_status()
        self.post("signUp", email=EMAIL, password=PASSWORD).raise_for_status()

    def change(self, **fields: Any) -> None:
        """Change the account."""
        found = self.post("lookup", is_owner=True, email=[EMAIL]).json()
        (account,) = found["users"]
        changed = {"localId": account["localId"], **fields}
        self.post("update", is_owner=True, **changed).raise_for_status()


class EmulatorsTokens(set[str]):
    """The tokens that hold: the emulator is asked."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self._emulator = emulator

    def __contains__(self, token: object) -> bool:
        return self._emulator.post("lookup", idToken=token).ok


def ports(count: int) -> list[int]:
    """Return ports that nobody listens at."""
    with ExitStack() as listeners:
        made = [
            listeners.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in made]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run the emulator while the tests of this file do."""
    directory = tmp_path_factory.mktemp("firebase")
    auth, *others = ports(3)
    places = {
        name: {"host": "127.0.0.1", "port": port}
        for name, port in zip(("auth", "hub", "logging"), (auth, *others), strict=True)
    }
    said = {"emulators": {**places, "ui": {"enabled": False}}}
    (directory / "firebase.json").write_text(json.dumps(said))
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [FIREBASE, "emulators:start", "--only=auth", f"--project={EMULATED_PROJECT}"],
            cwd=directory,
            env=clean_environment(
                directory, CI="true", NO_UPDATE_NOTIFIER="1", XDG_CONFIG_HOME=str(directory)
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(f"http://127.0.0.1:{auth}/", process, directory)
            yield Emulator(f"127.0.0.1:{auth}")
        finally:
            end(process)


def wait_for(url: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait until it answers; fail with what it printed where it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(requests.ConnectionError):
            if requests.get(url, timeout=PATIENCE_SECONDS).ok:
                return
        is_over = process.poll() is not None or time.monotonic() > deadline
        assert not is_over, (directory / "output").read_text()
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """End it politely, else with all that it started."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def emulator(started: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Return the emulator with one account, where its variable says."""
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", started.address)
    started.begin_anew()
    return started


@pytest.fixture
def platform(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PlatformServer]:
    """Serve documents to whoever has a token of the emulator's."""
    with serve_platform() as server:
        server._tokens = EmulatorsTokens(emulator)
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.address)
        yield server


@pytest.fixture
def transport(platform: PlatformServer) -> Iterator[PlatformTransport]:
    """Return a transport that signs in at the emulator."""
    made = PlatformTransport(EMAIL, PASSWORD, "default")
    yield made
    made.close()


def send(transport: PlatformTransport, number: int) -> Outcome:
    """Send one prompt."""
    return transport.send("prompts", [record(number)])


def sent_by(email: str, password: str) -> Outcome:
    """Return what becomes of a prompt that an account sends."""
    transport = PlatformTransport(email, password, "default")
    try:
        return send(transport, 1)
    finally:
        transport.close()


def test_signed_in_once(transport: PlatformTransport, platform: PlatformServer) -> None:
    """One sign-in's token serves many documents."""
    assert [Delivered()] * 3 == [send(transport, number) for number in range(3)]
    assert ["organisation", "projects"] + ["document"] * 3 == platform.steps


def test_email_in_another_case(platform: PlatformServer) -> None:
    """An e-mail in any case is the account's, and the organisation is found by its own."""
    assert Delivered() == sent_by(EMAIL.upper(), PASSWORD)


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD)],
    ids=["wrong password", "unknown account"],
)
def test_refused(platform: PlatformServer, email: str, password: str) -> None:
    """Who is refused sends nothing, and is told to come again in a minute."""
    assert REFUSED == sent_by(email, password)
    assert [] == platform.steps


def test_disabled_account(emulator: Emulator, platform: PlatformServer) -> None:
    """An account that is disabled is refused, and delivers once it is not."""
    emulator.change(disableUser=True)
    assert REFUSED == sent_by(EMAIL, PASSWORD)
    emulator.change(disableUser=False)
    assert Delivered() == sent_by(EMAIL, PASSWORD)


def test_token_that_has_expired(
    transport: PlatformTransport, emulator: Emulator, platform: PlatformServer
) -> None:
    """A token that the emulator calls expired is renewed, and the prompt delivered."""
    assert Delivered() == send(transport, 1)
    expired = transport._token
    emulator.change(validSince=str(int(time.time()) + 1))
    assert "TOKEN_EXPIRED" in emulator.post("lookup", idToken=expired).text
    assert Retry("HTTP 401") == send(transport, 2)
    # A token bears its second, and holds from the next one on.
    wait_until(lambda: send(transport, 2) == Delivered(), PATIENCE_SECONDS)
    assert expired != transport._token
    assert 2 == len(platform.documents)


def test_revoked_password(
    transport: PlatformTransport, emulator: Emulator, platform: PlatformServer
) -> None:
    """A password that is changed is refused; changed back, what waited is delivered."""
    assert Delivered() == send(transport, 1)
    emulator.change(password=NEW_PASSWORD)
    emulator.change(validSince=str(int(time.time()) + 1))
    assert Retry("HTTP 401") == send(transport, 2)
    assert REFUSED == send(transport, 2)
    emulator.change(password=PASSWORD)
    wait_until(lambda: send(transport, 2) == Delivered(), PATIENCE_SECONDS)
    assert 2 == len(platform.documents)


def test_from_a_call_to_its_document(platform: PlatformServer, tmp_path: Path) -> None:
    """A call arrives by a real sign-in; its spool holds neither password nor token."""
    configure(email=EMAIL, password=PASSWORD)
    with trubrics_scope(user_id="alice"):
        FakeListChatModel(responses=["42"]).invoke("What is it?")
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert flush(PATIENCE_SECONDS)
    kept += b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    [prompt] = platform.stored_in("default/prompts")
    assert {"stringValue": "alice"} == prompt["user_id"]
    assert b"alice" in kept
    assert PASSWORD.encode() not in kept
    assert b"eyJ" not in kept  # how every token begins


@pytest.mark.parametrize(
    ("key", "email", "password"),
    [
        ("any", EMAIL, PASSWORD),
        ("any", EMAIL.title(), PASSWORD),
        ("any", EMAIL, "wrong"),
        ("", EMAIL, PASSWORD),
    ],
    ids=["right", "another case", "wrong password", "no key"],
)
def test_stand_in(
    emulator: Emulator, platform: PlatformServer, key: str, email: str, password: str
) -> None:
    """The loopback server of the other tests answers a sign-in as the emulator does."""
    said: dict[str, Any] = {"email": email, "password": password}
    said["returnSecureToken"] = True
    real = emulator.post("signInWithPassword", key=key, **said)
    with serve_platform() as server:
        stand_in = Emulator(server.address).post("signInWithPassword", key=key, **said)

    assert real.status_code == stand_in.status_code
    assert stand_in.json().keys() <= real.json().keys()
    for name in ("email", "expiresIn"):
        assert real.json().get(name) == stand_in.json().get(name)
