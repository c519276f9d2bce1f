"""The house is built as its plan says: floors, doors, guards, and files to read aloud."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "trubrics_trace"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}

# From the ground up: a room imports only what stands before it. A name that ends in a dot
# stands for all that is below it.
ROOMS = [
    "errors",
    "_clock",
    "_fork",
    "_threads",
    "_frozen",
    "_json",
    "_notices",
    "_ledger",
    "_record",
    "_settings",
    "_configuration",
    "_stats",
    "scope._attributes",
    "scope._parameters",
    "scope._arguments",
    "scope._scope",
    "scope._loop",
    "scope._requests",
    "scope._current",
    "scope._spanning",
    "scope._block",
    "scope._identify",
    "scope._steps",
    "scope._carry",
    "pipeline._guard",
    "pipeline._text",
    "pipeline._patterns",
    "pipeline._pseudonym",
    "pipeline._redact",
    "pipeline._line",
    "pipeline._log",
    "pipeline._pipeline",
    "delivery._directory",
    "delivery._files",
    "delivery._progress",
    "delivery._segment",
    "delivery._aside",
    "delivery._owner",
    "delivery._limits",
    "delivery._memory",
    "delivery._marks",
    "delivery._totals",
    "delivery._erased",
    "delivery._shares",
    "delivery._heritage",
    "delivery._patience",
    "delivery._contents",
    "delivery._tally",
    "delivery._tidings",
    "delivery._spool",
    "delivery._census",
    "delivery._reader",
    "delivery._transport",
    "delivery._backoff",
    "delivery._batches",
    "delivery._trial",
    "delivery._sender",
    "delivery._deadline",
    "delivery._http",
    "delivery._ingestion",
    "delivery._platform",
    "delivery._delivery",
    "delivery._flushes",
    "delivery._client",
    "_runtime",
    "langchain._context",
    "langchain._frames",
    "langchain._inline",
    "langchain._content",
    "langchain._messages",
    "langchain._usage",
    "langchain._asked",
    "langchain._answered",
    "langchain._config",
    "langchain._attempts",
    "langchain._user_turns",
    "langchain._notes",
    "langchain._turns",
    "langchain._telling",
    "langchain._endings",
    "langchain._handler",
    "langchain._hook",
    "wrapping._misplaced",
    "wrapping._returned",
    "wrapping._decorator",
    "wrapping._imports",
    "_feedback",
    "",
    "integrations.",
    "testing.",
    "pytest_plugin",
    "cli.",
    "demo",
    "__main__",
]

# Who may import each library; the demo is a program of a user's kind.
DOORS = {
    "langchain_core": {"langchain._handler", "demo"},
    "orjson": {"_json"},
    "requests": {"delivery._http"},
    "urllib3": {"delivery._deadline"},
    "structlog": {"pipeline._log"},
    "trubrics": {"delivery._client"},
    "wrapt": {"wrapping._decorator", "wrapping._imports"},
    "pytest": {"pytest_plugin"},
    "starlette": {"integrations.fastapi"},
    "fastapi": {"integrations.fastapi"},
    "flask": {"integrations.flask"},
    "werkzeug": set(),
    "django": {"integrations.django"},
    "asgiref": {"integrations.django"},
    "celery": {"integrations.celery"},
}

# Where foreign code's exceptions end. The fourth guard, of `scope`, is a context manager.
GUARDS = {"_ledger", "pipeline._guard", "pipeline._redact", "delivery._sender"}

# Broad handlers that hand on what they catch: to the body of a stepped generator.
HANDS_ON = {"scope._steps"}

LONGEST = 320  # lines that can be read aloud in one breath
LONGEST_SUMMARY = 72  # characters: PEP 8's limit for the lines of docstrings


def short(module: str) -> str:
    """Return a module's name without the package's."""
    return module.removeprefix("trubrics_trace").removeprefix(".")


def imports_of(module: str) -> Iterator[tuple[str, int]]:
    """Yield every module that this one imports, anywhere, but for types only."""
    path = MODULES[module]
    tree = ast.parse(path.read_text())
    types_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if id(node) in types_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in MODULES else base, node.lineno)


def floor_of(module: str) -> int:
    """Return the place of a module among the rooms."""
    name = short(module)
    for place, room in enumerate(ROOMS):
        if name == room or (room.endswith(".") and f"{name}.".startswith(room)):
            return place
    raise AssertionError(f"{module} is in no room of the plan")


# A folder's own file is no room, unless it does something.
ROOM_MODULES = [
    module
    for module, path in MODULES.items()
    if path.name != "__init__.py" or list(imports_of(module))
]


@pytest.mark.parametrize("module", ROOM_MODULES, ids=short)
def test_imports_point_upward_in_the_plan(module: str) -> None:
    """A room imports only rooms that stand before it, so there is no circle."""
    own = floor_of(module)
    wrong = [
        f"line {line}: {imported}"
        for imported, line in imports_of(module)
        if imported in ROOM_MODULES and (floor_of(imported) > own or imported == module)
    ]

    assert [] == wrong


@pytest.mark.parametrize("library", DOORS)
def test_one_library_has_one_door(library: str) -> None:
    """No room but its own imports a library."""
    importers = {
        short(module)
        for module in MODULES
        for imported, _ in imports_of(module)
        if imported.split(".")[0] == library
    }

    assert importers <= DOORS[library]


def broad_handlers(path: Path) -> Iterator[ast.ExceptHandler]:
    """Yield the handlers of everything that do not raise it again."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            is_broad = node.type is None or ast.unparse(node.type) in (
                "Exception",
                "BaseException",
            )
            if is_broad and not isinstance(node.body[-1], ast.Raise):
                yield node


def test_there_is_one_guard_a_room() -> None:
    """Broad handlers stand where foreign code is called and where the thread must live."""
    found = {
        short(module): len(list(broad_handlers(path))) for module, path in MODULES.items()
    }
    swallowing = {name: count for name, count in found.items() if count}

    assert GUARDS == swallowing.keys() - HANDS_ON
    assert {1} == {swallowing[name] for name in GUARDS}


@pytest.mark.parametrize("module", MODULES, ids=short)
def test_a_file_can_be_read_aloud(module: str) -> None:
    """A module opens with a sentence, and is not too long."""
    text = MODULES[module].read_text()

    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LONGEST


@pytest.mark.parametrize("module", MODULES, ids=short)
def test_a_docstring_opens_with_a_short_sentence(module: str) -> None:
    """The first line of each docstring fits a terminal beside its name."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    summaries = [
        (ast.get_docstring(node) or "").partition("\n")[0]
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, documented)
    ]

    assert [] == [summary for summary in summaries if len(summary) > LONGEST_SUMMARY]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=str)
def test_every_test_states_a_fact(path: Path) -> None:
    """Each test has a docstring: together they are the specification."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert [] == silent
