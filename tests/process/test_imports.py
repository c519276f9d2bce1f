"""What importing costs: few modules, and nothing done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.process.program import output_of

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
