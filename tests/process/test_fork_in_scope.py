"""A process that forks inside an open scope: both go on, each record is right, and once."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

from tests.process.program import run_program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PRELUDE = """
import logging, os, sys, threading, warnings
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from trubrics_trace import current_scope, identify, trubrics_scope
from trubrics_trace import trubrics_trace as trace

# All that anybody logs: parent and children write to the same pipe, a line at once.
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", force=True)
# 3.12 warns of any fork beside threads: here that is the test.
warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
llm = FakeListChatModel(responses=["42"])

def ask(question):
    llm.invoke(question)

def code_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def asked(source: str, spool_dir: Path, *arguments: str) -> dict[str, str | None]:
    """Return who asked each question, each once, in a program and its children.

    The program says nothing but the exit code of its child, which is 7.
    """
    ended = run_program(PRELUDE + textwrap.dedent(source), spool_dir, *arguments)
    assert (0, "7") == (ended.returncode, ended.stdout.strip()), ended.stderr
    lines = [line.partition(" ") for line in ended.stderr.splitlines()]
    assert {"INFO", "WARNING"} >= {level for level, _, _ in lines}
    told = [json.loads(message) for level, _, message in lines if level == "INFO"]
    users = {event["prompt"]: event.get("user_id") for event in told}
    assert len(told) == len(users)
    return users


ENDS = ["os._exit(7)", "sys.exit(7)"]


@pytest.mark.parametrize("end", ENDS)
def test_inside_a_block(end: str, tmp_path: Path) -> None:
    """Both are still inside; what the child opens, learns and leaves is its own."""
    program = f"""
        with trubrics_scope(user_id="alice") as scope:
            ask("before")
            child = os.fork()
            if child == 0:
                assert current_scope() is scope
                ask("child")
                with trubrics_scope(user_id="bob"):
                    ask("child for bob")
                identify("carol")
                ask("child for carol")
                {end}
            ask("parent")
            print(code_of(child))
            assert scope.user_id == "alice"
            ask("parent after the child")
        assert current_scope() is None
        """
    assert {
        "before": "alice",
        "child": "alice",
        "child for bob": "bob",
        "child for carol": "carol",
        "parent": "alice",
        "parent after the child": "alice",
    } == asked(program, tmp_path)


def test_the_child_leaves_the_block(tmp_path: Path) -> None:
    """A child that leaves the block is outside; the parent is not."""
    program = """
        with trubrics_scope(user_id="alice"):
            with trubrics_scope(user_id="bob"):
                child = os.fork()
                ask(f"inner {child == 0}")
            ask(f"outer {child == 0}")
            if child:
                print(code_of(child))
                ask("outer after the child")
        assert current_scope() is None
        ask(f"outside {child == 0}")
        if not child:
            sys.exit(7)
        """
    assert {
        "inner True": "bob",
        "inner False": "bob",
        "outer True": "alice",
        "outer False": "alice",
        "outer after the child": "alice",
    } == asked(program, tmp_path)


def test_inside_a_thread(tmp_path: Path) -> None:
    """A child that a thread forks has that thread's scope, and not the main thread's."""
    program = """
        def work():
            with trubrics_scope(user_id="bob"):
                child = os.fork()
                ask(f"thread {child == 0}")
                if child == 0:
                    os._exit(7)
                print(code_of(child))
            child = os.fork()
            if child == 0:
                assert current_scope() is None
                ask("outside")
                os._exit(8)
            assert code_of(child) == 8

        with trubrics_scope(user_id="alice"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            ask("main")
        """
    assert {"thread True": "bob", "thread False": "bob", "main": "alice"} == asked(
        program, tmp_path
    )


def test_inside_a_call(tmp_path: Path) -> None:
    """A call that is under way is told by the parent; the child tells its own."""
    program = """
        class Forking(FakeListChatModel):
            def _call(self, messages, *_, **__):
                os.environ["CHILD"] = str(os.fork())
                return "42"

        with trubrics_scope(user_id="alice"):
            Forking(responses=[]).invoke("under way")
            child = int(os.environ["CHILD"])
            ask(f"next {child == 0}")
            if child == 0:
                sys.exit(7)
            print(code_of(child))
        """
    assert {"under way": "alice", "next True": "alice", "next False": "alice"} == asked(
        program, tmp_path
    )


