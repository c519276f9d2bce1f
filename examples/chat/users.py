"""Six people who talk at once, over one pool of connections.

No two ask the same, so whatever is recorded tells by its prompt whose it is.
"""

import asyncio
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import httpx

Way = Literal["sync", "async", "batch", "stream", "stop"]
PATIENCE_SECONDS = 60
PIECES_HEARD = 5  # of a stream, before stop is pressed


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody asks in one request, and which way."""

    way: Way
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who takes their turns one after the other; with no name, nobody."""

    name: str | None
    turns: tuple[Turn, ...]

    @property
    def headers(self) -> dict[str, str]:
        """What the app is told about them."""
        if self.name is None:
            return {}
        return {"x-user-id": self.name, "x-thread-id": f"{self.name}-today"}


# Each starts another way, so that at any moment all the ways are under way.
PEOPLE = (
    Person(
        "alice",
        (
            Turn("sync", ("How do roses grow?",)),
            Turn("async", ("When do tulips bloom?",)),
            Turn("batch", ("What do snails eat?", "Why is grass green?")),
            Turn("stream", ("Describe a garden in May.",)),
        ),
    ),
    Person(
        "bob",
        (
            Turn("async", ("How deep is the sea?",)),
            Turn("batch", ("What is a tide?", "Why is the sea salty?")),
            Turn("stream", ("Describe a harbour at dawn.",)),
            Turn("sync", ("Who sails alone?",)),
        ),
    ),
    Person(
        "carol",
        (
            Turn("batch", ("What is a glacier?", "Why do rocks fall?")),
            Turn("stream", ("Describe a mountain hut.",)),
            Turn("sync", ("How high do birds fly?",)),
            Turn("async", ("Where do rivers begin?",)),
        ),
    ),
    Person(
        "dave",
        (
            Turn("stream", ("Describe a night train.",)),
            Turn("sync", ("How fast is a tram?",)),
            Turn("async", ("Who built the railways?",)),
            Turn("batch", ("What is a signal box?", "Why do rails sing?")),
        ),
    ),
    Person("erin", (Turn("stop", ("Tell me a very long story.",)),)),
    Person(None, (Turn("async", ("Does anybody know me?",)),)),
)


def asked() -> dict[str, str | None]:
    """Return every question, and who asks it."""
    return {
        question: person.name
        for person in PEOPLE
        for turn in person.turns
        for question in turn.questions
    }


def interrupted() -> set[str]:
    """Return the questions whose answers nobody waits for."""
    turns = chain.from_iterable(person.turns for person in PEOPLE)
    return {turn.questions[0] for turn in turns if turn.way == "stop"}


async def chat(url: str) -> None:
    """Let everybody talk at once, until the last answer."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http:
        await asyncio.gather(*(_talk(http, person) for person in PEOPLE))


async def _talk(http: httpx.AsyncClient, person: Person) -> None:
    for turn in person.turns:
        path = "/stream" if turn.way == "stop" else f"/{turn.way}"
        body = turn.questions if turn.way == "batch" else turn.questions[0]
        async with http.stream("POST", path, json=body, headers=person.headers) as response:
            response.raise_for_status()
            heard = 0
            async for _ in response.aiter_text():
                heard += 1
                if turn.way == "stop" and heard == PIECES_HEARD:
                    break  # leaving the block closes the connection
