"""Whose each call is: generated programs, and a plain model of the rules beside them.

A program is a tree of acts: scopes opened and closed in any order and anywhere, functions,
tasks, threads, contexts, chains, generators and carried work, and calls of a model in all
of them. Each act is done twice, by the package and by the model, which knows of neither
contexts nor variables: it is told, by hand, in which place an act is done.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import Context, copy_context
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda

from trubrics_trace import (
    PromptRecord,
    carry_scope,
    identify,
    stats,
    trubrics_scope,
)
from trubrics_trace import trubrics_trace as trace
from trubrics_trace.testing import capture_prompts

T = TypeVar("T")

TASKS = 10_000
THREADS = 64
PROGRAMS_OF_A_THREAD = 8
MOST_CALLS = 2  # of such a program: a call costs far more than all else


@dataclasses.dataclass(eq=False)
class Block:
    """A scope by the rules: what was said to it, and what it inherits from."""

    said: dict[str, Any]
    outer: Block | None = None
    is_enabled: bool = True
    is_open: bool = True

    def __post_init__(self) -> None:
        self.names_its_own_user = "user_id" in self.said

    @property
    def user(self) -> str | None:
        """Who is asking: the inner one wins; not given is inherited; "" is nobody."""
        if "user_id" in self.said:
            return self.said["user_id"] or None
        return self.outer.user if self.outer else None

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags: outer first, no repeats."""
        outer = self.outer.tags if self.outer else ()
        return tuple(dict.fromkeys((*outer, *self.said.get("tags", ()))))

    @property
    def note(self) -> Any:
        """One key of the metadata: the inner one wins."""
        if "note" in self.said:
            return self.said["note"]
        return self.outer.note if self.outer else None


@dataclasses.dataclass(eq=False)
class Run:
    """A run of LangChain's, and whose it is."""

    owner: Block | None
    is_live: bool = True


@dataclasses.dataclass(eq=False)
class Place:
    """Where acts are done: the blocks entered there, oldest first, and the run.

    Attributes:
        before: What it held when the run began, if that was here: in the body of a
            generator that is stepped inside a run, all that it holds stands in there.
    """

    held: list[Block] = dataclasses.field(default_factory=list)
    run: Run | None = None
    before: frozenset[Block] = frozenset()

    def copy(self) -> Place:
        """Return what a task, or a copied context, begins with."""
        return dataclasses.replace(self, held=[*self.held])

    def current(self) -> Block | None:
        """Return the youngest block, if open; else an open outer one of the same user."""
        if not self.held:
            return None
        youngest = self.held[-1]
        block: Block | None = youngest
        while block is not None and not block.is_open:
            block = block.outer
        return block if block is not None and block.user == youngest.user else None

    def open(self, said: dict[str, Any]) -> Block:
        """Return a block that is opened here, and entered nowhere yet."""
        outer = self.current()
        is_enabled = said.get("enabled", True) and (outer is None or outer.is_enabled)
        return Block({**said}, None if said.get("fresh") else outer, is_enabled)

    def leave(self, block: Block) -> None:
        """Close a block, in whatever order; twice is once. Here it is gone."""
        block.is_open = False
        if block in self.held:
            self.held.remove(block)

    def identify(self, user: str | None) -> None:
        """Tell the current block and those around it, to the nearest root or user."""
        block = self.current()
        while block is not None:
            block.said["user_id"] = user
            outer = block.outer
            block = None if outer is None or outer.names_its_own_user else outer

    def carry(self) -> Callable[[Run | None], Place]:
        """Return what makes the place of work carried from here: a block of its own."""
        origin, is_late = self.current(), bool(self.held)

        def begin(run: Run | None) -> Place:
            if origin is not None:
                return Place([Block({}, origin, origin.is_enabled)], run)
            return Place([Block({}, is_open=False)] if is_late else [])

        return begin

    def owner(self) -> Block | None:
        """Return whose a call made here is."""
        current, run = self.current(), self.run
        if run is None or not run.is_live or run.owner is None:
            return current
        youngest = self.held[-1] if self.held else None
        if youngest is None or youngest in self.before:
            return run.owner
        if current is None and youngest.user == run.owner.user:
            return run.owner
        return current

    def is_inside_run_of(self, block: Block) -> bool:
        """Whether a run is live here that this block owns."""
        return self.run is not None and self.run.is_live and self.run.owner is block

    def begin_run(self) -> Place:
        """Return the place inside a run that begins here; outside nobody hears of it.

        It is given callbacks of its own: to LangChain it is the first of its tree.
        """
        run = Run(self.current()) if self.held else None
        return Place([*self.held], run, frozenset(self.held))

    def fate(self) -> Told | str:
        """Return what becomes of a call made here."""
        owner = self.owner()
        if owner is None:
            is_over = self.run is not None and not self.run.is_live
            return "late" if self.held or is_over else "outside"
        if not owner.is_enabled:
            return "disabled"
        return (owner.user, ("langchain", *owner.tags), owner.note)


