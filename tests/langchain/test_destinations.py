"""Each record goes to its own destination: two handlers' and the hook's, in one process.

A prompt names the destination that it is meant for, so that a stray one is seen.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from tests.delivery.parts import wait_until
from tests.delivery.platform_server import (
    EMAIL,
    PASSWORD,
    PlatformServer,
    serve_platform,
)
from tests.delivery.test_platform import EMULATORS
from tests.process.faults import FaultyServer, serve_faulty, settled_in
from trubrics_trace import (
    TrubricsCallbackHandler,
    configure,
    flush,
    shutdown,
    stats,
    trubrics_scope,
)

ONE, TWO, USUAL = PLACES = ("one", "two", "usual")
CALLS = 100  # to each place
THREADS = 8
PATIENCE_SECONDS = 50.0

Call = tuple[str, int]
Way = Callable[[dict[str, TrubricsCallbackHandler]], None]


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """Yield a server where each place is an account, by the key of its name."""
    with serve_faulty() as made:
        made.api_keys.update(PLACES)
        yield made


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlatformServer]:
    """Yield the older platform, where each place is a project."""
    with serve_platform() as made:
        for variable in EMULATORS:
            monkeypatch.setenv(variable, made.address)
        made.projects.update(dict.fromkeys(PLACES, False))
        yield made


def calls() -> list[Call]:
    """Return the calls, those of each place among those of the others."""
    mixed = [(place, number) for place in PLACES for number in range(CALLS)]
    random.Random(7).shuffle(mixed)
    return mixed


def model_of(
    call: Call, handlers: dict[str, TrubricsCallbackHandler]
) -> tuple[Runnable[Any, Any], RunnableConfig]:
    """Return a model and a config, one of which has the handler, if one is passed.

    A model whose config has it may be the end of a chain.
    """
    place, number = call
    passed: list[BaseCallbackHandler] = [handlers[place]] if place in handlers else []
    if number % 3 == 0:
        return FakeListChatModel(responses=["42"], callbacks=passed or None), {}
    model = FakeListChatModel(responses=["42"])
    if number % 3 == 1:
        return model, {"callbacks": passed}
    return RunnableLambda(str) | model, {"callbacks": passed}


def scope_of(call: Call) -> AbstractContextManager[object]:
    """Return the scope of a call: a handler's call needs none, but may have one."""
    place, number = call
    if place == USUAL or number % 4 < 2:
        return trubrics_scope(user_id=f"{place}-{number}", fresh=True)
    return nullcontext()


def in_threads(handlers: dict[str, TrubricsCallbackHandler]) -> None:
    """Make the calls in several threads at once."""

    def ask(call: Call) -> None:
        model, config = model_of(call, handlers)
        with scope_of(call):
            model.invoke("{} {}".format(*call), config)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(ask, calls()))


def in_tasks(handlers: dict[str, TrubricsCallbackHandler]) -> None:
    """Make the calls in as many tasks of one loop."""

    async def ask(call: Call) -> None:
        model, config = model_of(call, handlers)
        with scope_of(call):
            await asyncio.sleep(0)
            await model.ainvoke("{} {}".format(*call), config)

    async def main() -> None:
        await asyncio.gather(*map(ask, calls()))

    asyncio.run(main())


def streamed(handlers: dict[str, TrubricsCallbackHandler]) -> None:
    """Make the calls as async streams, a part of each in turn."""

    async def ask(call: Call) -> None:
        model, config = model_of(call, handlers)
        with scope_of(call):
            async for _ in model.astream("{} {}".format(*call), config):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*map(ask, calls()))

    asyncio.run(main())


each_way = pytest.mark.parametrize("way", [in_threads, in_tasks, streamed])


def prompts_of(place: str) -> list[str]:
    """Return what a place is to get, each once."""
    return sorted(f"{place} {number}" for number in range(CALLS))


