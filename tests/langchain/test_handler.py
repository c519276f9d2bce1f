"""One record a model call, under the right user, whatever LangChain does around it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import structlog
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    dispatch_custom_event,
    manager,
)
from langchain_core.language_models import (
    BaseChatModel,
    FakeListChatModel,
    FakeListLLM,
    GenericFakeChatModel,
)
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from structlog.testing import capture_logs

import trubrics_trace
from trubrics_trace import (
    PromptRecord,
    TrubricsCallbackHandler,
    carry_scope,
    current_scope,
    errors,
    trubrics_scope,
)
from trubrics_trace.langchain._turns import MAX_RUNNING, turns
from trubrics_trace.testing import serve_ingestion


def model(answer: str = "42") -> FakeListChatModel:
    """Return a chat model that always answers the same."""
    return FakeListChatModel(responses=[answer])


def users(records: list[PromptRecord]) -> list[str | None]:
    """Return who asked, in order."""
    return [record.user_id for record in records]


def chain_of(step: Callable[[Any], Any]) -> Runnable[Any, Any]:
    """Return a chain of one step; a lambda would leave its types to be guessed."""
    return RunnableLambda(step)


class TestInsideScopes:
    """A call inside scopes is recorded once, as the merge rules say."""

    def test_nested_scopes_merge(self, captured_prompts: list[PromptRecord]) -> None:
        """The inner id wins, tags add up, metadata merges by key."""
        outer: dict[str, Any] = {"user_id": "alice", "thread_id": "t-1", "tags": "chat"}
        with (
            trubrics_scope(**outer, plan="free", region="eu"),
            trubrics_scope(thread_id="t-2", tags=["chat", "search"], plan="paid"),
        ):
            model().invoke("The answer?")

        (record,) = captured_prompts
        assert ("alice", "t-2") == (record.user_id, record.thread_id)
        assert ("langchain", "chat", "search") == record.tags
        assert {"plan": "paid", "region": "eu"} == record.metadata

    @pytest.mark.parametrize("nobody", [None, "", lambda: None])
    def test_an_explicit_nobody_is_never_the_outer_user(
        self, nobody: Any, captured_prompts: list[PromptRecord]
    ) -> None:
        """None, "" and a callable that answers so are nobody."""
        with trubrics_scope(user_id="alice"), trubrics_scope(user_id=nobody):
            model().invoke("Who am I?")

        assert [None] == users(captured_prompts)
        assert 1 == trubrics_trace.stats().noticed["without_user"]

    def test_a_user_not_given_is_inherited(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """An inner scope that says nothing of the user has the outer one."""
        with trubrics_scope(user_id="alice"), trubrics_scope(tags="inner"):
            model().invoke("Who am I?")

        assert ["alice"] == users(captured_prompts)

    def test_a_handler_by_hand_records_once(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A handler passed inside a scope is not doubled, and is weaker than the scope."""
        handler = TrubricsCallbackHandler(user_id="weak", tags="by-hand", shop="berlin")

        with trubrics_scope(user_id="alice", tags="scope"):
            model().invoke("Hello", config={"callbacks": [handler]})

        (record,) = captured_prompts
        assert "alice" == record.user_id
        assert ("langchain", "by-hand", "scope") == record.tags
        assert {"shop": "berlin"} == record.metadata

    def test_a_handler_by_hand_inside_an_inherited_one_records_once(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A model's own handler joins the record of the chain that the scope watches."""
        inner = model().with_config(callbacks=[TrubricsCallbackHandler(tags="own")])
        chain = chain_of(lambda question: inner.invoke(question))

        with trubrics_scope(user_id="alice"):
            chain.invoke("Hello")

        (record,) = captured_prompts
        assert ("alice", ("langchain", "own")) == (record.user_id, record.tags)

    def test_a_disabled_scope_records_nothing(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """Nothing is recorded inside, whatever is opened or passed there; it is counted."""
        handler = TrubricsCallbackHandler()
        with trubrics_scope(enabled=False), trubrics_scope(user_id="alice"):
            model().invoke("Hush", config={"callbacks": [handler]})

        assert [] == captured_prompts
        assert {"scope_disabled": 1} == trubrics_trace.stats().skipped

    def test_the_last_record_is_known_to_each_scope(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """`last_record_id` is the id of the run, in the inner scope and around it."""
        with trubrics_scope(user_id="alice") as outer, trubrics_scope() as inner:
            model().invoke("Hello")

        (record,) = captured_prompts
        assert record.record_id == inner.last_record_id == outer.last_record_id
        assert uuid.UUID(record.record_id)


class TestOutsideAndLate:
    """Outside any scope only a handler passed by hand records."""

    def test_outside_nothing_is_recorded(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """Where no scope was ever open there is no record, and no handler."""
        model().invoke("Nobody listens")

        assert [] == captured_prompts

    def test_outside_a_handler_by_hand_records(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """It records anywhere, with its own keywords."""
        handler = TrubricsCallbackHandler(user_id=7, session_id="s-1", some={"hello": [1]})

        model().invoke("Hello", config={"callbacks": [handler]})

        (record,) = captured_prompts
        assert ("7", "s-1") == (record.user_id, record.session_id)
        assert {"some": {"hello": (1,)}} == record.metadata

    def test_capture_all_records_outside(
        self, captured_prompts: list[PromptRecord], tmp_path: Path
    ) -> None:
        """With `capture="all"` a call outside every scope is recorded, under nobody."""
        trubrics_trace.configure(capture="all", spool_dir=tmp_path)

        model().invoke("Hello")

        assert [None] == users(captured_prompts)

    def test_a_late_call_is_counted_and_given_to_nobody(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A task that starts its call after the scope has closed is late."""

        async def main() -> None:
            gate = asyncio.Event()

            async def work() -> None:
                await gate.wait()
                await model().ainvoke("Too late")

            with trubrics_scope(user_id="alice"):
                task = asyncio.create_task(work())
                await asyncio.sleep(0)
            gate.set()
            await task

        asyncio.run(main())

        assert [] == captured_prompts
        assert 1 == trubrics_trace.stats().noticed["late"]

    def test_carried_work_is_not_late(self, captured_prompts: list[PromptRecord]) -> None:
        """`carry_scope` keeps the user for work that starts after the scope."""
        with trubrics_scope(user_id="alice"):
            work: Callable[[], object] = carry_scope(lambda: model().invoke("In time"))

        work()

        assert ["alice"] == users(captured_prompts)


class TestWhoseCallItIs:
    """The handler is the constant, the scope is the variable."""

    def test_a_live_run_keeps_its_user(self, captured_prompts: list[PromptRecord]) -> None:
        """A stream that alice began is alice's, though bob's scope asks for the rest."""
        llm = model()

        def two(_: str) -> Any:
            yield llm.invoke("first").content
            yield llm.invoke("second").content

        chain = RunnableLambda(two)
        with trubrics_scope(user_id="alice"):
            stream = chain.stream("go")
            next(stream)
        with trubrics_scope(user_id="bob"):
            list(stream)

        assert ["alice", "alice"] == users(captured_prompts)

    def test_a_scope_opened_inside_a_run_decides(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A fresh scope for bob inside alice's chain has bob's calls."""

        def on_behalf(_: str) -> None:
            with trubrics_scope(user_id="bob", fresh=True):
                model().invoke("for bob")
            model().invoke("for alice")

        with trubrics_scope(user_id="alice"):
            RunnableLambda(on_behalf).invoke("go")

        assert ["bob", "alice"] == users(captured_prompts)

    def test_the_user_is_read_at_the_start(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A stream that alice began stays alice's when it ends under bob."""
        with trubrics_scope(user_id="alice"):
            stream = model().stream("begin")
            next(stream)
        with trubrics_scope(user_id="bob"):
            list(stream)

        assert ["alice"] == users(captured_prompts)

    def test_config_fills_only_what_the_scope_leaves_out(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A client's `trubrics_user_id` never beats the scope; without one it fills."""
        config: Any = {
            "metadata": {"trubrics_user_id": "mallory", "trubrics_thread_id": "t"}
        }
        with trubrics_scope(user_id="alice"):
            model().invoke("Hello", config=config)
        with trubrics_scope():
            model().invoke("Hello", config=config)

        assert ["alice", "mallory"] == users(captured_prompts)
        assert ["t", "t"] == [record.thread_id for record in captured_prompts]
        assert 1 == trubrics_trace.stats().noticed["user_conflict"]

    def test_concurrent_calls_do_not_mix(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """Two hundred calls at once through one model keep each its user and answer."""

        async def ask(number: int) -> None:
            with trubrics_scope(user_id=f"user-{number}"):
                await chain_of(lambda text: f"echo {text}").ainvoke(f"q{number}")
                await GenericFakeChatModel(
                    messages=iter([AIMessage(content=f"a{number}")])
                ).ainvoke(f"q{number}")

        async def main() -> None:
            await asyncio.gather(*(ask(number) for number in range(200)))

        asyncio.run(main())

        told = {(r.user_id, r.prompt, r.generation) for r in captured_prompts}
        assert {(f"user-{n}", f"q{n}", f"a{n}") for n in range(200)} == told


class Slow(BaseChatModel):
    """A chat model that never answers."""

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        await asyncio.Event().wait()
        raise AssertionError

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise ValueError(f"no {messages[0].content}")

    @property
    def _llm_type(self) -> str:
        return "slow"


async def a_call_to_begin() -> None:
    """Wait until a model call is noted, and has gone on to wait for its answer."""
    async with asyncio.timeout(10) if hasattr(asyncio, "timeout") else nullcontext():
        while not turns._turns:
            await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)


class TestHowItEnded:
    """Stopped and cancelled are outcomes, and neither is an error."""

    def test_an_early_break_is_stopped(self, captured_prompts: list[PromptRecord]) -> None:
        """What was read until the break is the generation."""
        with trubrics_scope(user_id="alice"):
            stream = model("abc").stream("Go on")
            for chunk in stream:
                if chunk.content == "b":
                    break
            stream.close()  # type: ignore[attr-defined] # it is a generator

        (record,) = captured_prompts
        assert ("stopped", "ab") == (record.status, record.generation)
        assert record.error_type is None
        assert record.first_token_seconds is not None

    def test_a_cancelled_stream_is_cancelled(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A task cancelled in the middle of a stream keeps what had come."""

        async def main() -> None:
            async def read() -> None:
                with trubrics_scope(user_id="alice"):
                    async for _ in FakeListChatModel(responses=["abc"], sleep=60).astream(
                        "?"
                    ):
                        pass

            task = asyncio.create_task(read())
            await a_call_to_begin()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())

        assert ["cancelled"] == [record.status for record in captured_prompts]

    def test_a_cancelled_call_is_told_once_nobody_can_report_it(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """LangChain says nothing of a cancelled `ainvoke`; the death of its run id does."""

        async def main() -> None:
            with trubrics_scope(user_id="alice"):
                task = asyncio.create_task(Slow().ainvoke("Never"))
                await a_call_to_begin()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(main())
        gc.collect()
        trubrics_trace.flush(0)

        (record,) = captured_prompts
        assert ("alice", "cancelled", "Never") == (
            record.user_id,
            record.status,
            record.prompt,
        )

    def test_a_cancelled_call_is_told_when_a_scope_closes(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """Nobody need flush: the next scope that closes tells it, with its own length."""

        async def main() -> None:
            with trubrics_scope(user_id="alice"):
                task = asyncio.create_task(Slow().ainvoke("Never"))
                await a_call_to_begin()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del task
                await asyncio.sleep(0)  # the loop lets go of what has ended
                gc.collect()

        asyncio.run(main())

        assert ["cancelled"] == [record.status for record in captured_prompts]

    def test_an_error_is_an_error(self, captured_prompts: list[PromptRecord]) -> None:
        """Type and message of the model's exception are told, and it is the caller's."""
        with trubrics_scope(user_id="alice"), pytest.raises(ValueError, match="no luck"):
            Slow().invoke("luck")

        (record,) = captured_prompts
        assert ("error", "ValueError", "no luck") == (
            record.status,
            record.error_type,
            record.error_message,
        )

    def test_no_note_is_left_behind(self, captured_prompts: list[PromptRecord]) -> None:
        """After calls of every kind of end, nothing is noted any more."""
        with trubrics_scope(user_id="alice"):
            model().invoke("one")
            for _ in model("two").stream("two"):
                break
            chain_of(lambda _: model().invoke("three")).invoke("x")
        gc.collect()
        trubrics_trace.flush(0)

        assert 3 == len(captured_prompts)
        assert ([], {}) == (list(turns._turns), turns._runs)


class TestWhatIsTold:
    """Prompt, messages, tokens and parameters, as they were."""

    def test_the_prompt_is_the_last_thing_the_user_said(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """Messages keep their roles, in order."""
        with trubrics_scope(user_id="alice"):
            model("5").invoke(
                [
                    SystemMessage("Be brief."),
                    HumanMessage("2 + 2?"),
                    AIMessage("4"),
                    HumanMessage("and 2 + 3?"),
                ]
            )

        (record,) = captured_prompts
        assert "and 2 + 3?" == record.prompt
        assert ["system", "user", "assistant", "user"] == [
            message["role"] for message in record.messages or ()
        ]

    def test_an_image_leaves_a_note(self, captured_prompts: list[PromptRecord]) -> None:
        """Base64 becomes a note of type and size; the caller's message is untouched."""
        image = {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64," + "A" * 400},
        }
        message = HumanMessage(content=[{"type": "text", "text": "What is this?"}, image])
        with trubrics_scope(user_id="alice"):
            model().invoke([message])

        (record,) = captured_prompts
        assert "What is this?\n[image image/png, 300 bytes]" == record.prompt
        assert message.content[1] is not None
        assert len(message.content[1]["image_url"]["url"]) > 400  # type: ignore[index]

    def test_token_counts_come_from_the_message(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """Totals and details stand as the provider counted them."""
        answer = AIMessage(
            content="42",
            usage_metadata={
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 15,
                "input_token_details": {"cache_read": 4},
                "output_token_details": {"reasoning": 3},
            },
        )
        with trubrics_scope(user_id="alice"):
            GenericFakeChatModel(messages=iter([answer])).invoke("?")

        (record,) = captured_prompts
        assert (10, 5, 15, 4, 3) == (
            record.input_tokens,
            record.output_tokens,
            record.total_tokens,
            record.cached_tokens,
            record.reasoning_tokens,
        )

    def test_tool_calls_are_told(self, captured_prompts: list[PromptRecord]) -> None:
        """An answer that only calls a tool says which, with what."""
        call = {"name": "search", "args": {"q": "tea"}, "id": "c1", "type": "tool_call"}
        answer = AIMessage(content="", tool_calls=[call])
        with trubrics_scope(user_id="alice"):
            GenericFakeChatModel(messages=iter([answer])).invoke("Find tea")

        (record,) = captured_prompts
        assert ({"name": "search", "args": {"q": "tea"}, "id": "c1"},) == record.tool_calls
        assert record.generation is None

    def test_langchains_own_noise_is_left_out(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """Tags and metadata of `config` join the record; steps of sequences do not."""
        chain = chain_of(lambda text: text) | model()
        with trubrics_scope(user_id="alice"):
            chain.invoke("Hello", config={"tags": ["prod"], "metadata": {"tenant": "t9"}})

        (record,) = captured_prompts
        assert ("langchain", "prod") == record.tags
        assert {"tenant": "t9"} == record.metadata

    def test_a_record_cannot_be_changed(self, captured_prompts: list[PromptRecord]) -> None:
        """Neither a field nor anything inside one."""
        with trubrics_scope(user_id="alice", deep={"list": [1]}):
            model().invoke("Hello")

        (record,) = captured_prompts
        with pytest.raises(AttributeError):
            record.user_id = "bob"  # type: ignore[misc]
        with pytest.raises(TypeError):
            record.metadata["deep"]["list"] = []


class TestOthers:
    """Other people's handlers go on as without us."""

    class Plain(BaseCallbackHandler):
        """Somebody else's handler, which is not inline."""

        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_llm_start(self, *_: Any, **__: Any) -> None:
            """Hear of a start."""
            self.heard.append("start")

        def on_chat_model_start(self, *_: Any, **__: Any) -> None:
            """Hear of a start."""
            self.heard.append("start")

        def on_llm_end(self, *_: Any, **__: Any) -> None:
            """Hear of an end."""
            self.heard.append("end")

    @pytest.mark.parametrize("llm", [FakeListLLM(responses=["a"]), model()])
    def test_a_plain_handler_beside_ours_hears_everything(
        self, llm: Any, captured_prompts: list[PromptRecord]
    ) -> None:
        """Also of the async start of a completion model (langchain#39633)."""
        plain = self.Plain()
        with trubrics_scope(user_id="alice"):
            asyncio.run(llm.ainvoke("Hello", config={"callbacks": [plain]}))

        assert ["start", "end"] == plain.heard
        assert ["alice"] == users(captured_prompts)

    def test_a_copy_of_core_asks_first(self, captured_prompts: list[PromptRecord]) -> None:
        """What was seen of a copy of core's code holds for that copy alone."""
        tell = manager.AsyncCallbackManager.on_llm_start
        copied = FunctionType(
            tell.__code__, {**vars(manager), "__name__": "somewhere.else"}
        )
        plain, llm = self.Plain(), FakeListLLM(responses=["a"])

        async def both() -> None:
            handlers = [TrubricsCallbackHandler(), self.Plain()]
            asking = manager.AsyncCallbackManager(handlers=list(handlers))
            await copied(asking, {}, ["Hello"], run_id=None)
            with trubrics_scope(user_id="alice"):
                await llm.ainvoke("Hello", config={"callbacks": [plain]})

        asyncio.run(both())
        assert ["start", "end"] == plain.heard

    def test_an_async_handler_beside_ours_hears_everything(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """An asynchronous one as well."""
        heard: list[str] = []

        class Async(AsyncCallbackHandler):
            async def on_llm_start(self, *_: Any, **__: Any) -> None:
                heard.append("start")

        with trubrics_scope(user_id="alice"):
            llm = FakeListLLM(responses=["a"])
            asyncio.run(llm.ainvoke("Hello", config={"callbacks": [Async()]}))

        assert ["start"] == heard
        assert ["alice"] == users(captured_prompts)

    def test_our_own_failure_is_counted_and_the_answer_is_the_callers(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A message that cannot be told costs the record, not the call."""

        class Untellable:
            def __str__(self) -> str:
                raise RuntimeError

        with trubrics_scope(user_id="alice", value=Untellable()):
            assert "42" == model().invoke("Hello").content

        (record,) = captured_prompts
        assert {"value": "[Untellable that cannot be told]"} == record.metadata
        assert 1 == trubrics_trace.stats().noticed["untellable_value"]


def test_the_scope_is_seen_inside_a_tool_of_langchain(
    captured_prompts: list[PromptRecord],
) -> None:
    """LangChain's own threads and tasks carry the scope along."""
    seen: list[str | None] = []

    def look(_: str) -> None:
        scope = current_scope()
        seen.append(scope.user_id if scope else None)

    with trubrics_scope(user_id="alice"):
        RunnableLambda(look).batch(["a", "b"])
        asyncio.run(RunnableLambda(look).abatch(["c", "d"]))

    assert seen == ["alice"] * 4
    assert [] == captured_prompts


class TestWorkThatComesFromElsewhere:
    """Carried work and returned streams keep their user inside somebody else's chain."""

    def test_carried_work(self, captured_prompts: list[PromptRecord]) -> None:
        """What bob queued is bob's, though a worker inside alice's chain runs it."""
        with trubrics_scope(user_id="bob"):
            work: Callable[[], object] = carry_scope(lambda: model().invoke("bob's"))
        with trubrics_scope(user_id="alice"):
            chain_of(lambda _: work()).invoke("go")

        assert ["bob"] == users(captured_prompts)

    def test_a_returned_stream(self, captured_prompts: list[PromptRecord]) -> None:
        """A stream that bob's function returned is bob's, though alice's chain reads it."""

        @trubrics_trace.trubrics_trace(user_id="bob")
        def stream() -> Any:
            return model().stream("bob's")

        returned = stream()
        with trubrics_scope(user_id="alice"):
            chain_of(lambda _: list(returned)).invoke("go")

        assert ["bob"] == users(captured_prompts)

    def test_a_run_that_is_over_gives_its_user_to_nobody(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A context that outlived alice's run tells of her no more."""
        kept: list[contextvars.Context] = []
        chain = chain_of(lambda _: kept.append(contextvars.copy_context()))
        config: Any = {"metadata": {"trubrics_user_id": "alice"}}
        with trubrics_scope(fresh=True):
            chain.invoke("go", config=config)

        def later() -> None:
            with trubrics_scope(fresh=True):
                model().invoke("later")

        kept[0].run(later)

        assert [None] == users(captured_prompts)

    def test_work_that_carries_its_own_next_step(self) -> None:
        """A poller that carries itself on stands in no more scopes each time."""

        def tick() -> Any:
            return carry_scope(tick)

        with trubrics_scope(user_id="alice"):
            step = carry_scope(tick)
        for _ in range(3000):
            step = step()
        with trubrics_scope():
            trubrics_trace.identify("bob")

        step()


class TestSeveralHandlers:
    """Each handler's record goes where that handler sends."""

    def test_a_key_of_its_own_is_an_account_of_its_own(self, tmp_path: Path) -> None:
        """The name of the usual account does not send it along with the usual key."""
        with serve_ingestion("one") as server:
            trubrics_trace.configure(
                api_key="one", host=server.url, account="prod", spool_dir=tmp_path
            )
            own = TrubricsCallbackHandler(api_key="two", user_id="bob")
            with trubrics_scope(user_id="alice"):
                model().invoke("for one")
            model().invoke("for two", config={"callbacks": [own]})
            report = trubrics_trace.flush(1)

        assert "for two" not in [event["prompt"] for event in server.events]
        assert not report  # the other key is refused here, and its record kept
        assert report.pending

    def test_two_destinations_are_told_and_logged_once(self, tmp_path: Path) -> None:
        """A call heard by two handlers is one event in the log, and a record of each."""
        with serve_ingestion() as first, serve_ingestion("two") as second:
            trubrics_trace.configure(
                api_key=first.api_key, host=first.url, spool_dir=tmp_path
            )
            own = TrubricsCallbackHandler(api_key="two", host=second.url)
            both: Any = {"callbacks": [TrubricsCallbackHandler(), own]}
            with capture_logs() as events, trubrics_scope(user_id="alice"):
                model().invoke("Hello", config=both)
            assert trubrics_trace.flush(10)

        assert 1 == len(events)
        assert [1, 1] == [len(first.events), len(second.events)]

    @pytest.mark.parametrize("user", [None, "carol"])
    def test_two_users(self, user: str | None, tmp_path: Path) -> None:
        """To each place goes its own handler's user, unless the scope names one."""
        trubrics_trace.configure(spool_dir=tmp_path)
        with serve_ingestion("one") as first, serve_ingestion("two") as second:
            alice = TrubricsCallbackHandler(
                api_key="one", host=first.url, user_id="alice", tags="a"
            )
            bob = TrubricsCallbackHandler(
                api_key="two", host=second.url, user_id="bob", tags="b"
            )
            given = {} if user is None else {"user_id": user}
            with trubrics_scope(tags="scope", **given):  # type: ignore[arg-type]
                model().invoke("Hello", config={"callbacks": [alice, bob]})
            assert trubrics_trace.flush(10)

        told = [
            (server.events[0]["user_id"], server.events[0]["prompt"])
            for server in (first, second)
        ]
        assert [(user or "alice", "Hello"), (user or "bob", "Hello")] == told
        assert [1, 1] == [len(first.events), len(second.events)]

    def test_what_is_changed_for_one_is_not_for_the_other(self, tmp_path: Path) -> None:
        """A `before_send` that changes a record in place is asked of each user's own."""

        def shout(record: Any) -> Any:
            vars(record)["prompt"] += "!"
            return record

        trubrics_trace.configure(spool_dir=tmp_path, before_send=shout)
        with serve_ingestion("one") as first, serve_ingestion("two") as second:
            both: Any = [
                TrubricsCallbackHandler(api_key="one", host=first.url, user_id="alice"),
                TrubricsCallbackHandler(api_key="two", host=second.url, user_id="bob"),
            ]
            model().invoke("Hello", config={"callbacks": both})
            assert trubrics_trace.flush(10)

        told = [event["prompt"] for server in (first, second) for event in server.events]
        assert ["Hello!", "Hello!"] == told

    def test_what_is_configured_later_holds_for_a_handler_made_before(
        self, captured_prompts: list[PromptRecord], tmp_path: Path
    ) -> None:
        """A handler with its own key obeys a later `configure` in all but the key."""
        own = TrubricsCallbackHandler(api_key="two", user_id="bob")
        trubrics_trace.configure(capture_content=False, spool_dir=tmp_path)

        model().invoke("a secret", config={"callbacks": [own]})

        (record,) = captured_prompts
        assert ("", None) == (record.prompt, record.generation)


def test_before_send_may_ask_a_model(
    captured_prompts: list[PromptRecord], tmp_path: Path
) -> None:
    """A call made inside `before_send` is not recorded, and so does not ask it again."""

    def ask_first(record: Any) -> Any:
        model().invoke("Is this fine?")
        return record

    trubrics_trace.configure(before_send=ask_first, spool_dir=tmp_path)
    with trubrics_scope(user_id="alice"):
        model().invoke("Hello")

    assert ["Hello"] == [record.prompt for record in captured_prompts]
    assert {"inside_pipeline": 1} == trubrics_trace.stats().skipped


def test_before_send_cannot_change_what_it_sees(
    captured_prompts: list[PromptRecord], tmp_path: Path
) -> None:
    """Nor anything inside it: it returns another record, or the same."""
    refused: list[type[Exception]] = []

    def change(record: Any) -> Any:
        try:
            record.messages[0]["content"] = "changed"
        except TypeError as error:
            refused.append(type(error))
        return record

    trubrics_trace.configure(before_send=change, spool_dir=tmp_path)
    with trubrics_scope(user_id="alice"):
        model().invoke("Hello")

    assert [TypeError] == refused
    assert ["Hello"] == [record.prompt for record in captured_prompts]


def test_the_apps_own_context_names_nobody(captured_prompts: list[PromptRecord]) -> None:
    """What structlog's context has bound does not fill in the user of a record."""
    structlog.configure(processors=[structlog.contextvars.merge_contextvars])
    with (
        structlog.contextvars.bound_contextvars(user_id="bob", thread_id="t-bob"),
        capture_logs(processors=[structlog.contextvars.merge_contextvars]) as events,
        trubrics_scope(user_id=None),
    ):
        model().invoke("Hello")

    assert [(None, None)] == [(event["user_id"], event["thread_id"]) for event in events]


def test_an_inline_handler_of_somebody_else(captured_prompts: list[PromptRecord]) -> None:
    """One that is inline by its instance skips nobody's start, ours neither."""

    class Inline(BaseCallbackHandler):
        def __init__(self) -> None:
            self.run_inline = True

    llm = FakeListLLM(responses=["a"])
    with trubrics_scope(user_id="alice"):
        asyncio.run(llm.ainvoke("Hello", config={"callbacks": [Inline()]}))

    assert ["alice"] == users(captured_prompts)


class TestStrict:
    """In tests an app may ask for what is only counted in production."""

    def test_a_fault_is_raised_to_the_caller(
        self, captured_prompts: list[PromptRecord], tmp_path: Path
    ) -> None:
        """LangChain hands on what the handler raises, where it is strict."""
        trubrics_trace.configure(strict=True, spool_dir=tmp_path)

        with trubrics_scope():
            with pytest.raises(errors.TelemetryError, match="has no user"):
                model().invoke("Who am I?")
            with pytest.raises(errors.TelemetryError, match="has no user"):
                asyncio.run(model().ainvoke("Who am I?"))

    def test_nothing_is_raised_otherwise(
        self, captured_prompts: list[PromptRecord]
    ) -> None:
        """A handler asks LangChain to keep to itself whatever goes wrong in it."""
        assert not TrubricsCallbackHandler().raise_error


class Blocks(BaseChatModel):
    """A chat model that streams blocks of content, as Anthropic's does."""

    chunks: list[AIMessageChunk]

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    @property
    def _llm_type(self) -> str:
        return "blocks"


class TestStreamsOfBlocks:
    """What is streamed as blocks of content is told as what it says."""

    def test_a_tool_that_is_called(self, captured_prompts: list[PromptRecord]) -> None:
        """A stream that only calls a tool has its first part, and says nothing."""
        block = {"type": "tool_use", "id": "c1", "name": "tea", "input": {}, "index": 0}
        call = tool_call_chunk(name="tea", args='{"q": 1}', id="c1", index=0)
        llm = Blocks(chunks=[AIMessageChunk(content=[block], tool_call_chunks=[call])])
        with trubrics_scope(user_id="alice"):
            list(llm.stream("Find tea"))

        (record,) = captured_prompts
        assert ({"name": "tea", "args": {"q": 1}, "id": "c1"},) == record.tool_calls
        assert ("complete", None) == (record.status, record.generation)
        assert record.first_token_seconds is not None

    def test_an_early_break(self, captured_prompts: list[PromptRecord]) -> None:
        """What was read until the break is the generation."""
        texts = ("Once ", "upon ", "a time")
        chunks = [
            AIMessageChunk(content=[{"type": "text", "text": text, "index": 0}])
            for text in texts
        ]
        with trubrics_scope(user_id="alice"):
            stream: Any = Blocks(chunks=chunks).stream("Tell me a story")
            next(stream)
            next(stream)
            stream.close()

        (record,) = captured_prompts
        assert ("stopped", "Once upon ") == (record.status, record.generation)


def test_a_disabled_scope_hears_neither_tokens_nor_errors(
    captured_prompts: list[PromptRecord], caplog: pytest.LogCaptureFixture
) -> None:
    """A stream and a failure in it go their way; nothing is told, and nothing is wrong."""
    with trubrics_scope(enabled=False):
        assert "42" == "".join(str(part.content) for part in model().stream("Hush"))
        with pytest.raises(ValueError, match="no luck"):
            Slow().invoke("luck")

    assert [] == captured_prompts
    assert {"scope_disabled": 2} == trubrics_trace.stats().skipped
    assert ({}, []) == (trubrics_trace.stats().noticed, caplog.messages)


def test_a_run_that_failed_gives_its_user_to_nobody(
    captured_prompts: list[PromptRecord],
) -> None:
    """A chain that raises is as over as one that returns."""
    kept: list[contextvars.Context] = []

    def fail(_: str) -> None:
        kept.append(contextvars.copy_context())
        raise LookupError("no luck")

    config: Any = {"metadata": {"trubrics_user_id": "alice"}}
    with trubrics_scope(fresh=True), pytest.raises(LookupError):
        RunnableLambda(fail).invoke("go", config=config)

    def later() -> None:
        with trubrics_scope(fresh=True):
            model().invoke("later")

    kept[0].run(later)

    assert [None] == users(captured_prompts)


def test_a_call_handed_the_config_of_a_run_that_is_over_is_late(
    captured_prompts: list[PromptRecord],
) -> None:
    """A worker that knows of no scope counts it too: what was heard is never silent."""
    kept: list[Any] = []

    def keep(text: str, config: Any) -> str:
        kept.append(config)
        return text

    with trubrics_scope(user_id="alice"):
        RunnableLambda(keep).invoke("go")
    with ThreadPoolExecutor(1) as worker:
        worker.submit(model().invoke, "Too late", kept[0]).result()

    assert [] == captured_prompts
    assert {"late": 1} == trubrics_trace.stats().noticed


def test_what_is_captured_is_decided_at_each_call(
    captured_prompts: list[PromptRecord], tmp_path: Path
) -> None:
    """A chain that began while everything was captured records nothing more outside."""
    trubrics_trace.configure(capture="all", spool_dir=tmp_path)

    def ask(question: str) -> None:
        model().invoke(f"{question} one")
        trubrics_trace.configure(spool_dir=tmp_path)
        model().invoke(f"{question} two")

    RunnableLambda(ask).invoke("Question")

    assert ["Question one"] == [record.prompt for record in captured_prompts]
    assert "late" not in trubrics_trace.stats().noticed


def test_too_many_calls_at_once(
    captured_prompts: list[PromptRecord], caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest note is given up for the newest, counted, and said with the remedy."""
    run_ids = [uuid.UUID(int=number) for number in range(MAX_RUNNING - 1)]
    try:
        with trubrics_scope(user_id="alice"):
            stream = model("42").stream("The first")
            next(stream)
            (noted,) = turns._turns.values()
            assert {None} == {turns.begin(run_id, noted) for run_id in run_ids}

            model("43").invoke("One more")

            assert {"unfinished": 1} == trubrics_trace.stats().noticed
            assert "2" == "".join(str(part.content) for part in stream)
    finally:
        turns.clear()

    assert ["One more"] == [record.prompt for record in captured_prompts]
    assert ["await or close what was started"] == [
        message.rpartition("; ")[2] for message in caplog.messages
    ]


@pytest.mark.parametrize(("given", "told"), [({"run_name": "digest"}, "digest"), ({}, "x")])
def test_the_scope_names_the_run(
    given: dict[str, Any], told: str, captured_prompts: list[PromptRecord]
) -> None:
    """The scope's `run_name` wins over the config's, which serves where there is none."""
    with trubrics_scope(user_id="alice", **given):
        model().invoke("Hello", config={"run_name": "x"})

    assert [told] == [record.run_name for record in captured_prompts]


def test_nobody_on_purpose_is_said_once(
    captured_prompts: list[PromptRecord], caplog: pytest.LogCaptureFixture
) -> None:
    """Each call of nobody's is counted, and the first tells its place."""
    with trubrics_scope(user_id=None):
        model().invoke("Who am I?")
        model().invoke("And now?")

    assert {"without_user": 2} == trubrics_trace.stats().noticed
    (message,) = caplog.messages
    assert "test_handler.py:" in message


def test_what_langchain_need_not_tell_us(captured_prompts: list[PromptRecord]) -> None:
    """Its own retries and the app's own events never reach the handler."""
    heard: list[str] = []

    class Listening(TrubricsCallbackHandler):
        def on_retry(self, *_: Any, **__: Any) -> None:
            heard.append("retry")

        def on_custom_event(self, *_: Any, **__: Any) -> None:
            heard.append("event")

    class Retrying(FakeListLLM):
        def _call(self, *_: Any, run_manager: Any = None, **__: Any) -> str:
            run_manager.on_retry(None)
            return "42"

    def work(question: str) -> str:
        dispatch_custom_event("asking", question)
        return Retrying(responses=[]).invoke(question)

    RunnableLambda(work).invoke("Hello", config={"callbacks": [Listening()]})

    assert [] == heard
    assert ["42"] == [record.generation for record in captured_prompts]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "<TrubricsCallbackHandler>"),
        ({"api_key": "a-secret"}, "<TrubricsCallbackHandler>"),
        (
            {"user_id": "alice", "tags": ["chat"], "plan": "a-secret"},
            "<TrubricsCallbackHandler user_id='alice', tags=['chat'], plan=...>",
        ),
    ],
)
def test_a_handlers_repr(given: dict[str, Any], said: str) -> None:
    """It says who asks, and neither a key nor what the metadata holds."""
    assert said == repr(TrubricsCallbackHandler(**given))