Told = tuple[str | None, tuple[str, ...], Any]


def told_by(record: PromptRecord) -> Told:
    """Return the same of a record."""
    return (record.user_id, record.tags, record.metadata.get("note"))


@dataclasses.dataclass(frozen=True)
class Act:
    """One thing to do: a method of `Actor`, and what it is to be done with."""

    does: str
    said: dict[str, Any] = dataclasses.field(default_factory=dict)
    which: int = 0
    body: tuple[Act, ...] = ()

    @property
    def said_by_decorator(self) -> dict[str, Any]:
        """What is said, without what only a scope may be told."""
        scopes_own = ("fresh", "enabled")
        return {name: said for name, said in self.said.items() if name not in scopes_own}

    def __repr__(self) -> str:
        fields = filter(None, (self.which, self.said, list(self.body)))
        return f"{self.does}({', '.join(map(str, fields))})"


SAID = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["alice", "bob", "carol", ..., None, ""]),
        "tags": st.sampled_from([..., ..., ["a"], ["b", "a"]]),
        "note": st.sampled_from([..., ..., 1, 2]),
        "fresh": st.sampled_from([..., ..., True]),
        "enabled": st.sampled_from([...] * 7 + [False]),
    },
).map(lambda said: {name: value for name, value in said.items() if value is not ...})
WHICH = st.integers(0, 7)
FLAT = "opens closes identifies waits joins steps ends drops performs visits"
NESTED = "blocks outlives calls starts moves threads carries binds copies makes"
DEEPEST = 4

Program = tuple[Act, ...]


@st.composite
def generate(draw: st.DrawFn, *, talkative: bool = True, longest: int = 5) -> Program:
    """Return acts of a few kinds: of all at once each would seldom meet the one it should.

    Args:
        talkative: Whether a call follows each act, so that nothing it changed is missed.
    """
    flat = draw(st.lists(st.sampled_from(FLAT.split()), min_size=1, max_size=4))
    nested = draw(st.lists(st.sampled_from(NESTED.split()), min_size=1, max_size=4))
    nested.append("chains")  # whose rules are the most intricate
    asks = Act("asks")

    def acts(depth: int) -> Program:
        how_many = draw(st.integers(1, longest))
        return tuple(one for _ in range(how_many) for one in an_act(depth))

    def an_act(depth: int) -> Program:
        does = draw(st.sampled_from([*flat, "asks"] + nested * (depth < DEEPEST)))
        body = acts(depth + 1) if does in nested else ()
        act = Act(does, draw(SAID), draw(WHICH), body)
        return (act, asks) if talkative else (act,)

    begin = [Act("opens", draw(SAID))] if draw(st.booleans()) else []
    return (*begin, *acts(0))


class Model(FakeListChatModel):
    """A fake model that lets the others go on before it answers."""

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        await asyncio.sleep(0)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("42"))])


MODEL = Model(responses=["42"])
NUMBERS = itertools.count()


class HearsTheEnd(BaseCallbackHandler):
    """Somebody else's handler: LangChain itself tells it when a run is over."""

    run_inline = True

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self.run_id: Any = None

    def on_chain_start(self, *_: Any, run_id: Any, **__: Any) -> None:
        """Take the id of the run that it was given to; those inside come later."""
        self.run_id = self.run_id or run_id

    def on_chain_end(self, outputs: Any, *, run_id: Any, **__: Any) -> None:
        """End the run by the model as well."""
        if self.run is not None and run_id == self.run_id:
            self.run.is_live = False


class JoinedThreads(ThreadPoolExecutor):
    """A pool that is back when the work is done: so it is known what came first."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run it on a thread, and wait for that."""
        future = super().submit(fn, *args, **kwargs)
        wait([future])
        return future