def test_inside_a_chain(tmp_path: Path) -> None:
    """The chain's next calls are the scope's in both; what the child opens is its own."""
    program = """
        def step(_):
            child = os.fork()
            ask(f"step {child == 0}")
            if child == 0:
                with trubrics_scope(user_id="bob", fresh=True):
                    ask("child for bob")
            return child

        with trubrics_scope(user_id="alice"):
            child = RunnableLambda(step).invoke("go")
        if child == 0:
            os._exit(7)
        print(code_of(child))
        """
    assert {"step True": "alice", "step False": "alice", "child for bob": "bob"} == asked(
        program, tmp_path
    )


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_between_the_steps_of_a_generator(kind: str, tmp_path: Path) -> None:
    """A traced generator goes on in both, with the scope, which neither has between."""
    program = f"""
        @trace(user_id="alice")
        {kind} parts():
            ask("first")
            yield
            ask(f"second {{os.getpid() == parent}}")
            yield

        def step(parts):
            if hasattr(parts, "asend"):
                try:
                    parts.asend(None).send(None)
                except StopIteration:
                    return
            next(parts)

        parent, steps = os.getpid(), parts()
        step(steps)
        child = os.fork()
        assert current_scope() is None
        step(steps)
        assert current_scope() is None
        if child == 0:
            os._exit(7)
        print(code_of(child))
        """
    assert {"first": "alice", "second True": "alice", "second False": "alice"} == asked(
        program, tmp_path
    )


def test_in_a_loop(tmp_path: Path) -> None:
    """A task that forks inside its scope goes on as the same user, in both."""
    program = """
        import asyncio

        async def main():
            async with trubrics_scope(user_id="alice"):
                await llm.ainvoke("before")
                child = os.fork()
                ask(f"after {child == 0}")
                if child == 0:
                    os._exit(7)
                await llm.ainvoke("loop")
                print(code_of(child))

        asyncio.run(main())
        """
    assert {
        "before": "alice",
        "after True": "alice",
        "after False": "alice",
        "loop": "alice",
    } == asked(program, tmp_path)


WORKER = """
def ask_for(user, question):
    with trubrics_scope(user_id=user):
        ask(question)

def ask_and_end(question):
    ask(question)
    raise SystemExit(7)
"""


def processes(source: str, tmp_path: Path) -> dict[str, str | None]:
    """Return who asked each question, of a program whose children import their work."""
    (tmp_path / "worker.py").write_text(PRELUDE + WORKER)
    (tmp_path / "main.py").write_text(
        "import multiprocessing, worker\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from worker import ask, trubrics_scope\n"
        f"if __name__ == '__main__':\n{textwrap.indent(textwrap.dedent(source), '    ')}"
    )
    program = """
        import runpy
        sys.path.insert(0, sys.argv[1])
        runpy.run_path(os.path.join(sys.argv[1], "main.py"), run_name="__main__")
        """
    return asked(program, tmp_path / "spool", str(tmp_path))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(method: str, tmp_path: Path) -> None:
    """What a process opens is its own; a fork has its parent's scope, others have none."""
    program = f"""
        begin = multiprocessing.get_context({method!r}).Process
        with trubrics_scope(user_id="alice"):
            for work, *arguments in (
                (worker.ask_for, "bob", "child for bob"),
                (worker.ask_and_end, "child"),
            ):
                process = begin(target=work, args=arguments)
                process.start()
                process.join()
            ask("parent")
        print(process.exitcode)
        """
    expected = {"child for bob": "bob", "parent": "alice"}
    if method == "fork":
        expected["child"] = "alice"
    assert expected == processes(program, tmp_path)


def test_pool_of_processes(tmp_path: Path) -> None:
    """A worker that was forked inside alice's scope asks for nobody else as alice."""
    program = """
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            with trubrics_scope(user_id="alice"):
                pool.submit(worker.ask_for, "alice", "of alice").result()
            with trubrics_scope(user_id="bob"):
                pool.submit(ask, "of bob").result()
            pool.submit(ask, "of nobody").result()
            pool.submit(worker.ask_for, "carol", "of carol").result()
        print(7)
        """
    expected = {"of alice": "alice", "of carol": "carol"}
    assert expected == processes(program, tmp_path)
