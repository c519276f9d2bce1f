"""FastAPI on a real uvicorn, two users at once: every LangChain call has its user."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.sync.client import connect

from tests.real.fastapi_table import (
    CALLS,
    CELLS,
    DOORS,
    GENERATORS,
    LATE,
    PAGE,
    Cell,
    Door,
    Work,
    meeting,
    site,
    table,
    table_of,
)
from tests.real.uvicorn_server import SERVERS, serve_uvicorn
from trubrics_trace import PromptRecord, stats

USERS = ("alice", "bob")
EACH_ITS_OWN = [(user, f"I am {user}") for user in USERS for _ in range(CALLS)]


@pytest.fixture(scope="module", params=[SERVERS[0], SERVERS[-1]], ids="-".join)
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Yield a client of a uvicorn that serves all cells; it keeps connections alive."""
    with (
        serve_uvicorn(site(), request.param) as (host, port),
        httpx.Client(base_url=f"http://{host}:{port}", timeout=60) as client,
    ):
        yield client


def let_both_ask(client: httpx.Client, path: str) -> None:
    """Let both users ask at once; returns when all of their work is done."""
    meeting.begin()
    ask = talk if path.endswith("/websocket") else post
    with ThreadPoolExecutor(len(USERS)) as pool:
        list(pool.map(lambda user: ask(client, path, user), USERS))
    deadline = time.monotonic() + 30
    while len(meeting.left) < len(USERS):
        assert time.monotonic() < deadline, "waited for 30 s for the end of the work"
        time.sleep(0.001)


def post(client: httpx.Client, path: str, user: str) -> None:
    """Ask as a user, and be answered."""
    assert 200 == client.post(path, headers={"x-user-id": user}).status_code


def talk(client: httpx.Client, path: str, user: str) -> None:
    """Ask through a socket as a user, several times."""
    url = str(client.base_url.join(path).copy_with(scheme="ws"))
    with connect(url, additional_headers={"x-user-id": user}, proxy=None) as socket:
        for _ in range(CALLS):
            socket.send(user)
            assert "42" == socket.recv(60)


def users_and_prompts(records: list[PromptRecord]) -> list[tuple[str, str]]:
    """Return who is told to have asked what, sorted."""
    return sorted((str(record.user_id), record.prompt) for record in records)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return all that anybody has warned of, or told as an error."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in records]


def named(cell: Cell) -> str:
    """Return how a cell of the table is called."""
    return f"{cell.door.name}-{cell.work.path[1:]}"


@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.is_late], ids=named)
def test_user(
    client: httpx.Client,
    captured_prompts: list[PromptRecord],
    caplog: pytest.LogCaptureFixture,
    cell: Cell,
) -> None:
    """Each call has its user, and nothing is said or counted."""
    let_both_ask(client, f"/as-it-is/{cell.door.name}{cell.work.path}")

    assert EACH_ITS_OWN == users_and_prompts(captured_prompts)
    assert {} == stats().noticed
    assert [] == said(caplog)


@pytest.mark.parametrize("cell", LATE, ids=named)
def test_late(
    client: httpx.Client,
    captured_prompts: list[PromptRecord],
    caplog: pytest.LogCaptureFixture,
    cell: Cell,
) -> None:
    """Calls whose scope has closed are nobody's, counted, and said once with the place."""
    let_both_ask(client, f"/as-it-is/{cell.door.name}{cell.work.path}")

    assert [] == captured_prompts
    assert {"late": len(EACH_ITS_OWN)} == stats().noticed
    [warning] = said(caplog)
    for told in ("fastapi_table.py:", "carry_scope(...)", "middleware"):
        assert told in warning


@pytest.mark.parametrize("remedy", ["carried", "under-middleware"])
@pytest.mark.parametrize("cell", LATE, ids=named)
def test_late_work_that_is_mended(
    client: httpx.Client, captured_prompts: list[PromptRecord], cell: Cell, remedy: str
) -> None:
    """With `carry_scope`, or inside the middleware, the same calls have their users."""
    let_both_ask(client, f"/{remedy}/{cell.door.name}{cell.work.path}")

    assert EACH_ITS_OWN == users_and_prompts(captured_prompts)
    assert {} == stats().noticed


@pytest.mark.parametrize("sent_as", ["lines", "events"])
@pytest.mark.parametrize("work", GENERATORS, ids=lambda work: work.path[1:])
@pytest.mark.parametrize("door", DOORS[:-1], ids=lambda door: door.name)
def test_generator_endpoint(
    client: httpx.Client,
    captured_prompts: list[PromptRecord],
    door: Door,
    work: Work,
    sent_as: str,
) -> None:
    """An endpoint that yields calls the model for its user, also where it is traced."""
    let_both_ask(client, f"/{sent_as}/{door.name}{work.path}")

    assert EACH_ITS_OWN == users_and_prompts(captured_prompts)
    assert {} == stats().noticed


def test_page_shows_the_table() -> None:
    """The documentation shows what the cells above are held to."""
    assert table() == table_of(PAGE.read_text())