def in_a_thread(work: Callable[..., T], *args: Any) -> T:
    """Return what the work returns on a thread that knows of nothing."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *args).result()


def drive(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits to its end, here, without a loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    message = "it waits"
    raise AssertionError(message)


def a_loop_runs_here() -> bool:
    """Whether a task can be started here."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@dataclasses.dataclass(eq=False)
class Seat:
    """Where the body of a generator is, while it is stepped."""

    place: Place
    own: Block | None = None
    inner: Block | None = None
    is_the_steppers: bool = False
    hears_of_runs: bool = True
    can_wait: bool = False
    is_begun: bool = False
    is_busy: bool = False
    is_of_a_loop: bool = False

    def end(self) -> None:
        """Close its scope: the body has ended."""
        if self.own is not None:
            self.own.is_open = False


@dataclasses.dataclass(eq=False)
class World:
    """What the acts of one program share, wherever they are done."""

    name: int = dataclasses.field(default_factory=NUMBERS.__next__)
    acts_left: int = 500  # work that starts a task that performs it would go on for ever
    fates: dict[str, Told | str] = dataclasses.field(default_factory=dict)
    scopes: list[tuple[trubrics_scope, Block]] = dataclasses.field(default_factory=list)
    started: list[Any] = dataclasses.field(default_factory=list)
    works: list[Callable[[Place], None]] = dataclasses.field(default_factory=list)
    contexts: list[tuple[Context, Place]] = dataclasses.field(default_factory=list)
    generators: list[tuple[Any, Seat]] = dataclasses.field(default_factory=list)

    def question(self, place: Place) -> str:
        """Return what is asked here, and note what the rules make of it."""
        question = f"{self.name}-{len(self.fates)}"
        self.fates[question] = place.fate()
        return question


def one_of(kept: list[T], which: int) -> T | None:
    """Return one of those that were kept, if any."""
    return kept[which % len(kept)] if kept else None


