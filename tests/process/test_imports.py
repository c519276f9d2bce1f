"""What importing costs: few modules, and nothing done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.process.program import output_of, run_program

MOST_MODULES = 25
HEAVY = ["celery", "django", "fastapi", "flask", "langchain_core", "requests", "starlette"]
HEAVY += ["trubrics"]

IMPORTS = {
    "the package": "import trubrics_trace",
    "its decorator": "from trubrics_trace import trubrics_trace",
    "the plugin of pytest": "import trubrics_trace.pytest_plugin",
}

# An audit hook cannot be removed, so each program has a process of its own. The
# environment is a mapping that says who reads it.
COUNTED = """
    import json, os, sys, threading
    import structlog, wrapt
    {before}

    class Watched(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

        def get(self, name, default=None):
            read.append(name)
            return super().get(name, default)

        __contains__ = __iter__ = None

    read, opened = [], []

    def audit(event, arguments):
        if event == "open" and not str(arguments[0]).endswith((".py", ".pyc")):
            opened.append(str(arguments[0]))

    before = set(sys.modules)
    environment, os.environ = os.environ, Watched(os.environ)
    sys.addaudithook(audit)
    {statement}
    os.environ = environment
    added = set(sys.modules) - before
    print(json.dumps([sorted(added), threading.active_count(), read, opened]))
    """


def counted(statement: str, tmp_path: Path, before: str = "") -> Any:
    """Return modules added, threads, variables read and files opened by a statement."""
    source = COUNTED.replace("{statement}", statement).replace("{before}", before)
    return json.loads(output_of(source, tmp_path))


@pytest.mark.parametrize("statement", IMPORTS.values(), ids=IMPORTS)
def test_import_is_small(statement: str, tmp_path: Path) -> None:
    """An import adds few modules to wrapt and structlog, and no framework or client."""
    added, *_ = counted(statement, tmp_path, before="import pytest")

    assert len(added) <= MOST_MODULES
    assert [] == [name for name in added if name.split(".")[0] in HEAVY]


@pytest.mark.parametrize("statement", IMPORTS.values(), ids=IMPORTS)
def test_import_does_nothing(statement: str, tmp_path: Path) -> None:
    """An import starts no thread, reads no environment and opens no file but modules."""
    _, threads, read, opened = counted(statement, tmp_path, before="import pytest")

    assert (1, [], []) == (threads, read, opened)
    assert [] == list(tmp_path.iterdir())


def test_decorating_loads_no_delivery(tmp_path: Path) -> None:
    """What only decorates pays for no record, spool or sender: the first scope does."""
    statement = """
    import trubrics_trace

    @trubrics_trace.trubrics_trace(user_id="alice")
    def ask():
        pass

    trubrics_trace.trubrics_scope(tags="chat")"""
    added, *_ = counted(statement, tmp_path)

    assert len(added) <= MOST_MODULES
    assert [] == [name for name in added if ".delivery" in name or "_runtime" in name]


def test_a_scope_that_cannot_load(tmp_path: Path) -> None:
    """Where the runtime cannot be loaded the block runs, and the next scope tries again."""
    source = """
        import os, resource
        from trubrics_trace import current_scope, trubrics_scope
        from trubrics_trace._ledger import ledger

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, hard))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", 0))
        except OSError:
            pass
        with trubrics_scope(user_id="alice"):
            print(current_scope().user_id, ledger.counts("noticed"))
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        from langchain_core.language_models import FakeListChatModel
        from trubrics_trace import stats
        with trubrics_scope(user_id="alice"):
            FakeListChatModel(responses=["42"]).invoke("The answer?")
        print(stats().accepted)
        """

    assert "alice {'install_failed': 1}\n1" == output_of(source, tmp_path)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05])
def test_fork_while_loading(delay: float, tmp_path: Path) -> None:
    """A child that is forked while a thread opens the first scope can open its own."""
    source = """
        import os, sys, threading, time
        import langchain_core.language_models
        from trubrics_trace import trubrics_scope

        begun = threading.Event()

        def first():
            begun.set()
            with trubrics_scope(user_id="alice"):
                pass

        thread = threading.Thread(target=first)
        thread.start()
        begun.wait()
        time.sleep(float(sys.argv[1]))
        child = os.fork()
        if not child:
            with trubrics_scope(user_id="bob"):
                os._exit(0)
        _, status = os.waitpid(child, 0)
        thread.join()
        print(os.waitstatus_to_exitcode(status))
        """
    ended = run_program(source, tmp_path, str(delay))

    assert "0" == ended.stdout.strip(), ended.stderr


def test_signal_while_loading(tmp_path: Path) -> None:
    """A signal handler may open a scope while the first one is being opened."""
    source = """
        import signal
        import langchain_core.language_models
        from trubrics_trace import current_scope, trubrics_scope

        def handle(*_):
            with trubrics_scope(user_id="bob"):
                seen.append(current_scope().user_id)

        seen = []
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with trubrics_scope(user_id="alice"):
            while not seen:
                pass
            print(seen, current_scope().user_id)
        """

    assert "['bob'] alice" == output_of(source, tmp_path)


def test_strict_mode_from_the_environment(tmp_path: Path) -> None:
    """Strict mode that the environment says holds from the first scope on."""
    source = """
        from trubrics_trace import errors, identify, trubrics_scope
        with trubrics_scope():
            pass
        try:
            identify("alice")
        except errors.TelemetryError as error:
            print(error.reason)
        """

    told = output_of(source, tmp_path, TRUBRICS_TRACE_STRICT="1")
    assert "identify_outside" == told


def test_strict_mode_at_exit(tmp_path: Path) -> None:
    """A strict program whose server is gone ends as ever, with nothing on its stderr."""
    source = """
        from trubrics_trace import configure, track_event
        configure(strict=True, api_key="key", host="http://127.0.0.1:9")
        track_event("Signed up", user_id="alice")
        """
    ended = run_program(source, tmp_path)

    assert (0, "") == (ended.returncode, ended.stderr)
