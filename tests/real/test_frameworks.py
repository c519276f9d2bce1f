"""Two users at once, a hundred requests each, on real servers of every framework.

Each app stands there three times: behind its door, with the decorator alone, and bare. Its
users come by a header that door and decorator read, or by a name that only the view knows
and tells with `identify`. After every tenth request somebody comes on the same connection
who says no name, and then asks the bare app, whose calls are no business of ours.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY, create_server
from textwrap import dedent
from typing import Any, NamedTuple

import pytest

from tests.process.program import clean_environment
from trubrics_trace.cli import main
from trubrics_trace.testing import IngestionServer, serve_ingestion

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 60

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="no socket can be inherited"),
    # The first test of a site waits for all of its answers, on a machine that may be busy.
    pytest.mark.timeout(180),
]

USERS = ("alice", "bob")
CONNECTIONS = 3  # of each user
NOBODY = "anonymous"  # as the wire calls a record without a user


class Site(NamedTuple):
    """An app of this folder: what it needs, what serves it, and what it can do."""

    framework: str
    app: str
    server: str
    views: tuple[str, ...]


VIEWS = ("sync", "async", "stream", "async-stream")
MAIN_VIEWS = (*VIEWS, "stream-with-context")  # asked a hundred times, at the door
FLASK_VIEWS = (
    *MAIN_VIEWS,
    "stream-with-headers",
    "generator",
    "generator-with-context",
)
QUART_VIEWS = (*VIEWS, "async-generator", "stream-with-headers")

SITES = {
    "flask": Site("flask", "tests.real.flask_app:app", "wsgi", FLASK_VIEWS),
    "django-wsgi": Site("django", "tests.real.django_app:wsgi", "wsgi", VIEWS),
    "django-asgi": Site("django", "tests.real.django_app:asgi", "asgi", VIEWS),
    "litestar": Site("litestar", "tests.real.litestar_app:app", "asgi", VIEWS),
    "quart": Site("quart", "tests.real.quart_app:app", "asgi", QUART_VIEWS),
}

# Which of the three apps, and the header that its users come by.
WAYS = {
    "door": ("door", "x-user-id"),
    "door-identify": ("door", "x-name"),
    "decorator": ("decorator", "x-user-id"),
    "decorator-identify": ("decorator", "x-name"),
}

CELLS = [
    (name, way, view)
    for name, site in SITES.items()
    for way in WAYS
    for view in site.views
    # The body of a generator runs after the request, which alone knows the name.
    if not (view == "generator" and "identify" in way)
]

SERVE_ASGI = """
    import socket, sys, uvicorn
    config = uvicorn.Config(sys.argv[1], log_level="warning", timeout_keep_alive=60)
    uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[2]))])
    """

SERVE_WSGI = """
    import sys
    from werkzeug.serving import make_server
    from werkzeug.utils import import_string
    app, listener = import_string(sys.argv[1]), int(sys.argv[2])
    make_server("127.0.0.1", 0, app, threaded=True, fd=listener).serve_forever()
    """

GUNICORN = """
bind, keepalive, workers, threads = "fd://{listener}", 60, 1, 8
control_socket_disable = True
"""


class Question(NamedTuple):
    """A request, on which connection, and the users of the records that it shall have."""

    app: str
    view: str
    prompt: str
    headers: dict[str, str]
    connection: str
    users: list[str]


class Told(NamedTuple):
    """What a site has told: the users of each prompt's records, and its log."""

    users: dict[str, list[str]]
    log: str


def questions(way: str, view: str) -> Iterator[Question]:
    """Yield what two users ask of a view, and what strangers do right after."""
    app, header = WAYS[way]
    requests = 100 if way == "door" and view in MAIN_VIEWS else 10
    for user, number in product(USERS, range(requests)):
        prompt = f"{way}.{view}.{user}.{number}"
        connection = f"{user}'s {number % CONNECTIONS}"
        yield Question(app, view, prompt, {header: user}, connection, [user])
        if number % 10 == 9:
            yield Question(app, view, f"{prompt}.nobody", {}, connection, [NOBODY])
            yield Question("bare", view, f"{prompt}.bare", {}, connection, [])