@dataclasses.dataclass(eq=False)
class Actor:
    """Does acts, in one place, by the package and by the rules at once.

    Attributes:
        can_wait: Whether a loop runs it; else it is driven, and never waits.
    """

    world: World
    place: Place
    can_wait: bool

    async def run(self, acts: Iterable[Act]) -> None:
        """Do one after the other, unless the world has come to its end."""
        for act in acts:
            self.world.acts_left -= 1
            if self.world.acts_left >= 0:
                await getattr(self, act.does)(act)

    def elsewhere(self, place: Place, *, can_wait: bool = False) -> Actor:
        """Return another actor of the same world."""
        return Actor(self.world, place, can_wait)

    async def asks(self, act: Act) -> None:
        """Call the model."""
        question = self.world.question(self.place)
        if not self.can_wait or act.which == 1:
            MODEL.invoke(question)
        elif act.which == 2:
            async for _ in MODEL.astream(question):
                pass
        else:
            await MODEL.ainvoke(question)

    async def waits(self, act: Act) -> None:
        """Let the others go on."""
        for _ in range(act.which if self.can_wait else 0):
            await asyncio.sleep(0)

    async def opens(self, act: Act) -> None:
        """Open a scope for good, or until somebody closes it."""
        scope = trubrics_scope(**act.said)
        scope.__enter__()
        block = self.place.open(act.said)
        self.place.held.append(block)
        self.world.scopes.append((scope, block))

    async def closes(self, act: Act) -> None:
        """Close any scope of the world, here, whoever opened it where."""
        found = one_of(self.world.scopes, act.which)
        if found is None or self.place.is_inside_run_of(found[1]):
            return  # what then opens in the run cannot be told from what comes along
        found[0].__exit__(None, None, None)
        self.place.leave(found[1])

    async def blocks(self, act: Act) -> None:
        """Act inside a block."""
        scope = trubrics_scope(**act.said)
        if self.can_wait:
            async with scope:
                await self.inside(act, scope)
        else:
            with scope:
                await self.inside(act, scope)

    async def inside(self, act: Act, scope: trubrics_scope | None = None) -> None:
        """Act inside a scope that has just opened, and is about to close."""
        block = self.place.open(act.said if scope else act.said_by_decorator)
        self.place.held.append(block)
        if scope is not None:
            self.world.scopes.append((scope, block))
        await self.run(act.body)
        self.place.leave(block)

    async def calls(self, act: Act) -> None:
        """Act inside a traced function; a coroutine's place is its own."""
        if self.can_wait:
            own = self.place.open(act.said_by_decorator)
            actor = self.elsewhere(Place([own], self.place.run), can_wait=True)

            @trace(**act.said_by_decorator)
            async def function() -> None:
                await actor.run(act.body)

            await function()
            own.is_open = False
        else:
            trace(**act.said_by_decorator)(lambda: drive(self.inside(act)))()

    async def identifies(self, act: Act) -> None:
        """Say who it is."""
        user = act.said.get("user_id", "dora")
        identify(user)
        self.place.identify(user)

    async def starts(self, act: Act) -> None:
        """Start a task; without a loop, a thread that has a copy of the context."""
        is_task = a_loop_runs_here()
        place = self.place.copy()
        if act.which % 2:
            place = self.place.carry()(self.place.run if is_task else None)
        actor = self.elsewhere(place, can_wait=is_task)
        work = actor.run_and_end(act) if act.which % 2 else actor.run(act.body)
        if act.which % 2:
            work = carry_scope(work)
        if is_task:
            self.world.started.append(asyncio.create_task(work))
        elif act.which % 2:
            self.world.started.append(lambda: in_a_thread(drive, work))
        else:
            context = copy_context()
            self.world.started.append(lambda: in_a_thread(context.run, drive, work))

    async def run_and_end(self, act: Act) -> None:
        """Act in a place of its own, whose scope closes at the end."""
        own = self.place.held[:1]
        await self.run(act.body)
        for block in own:
            block.is_open = False

    async def joins(self, act: Act) -> None:
        """Wait for what was started first, if that can be done here."""
        for index, started in enumerate(self.world.started):
            if callable(started):
                del self.world.started[index]
                started()
                return

    async def moves(self, act: Act) -> None:
        """Act on another thread, in a copy of the context."""
        actor = self.elsewhere(self.place.copy())
        if self.can_wait:
            await asyncio.to_thread(drive, actor.run(act.body))
        else:
            in_a_thread(copy_context().run, drive, actor.run(act.body))

    async def threads(self, act: Act) -> None:
        """Act on a thread that knows of nothing, one piece of work after the other."""
        actor = self.elsewhere(Place())
        with ThreadPoolExecutor(1) as pool:
            for inner in act.body:
                pool.submit(drive, actor.run((inner,))).result()

    async def carries(self, act: Act) -> None:
        """Act on such a thread, but carry the scope."""
        work = self.elsewhere(self.place.carry()(None)).run_and_end(act)
        with JoinedThreads(1) as pool:
            if act.which % 2 == 0:
                pool.submit(carry_scope(drive), work).result()
            elif self.can_wait:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(carry_scope(pool), drive, work)
            else:
                list(carry_scope(pool).map(drive, [work]))

    async def binds(self, act: Act) -> None:
        """Carry work, to be performed later, as often as anybody likes."""
        begin = self.place.carry()

        def work(performer: Place) -> None:
            drive(self.elsewhere(begin(performer.run)).run_and_end(act))

        self.world.works.append(carry_scope(work))

    async def performs(self, act: Act) -> None:
        """Perform work that was carried."""
        work = one_of(self.world.works, act.which)
        if work is not None:
            self.world.works.remove(work)  # it may itself want to perform it
            work(self.place)
            self.world.works.append(work)

    async def copies(self, act: Act) -> None:
        """Act in a copy of the context, and keep that."""
        context, place = copy_context(), self.place.copy()
        context.run(drive, self.elsewhere(place).run(act.body))
        self.world.contexts.append((context, place))

    async def visits(self, act: Act) -> None:
        """Act in a context that was kept."""
        found = one_of(self.world.contexts, act.which)
        if found is not None:
            self.world.contexts.remove(found)  # it cannot be entered twice at once
            found[0].run(drive, self.elsewhere(found[1]).asks(act))
            self.world.contexts.append(found)

    async def outlives(self, act: Act) -> None:
        """Act in a copy of the context that is made in a block, when that has ended."""
        async with trubrics_scope(**act.said):
            block = self.place.open(act.said)
            self.place.held.append(block)
            context, place = copy_context(), self.place.copy()
            self.place.leave(block)
        context.run(drive, self.elsewhere(place).run(act.body))

    async def chains(self, act: Act) -> None:
        """Act inside a chain of LangChain's."""
        place = self.place.begin_run()
        config: Any = {"callbacks": [HearsTheEnd(place.run)]}

        def step(_: str) -> None:
            drive(self.elsewhere(place).run(act.body))

        async def step_later(_: str) -> None:
            await self.elsewhere(place, can_wait=True).run(act.body)

        # Before 3.11 the context of an async step is its caller's: no place of its own.
        if self.can_wait and act.which % 2 and sys.version_info >= (3, 11):
            await RunnableLambda(step_later).ainvoke("go", config)
        else:
            RunnableLambda(step).invoke("go", config)

    async def makes(self, act: Act) -> None:
        """Make a generator that acts inside a scope, with a pause after each act."""
        kind, is_async = divmod(act.which, 2)
        body = self.async_body if is_async else self.body
        seat = Seat(self.place)
        generator: Any
        if kind == 0:
            generator = body(act, seat, act.said)
            seat.is_the_steppers = True
        elif kind == 1:
            place = self.place.carry()(None)
            own = place.held[0] if place.held else None
            seat = Seat(place, own, hears_of_runs=self.place.current() is not None)
            generator = carry_scope(body(act, seat, act.said))
        else:
            said = act.said_by_decorator
            own = self.place.open(said)
            seat = Seat(Place([own]), own)
            function = body if kind == 2 else lambda *said: body(*said)
            generator = trace(**said)(function)(act, seat, {"tags": ["inner"]})
        self.world.generators.append((generator, seat))

    def body(
        self, act: Act, seat: Seat, said: dict[str, Any]
    ) -> Generator[None, None, None]:
        """Act in the place of whoever steps, or in its own."""
        seat.is_begun = True
        with trubrics_scope(**said):
            seat.inner = block = seat.place.open(said)
            seat.place.held.append(block)
            try:
                for inner in act.body:
                    drive(self.elsewhere(seat.place).run((inner,)))
                    yield
            finally:
                seat.place.leave(block)
                seat.end()

    async def async_body(
        self, act: Act, seat: Seat, said: dict[str, Any]
    ) -> AsyncGenerator[None, None]:
        """So it is later."""
        seat.is_begun = True
        async with trubrics_scope(**said):
            seat.inner = block = seat.place.open(said)
            seat.place.held.append(block)
            try:
                for inner in act.body:
                    await self.elsewhere(seat.place, can_wait=seat.can_wait).run((inner,))
                    yield
            finally:
                seat.place.leave(block)
                seat.end()

    def found_generator(self, which: int) -> tuple[Any, Seat] | None:
        """Return a generator that nobody is stepping, about to be stepped here."""
        found = one_of(self.world.generators, which)
        if found is None or found[1].is_busy:
            return None
        seat = found[1]
        if seat.inner is not None and self.place.is_inside_run_of(seat.inner):
            return None  # it would close that, if it is its last step: see `closes`
        seat.can_wait = self.can_wait
        if seat.is_the_steppers:
            seat.place = self.place
        elif seat.hears_of_runs:
            seat.place.run, seat.place.before = self.place.run, frozenset()
        return found

    async def steps(self, act: Act) -> None:
        """Take a step of a generator."""
        found = self.found_generator(act.which)
        if found is None:
            return
        generator, seat = found
        seat.is_busy = True
        try:
            if hasattr(generator, "asend"):
                seat.is_of_a_loop |= not seat.is_begun and a_loop_runs_here()
                await generator.asend(None)
            else:
                next(generator)
        except (StopIteration, StopAsyncIteration):
            self.world.generators.remove(found)
        finally:
            seat.is_busy = False

    async def ends(self, act: Act) -> None:
        """Close a generator."""
        found = self.found_generator(act.which)
        if found is None:
            return
        self.world.generators.remove(found)
        generator, seat = found
        if hasattr(generator, "asend"):
            await generator.aclose()
        else:
            generator.close()
        seat.end()

    async def drops(self, act: Act) -> None:
        """Abandon a generator."""
        found = self.found_generator(act.which)
        if found is None:
            return
        self.world.generators.remove(found)
        seat = found[1]
        if seat.is_the_steppers and seat.is_of_a_loop:
            seat.place = self.place.copy()  # the loop ends it, in a task
        del found
        if not seat.is_begun:
            seat.end()