def arrived(server: FaultyServer) -> dict[str | None, list[str]]:
    """Return the prompts that came, whatever was answered, by the key that they bore."""
    by_key: dict[str | None, list[str]] = {}
    for key, event in server.seen:
        by_key.setdefault(key, []).append(event["prompt"])
    return {key: sorted(prompts) for key, prompts in by_key.items()}


def stored(platform: PlatformServer, project: str) -> list[str]:
    """Return the prompts that a project has."""
    return sorted(
        fields["prompt"]["stringValue"]
        for fields in platform.stored_in(f"{project}/prompts")
    )


def deliver(spool_dir: Path, count: int) -> None:
    """Wait until so many records have left, and fail unless they are all there were."""
    wait_until(lambda: flush(1.0).complete, PATIENCE_SECONDS)
    assert (count, True) == (stats().delivered, stats().is_balanced)
    shutdown()
    assert count == settled_in(spool_dir)


@each_way
def test_three_keys(way: Way, server: FaultyServer, tmp_path: Path) -> None:
    """Two handlers with keys of their own, and the usual key, have each its own calls."""
    configure(api_key=USUAL, host=server.url)
    handlers = {
        place: TrubricsCallbackHandler(api_key=place, user_id=place) for place in (ONE, TWO)
    }
    way(handlers)

    deliver(tmp_path / "spool", 3 * CALLS)
    assert {place: prompts_of(place) for place in PLACES} == arrived(server)
    assert {1} == set(server.record_ids.values())


@each_way
def test_three_projects(way: Way, platform: PlatformServer, tmp_path: Path) -> None:
    """Two handlers with projects of their own, and the usual one, have each its calls."""
    configure(email=EMAIL, password=PASSWORD, project=USUAL)
    handlers = {
        place: TrubricsCallbackHandler(project=place, user_id=place) for place in (ONE, TWO)
    }
    way(handlers)

    deliver(tmp_path / "spool", 3 * CALLS)
    assert {place: prompts_of(place) for place in PLACES} == {
        place: stored(platform, place) for place in PLACES
    }
    assert 3 * CALLS == len(platform.documents)


@each_way
def test_both_platforms(
    way: Way, server: FaultyServer, platform: PlatformServer, tmp_path: Path
) -> None:
    """One handler on each platform, and a usual key, have each its own calls."""
    configure(api_key=USUAL, host=server.url)
    handlers = {
        ONE: TrubricsCallbackHandler(ONE, EMAIL, PASSWORD, user_id=ONE),
        TWO: TrubricsCallbackHandler(api_key=TWO, user_id=TWO),
    }
    way(handlers)

    deliver(tmp_path / "spool", 3 * CALLS)
    assert {place: prompts_of(place) for place in (TWO, USUAL)} == arrived(server)
    assert prompts_of(ONE) == stored(platform, ONE)
    assert CALLS == len(platform.documents)


def test_handler_of_a_model_inside_a_chain(server: FaultyServer, tmp_path: Path) -> None:
    """Inside a scope's chain, too, a model's own handler has its call for itself."""
    configure(api_key=USUAL, host=server.url)
    handler = TrubricsCallbackHandler(api_key=ONE)
    model = FakeListChatModel(responses=["42"], callbacks=[handler])
    with trubrics_scope(user_id="alice"):
        model.invoke("one 0")
        (RunnableLambda(str) | model).invoke("one 1")

    deliver(tmp_path / "spool", 2)
    assert {ONE: ["one 0", "one 1"]} == arrived(server)


def test_handlers_of_a_chain_and_its_model(server: FaultyServer, tmp_path: Path) -> None:
    """A call that two handlers were passed for goes to both, and nowhere else."""
    configure(api_key=USUAL, host=server.url)
    one, two = (TrubricsCallbackHandler(api_key=place) for place in (ONE, TWO))
    model = FakeListChatModel(responses=["42"], callbacks=[two])
    with trubrics_scope(user_id="alice"):
        (RunnableLambda(str) | model).invoke("both", {"callbacks": [one]})

    deliver(tmp_path / "spool", 2)
    assert {ONE: ["both"], TWO: ["both"]} == arrived(server)