@contextmanager
def served(site: Site, directory: Path, environment: dict[str, str]) -> Iterator[int]:
    """Serve a site in a process of its own while the block runs; yield its port."""
    with create_server(("127.0.0.1", 0), backlog=64) as listener:
        # Else an answer of two parts, as gunicorn sends it, takes 40 ms (Nagle, RFC 896).
        listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *command(site, listener.fileno(), directory)],
                cwd=REPOSITORY,
                env=clean_environment(directory / "spool", **environment),
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
            )
    with process:
        try:
            yield port
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)
            process.kill()


def command(site: Site, listener: int, directory: Path) -> list[str]:
    """Return what Python is told, to serve a site on a socket that is inherited."""
    if site.server == "asgi":
        return ["-c", dedent(SERVE_ASGI), site.app, str(listener)]
    if find_spec("gunicorn") is None:
        return ["-c", dedent(SERVE_WSGI), site.app, str(listener)]
    # A file, since it passes over what this version does not know.
    settings = directory / "settings.py"
    settings.write_text(GUNICORN.format(listener=listener))
    return ["-m", "gunicorn", "--config", str(settings), site.app]


def ask(port: int, part: list[Question]) -> None:
    """Ask one after the other on one connection that is kept alive."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    with closing(connection):
        for question in part:
            path = f"/{question.app}/{question.view}/{question.prompt}"
            connection.request("GET", path, headers=question.headers)
            response = connection.getresponse()
            assert (200, b"42") == (response.status, response.read()), path


def ask_everything(port: int, site: str) -> None:
    """Let both users ask all their questions, on all their connections at once."""
    connections = defaultdict(list)
    for way, view in [(way, view) for name, way, view in CELLS if name == site]:
        for question in questions(way, view):
            connections[question.connection].append(question)
    with ThreadPoolExecutor(len(connections)) as pool:
        for asking in [pool.submit(ask, port, part) for part in connections.values()]:
            asking.result()


def ask_site(name: str, directory: Path) -> Told:
    """Return what a site has told, once everything was asked and has arrived."""
    site = SITES[name]
    if find_spec(site.framework) is None:
        pytest.skip(f"{site.framework} is not installed here")
    with serve_ingestion() as server:
        known = {
            "TRUBRICS_API_KEY": server.api_key,
            "TRUBRICS_HOST": server.url,
            "TRUBRICS_TRACE_FLUSH_INTERVAL": "0.5",
        }
        with served(site, directory, known) as port:
            ask_everything(port, name)
        assert 0 == flush(directory / "spool", known)
        return Told(users_of(server), (directory / "log").read_text())


def flush(spool_dir: Path, environment: dict[str, str]) -> int:
    """Send what has stayed behind in a spool; return how the command ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clean_environment(spool_dir, **environment).items():
            patch.setenv(name, value)
        return main(["flush"])


def users_of(server: IngestionServer) -> dict[str, list[str]]:
    """Return the users of each prompt's records; what was sent twice is one record."""
    records = {event["properties"]["record_id"]: event for event in server.events}
    users = defaultdict(list)
    for record in records.values():
        users[record["prompt"]].append(record["user_id"])
    return dict(users)


def asked(name: str) -> Any:
    """Return a fixture: what a site has told. It is asked once, though its tests mix."""

    @pytest.fixture(scope="module", name=name)
    def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
        return ask_site(name, tmp_path_factory.mktemp(name))

    return told


flask, django_wsgi, django_asgi, litestar, quart = map(asked, SITES)


@pytest.mark.parametrize(("site", "way", "view"), CELLS)
def test_two_users_at_once(
    request: pytest.FixtureRequest, site: str, way: str, view: str
) -> None:
    """Each request has one record, of who asked, if anybody; one to the bare app, none."""
    users = request.getfixturevalue(site).users
    wanted = {question.prompt: question.users for question in questions(way, view)}

    assert wanted == {prompt: users.get(prompt, []) for prompt in wanted}


@pytest.mark.parametrize("site", SITES)
def test_nothing_else(request: pytest.FixtureRequest, site: str) -> None:
    """No site records anything else, and none logs an error."""
    told = request.getfixturevalue(site)
    prefixes = tuple(f"{way}." for way in WAYS)

    assert [] == [prompt for prompt in told.users if not prompt.startswith(prefixes)]
    assert [] == [word for word in ("ERROR", "Traceback") if word in told.log]