async def perform(program: Program, world: World, *, can_wait: bool) -> None:
    """Do a whole program, and what it has started."""
    await Actor(world, Place(), can_wait).run(program)
    while world.started:
        started = world.started.pop()
        if callable(started):
            started()
        else:
            await started
    for generator, _ in world.generators:  # each would else be collected at any time
        if hasattr(generator, "aclose"):
            await generator.aclose()
        else:
            generator.close()


async def perform_together(programs: Iterable[Program]) -> list[World]:
    """Do programs at once, each in a task; return their worlds."""
    asyncio.get_running_loop().set_default_executor(JoinedThreads(64))
    worlds = [(program, World()) for program in programs]
    await asyncio.gather(*(perform(*each, can_wait=True) for each in worlds))
    return [world for _, world in worlds]


def perform_here(program: Program) -> World:
    """Do a program on this thread, in a context of its own."""
    world = World()
    Context().run(drive, perform(program, world, can_wait=False))
    return world


def disagreements(
    worlds: Iterable[World], told: Iterable[PromptRecord], noticed: Counter[str]
) -> dict[str, Any]:
    """Return what the rules and the package do not agree about: by rules, by package."""
    fates = {question: fate for world in worlds for question, fate in world.fates.items()}
    by_rules = {
        question: fate for question, fate in fates.items() if not isinstance(fate, str)
    }
    by_package: dict[str, list[Told]] = {}
    for record in told:
        by_package.setdefault(record.prompt or "", []).append(told_by(record))
    differing = {
        question: (fates.get(question), by_package.get(question))
        for question in by_rules.keys() | by_package.keys()
        if [by_rules.get(question)] != by_package.get(question)
    }
    counts = Counter(fate if isinstance(fate, str) else fate[0] for fate in fates.values())
    late = range(counts["late"], counts["late"] + counts["outside"] + 1)
    expected = {
        "late": late if noticed["late"] not in late else noticed["late"],
        "disabled": counts["disabled"],
        "without_user": counts[None],
    }
    return differing | {
        f"how many {name}": (how_many, noticed[name])
        for name, how_many in expected.items()
        if how_many != noticed[name]
    }


def counted() -> Counter[str]:
    """Return what was counted so far that the rules speak of."""
    now = stats()
    return Counter(
        late=now.noticed.get("late", 0),
        without_user=now.noticed.get("without_user", 0),
        disabled=now.skipped.get("scope_disabled", 0),
    )


def check(do: Callable[[], list[World]]) -> int:
    """Assert that rules and package agree about each call; return how many calls."""
    before = counted()
    with capture_prompts() as prompts:
        worlds = do()
    assert {} == disagreements(worlds, prompts, counted() - before)
    return sum(len(world.fates) for world in worlds)


few = settings(
    deadline=None,
    max_examples=100,
    phases=set(Phase) - {Phase.explain},  # which would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)


def does(act: str, *body: Act, which: int = 0, **said: Any) -> Act:
    """Return an act, written as it is read."""
    return Act(act, said, which, body)


ASKS = does("asks")
FOUND: dict[str, Program] = {
    "stepped inside the run of what it has begun": (
        does("starts", does("steps"), does("steps", which=1)),
        does(
            "makes",
            does("makes", does("chains", does("steps")), which=2, note=1),
            ASKS,
            which=2,
        ),
    ),
    "stepped where a generator begun in it stands around": (
        does("makes", does("makes"), does("chains", does("steps", which=3)), which=2),
        does("makes"),
        does("steps"),
        does("makes", does("starts", does("steps")), ASKS, which=4),
        does("steps", which=3),
    ),
    "stepped inside a run that began in what it held": (
        does(
            "makes",
            does("starts", does("steps"), does("steps", which=1)),
            does("makes", does("chains", does("steps")), note=1),
            ASKS,
            which=4,
        ),
        does("steps"),
    ),
    "carried from nowhere": (
        does("binds", does("blocks", ASKS, user_id="bob"), ASKS),
        does("opens", user_id="alice"),
        does("chains", does("performs")),
    ),
    "closed inside a run": (
        does("opens", user_id="alice"),
        does("chains", does("outlives", ASKS, user_id="bob")),
    ),
    "left behind by carried work": (
        does("opens", user_id="bob"),
        does("binds", does("copies")),
        does("opens", user_id="alice", fresh=True),
        does("chains", does("performs"), does("visits")),
    ),
    "inside what was closed elsewhere": (
        does("opens", user_id="alice"),
        does(
            "chains",
            does("opens", user_id="carol", fresh=True),
            does("opens", user_id="bob", fresh=True),
            does("threads", does("closes", which=1)),
            ASKS,
        ),
    ),
    "identified after it was carried": (
        does("opens", user_id="alice"),
        does("opens"),
        does("starts", ASKS, which=1),
        does("identifies", user_id="bob"),
    ),
    "identified past what has closed": (
        does("blocks", does("binds", ASKS, does("identifies", user_id="alice"))),
        does("performs"),
        does("performs"),
    ),
    "closed in a copy, and not here": (
        does("opens", user_id="bob"),
        does("opens", user_id="alice"),
        does("opens"),
        does("copies", does("closes", which=1)),
        does("closes", which=2),
        ASKS,
    ),
    "closed on a thread, while its run goes on": (
        does("opens", user_id="alice"),
        does(
            "chains",
            does("blocks", does("threads", does("closes")), user_id="alice"),
            ASKS,
            does("chains", ASKS),
            ASKS,
        ),
    ),
    "identified in a run that began too late": (
        does("opens", user_id="alice"),
        does("opens", user_id=None),
        does(
            "outlives",
            does("chains", does("identifies", user_id="alice"), ASKS),
            user_id=None,
        ),
    ),
    "closed in a copy, then here": (
        does("opens", user_id="bob"),
        does("opens", user_id="alice"),
        does("copies", does("closes", which=1)),
        does("closes", which=1),
        ASKS,
    ),
}


@pytest.mark.parametrize("in_a_loop", [False, True])
@pytest.mark.parametrize("program", FOUND.values(), ids=FOUND)
def test_found(program: Program, in_a_loop: bool) -> None:
    """Each call is whose the rules say in programs that were found to differ once."""
    if in_a_loop:
        check(lambda: asyncio.run(perform_together([program])))
    else:
        check(lambda: [in_a_thread(perform_here, program)])


@pytest.mark.timeout(300)  # to find the smallest of several takes its time
@few
@given(generate())
def test_on_threads(program: Program) -> None:
    """Each call of a program that runs on a thread is whose the rules say."""
    check(lambda: [in_a_thread(perform_here, program)])


@pytest.mark.timeout(300)
@few
@given(st.lists(generate(), min_size=1, max_size=2))
def test_in_a_loop(programs: list[Program]) -> None:
    """So is each call of tasks that take turns in one loop."""
    check(lambda: asyncio.run(perform_together(programs)))


def generated(count: int) -> list[Program]:
    """Return programs, always the same ones, each of which asks, but not often."""
    programs: list[Program] = []

    @settings(
        few, max_examples=count, derandomize=True, database=None, phases=[Phase.generate]
    )
    @given(generate(talkative=False, longest=2))
    def collect(program: Program) -> None:
        how_often = sum(repr(act).count("asks") for act in program)
        if how_often <= MOST_CALLS:
            programs.append(program if how_often else (*program, Act("asks")))

    collect()
    return programs


@pytest.mark.timeout(300)  # a second for every thousand calls, on an idle machine
def test_ten_thousand_tasks() -> None:
    """Ten thousand tasks at once in one loop each have their own calls, all of them."""
    programs = itertools.islice(itertools.cycle(generated(200)), TASKS)
    assert TASKS <= check(lambda: asyncio.run(perform_together(programs)))


@pytest.mark.timeout(300)
def test_sixty_four_threads() -> None:
    """So have sixty-four threads at once, each with a loop of its own, or with none."""
    programs = itertools.cycle(generated(200))
    each = [[*itertools.islice(programs, PROGRAMS_OF_A_THREAD)] for _ in range(THREADS)]
    together = threading.Barrier(THREADS, timeout=60)

    def on_a_thread(number: int) -> list[World]:
        together.wait()
        if number % 2:
            return asyncio.run(perform_together(each[number]))
        return [perform_here(program) for program in each[number]]

    def on_threads() -> list[World]:
        with ThreadPoolExecutor(THREADS) as pool:
            return [*itertools.chain(*pool.map(on_a_thread, range(THREADS)))]

    assert THREADS * PROGRAMS_OF_A_THREAD <= check(on_threads)
