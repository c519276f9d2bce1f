"""Every example in a docstring, and every Python block of the docs, runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import trubrics_trace
import trubrics_trace.testing
from docs.pictures import PICTURES, contexts, drawn
from docs.screenshot import page_in as report_for_a_picture
from tests.process.program import clean_environment, run_program

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
WITH_EXAMPLES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((REPOSITORY / "trubrics_trace").rglob("*.py"))
    if ">>> " in path.read_text()
]

# Pages whose programs are saved under a name, and followed by what they print.
STORIES = ("tutorial", "troubleshooting")

BLOCKS = {
    f"{path.stem}-{number}": block
    for path in sorted(DOCS.glob("*.md"))
    if path.stem not in STORIES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    )
}


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_run(module: str) -> None:
    """Each prints what its docstring shows."""
    outcome = doctest.testmod(importlib.import_module(module))

    assert 0 == outcome.failed
    assert outcome.attempted


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_of_the_docs_run(block: str, tmp_path: Path) -> None:
    """Each runs by itself, in a fresh process."""
    ended = run_program(BLOCKS[block], tmp_path)

    assert 0 == ended.returncode, ended.stderr


GUIDES = {path.stem: path.read_text() for path in (DOCS / "how-to").glob("*.md")}
INDEX = GUIDES.pop("README")

SECTION = re.MULTILINE | re.DOTALL

# What a guide may need, and a Python here may have to do without.
FRAMEWORKS = frozenset(
    (
        "celery",
        "django",
        "fastapi",
        "flask",
        "langchain_community",
        "langfuse",
        "langgraph",
        "litestar",
        "quart",
        "starlette",
    )
)

# What one of them says of itself where it is imported.
SUNSET = "ignore:`langchain-community` is being sunset:DeprecationWarning"

# What differs from one run to the next, and is shown as it once was.
VARYING = (
    "celery_task_id",
    "celery_worker",
    "first_token_seconds",
    "latency_seconds",
    "record_id",
    "started_at",
)


IMPORTED = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)
CLOCK = r"\d\d:\d\d:\d\d  "  # what a line for people begins with

VARYING_IN_LINES = (
    rf"^{CLOCK}",
    r"\d+\.\d\d ?s$",
    r"(?<=^spool: ).*",
    r"[\d,]+ +[\d-]+T\S+$",  # bytes, and the oldest pending
    r"(?<= cancelled ).*",  # what had come, and after how long
    r"\. Did you mean: .*$",  # which Python says from 3.12 or 3.13 on
)


class Step(NamedTuple):
    """What a guide lets its reader type, and what it says that is then seen."""

    typed: str
    shown: str


class Session(NamedTuple):
    """Steps, typed where all programs of the page are saved."""

    steps: tuple[Step, ...]
    programs: Mapping[str, str]

    def imports(self) -> set[str]:
        """Return the modules that the steps need, the page's own among them."""
        names = [word for step in self.steps for word in step.typed.split()]
        seen: set[str] = set()
        while names:
            name = names.pop().removesuffix(".py")
            if name not in seen:
                seen.add(name)
                names += IMPORTED.findall(self.programs.get(f"{name}.py", ""))
        return seen


def sessions_of(page: str) -> Iterator[Session]:
    """Yield what a page lets its reader run: each terminal, and each program.

    A program that another imports, or that a terminal runs, runs with that.
    """
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    programs = {name_of(text): text for language, text in blocks if language == "python"}
    imported = IMPORTED.findall("".join(programs.values()))
    for (language, text), (below, shown) in pairwise([*blocks, ("", "")]):
        if language == "console":
            found = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", text, re.MULTILINE)
            yield Session(tuple(Step(*one) for one in found), programs)
        elif language == "python":
            step = Step(
                f"python {name_of(text)}", shown if below in ("json", "text") else ""
            )
            is_typed = re.search(rf"^\$ .*{name_of(text)}(?!\S)", page, re.MULTILINE)
            if not is_typed and Path(name_of(text)).stem not in imported:
                yield Session((step,), programs)


def name_of(program: str) -> str:
    """Return what a program is to be saved as: its first line says so."""
    return program.splitlines()[0].removeprefix("# ")


PAGES = [
    ("README", INDEX),
    *sorted(GUIDES.items()),
    *((name, (DOCS / f"{name}.md").read_text()) for name in STORIES),
]
SESSIONS = {
    f"{page}: {session.steps[0].typed}": session
    for page, text in PAGES
    for session in sessions_of(text)
}


@pytest.mark.parametrize("name", SESSIONS)
def test_guides_show_what_is_seen(name: str, tmp_path: Path) -> None:
    """What a guide lets its reader type runs, and what stands below is what is seen."""
    session = SESSIONS[name]
    for framework in FRAMEWORKS & session.imports():
        if importlib.util.find_spec(framework) is None:
            pytest.skip(f"{framework} is not installed")
    for saved_as, program in session.programs.items():
        (tmp_path / saved_as).write_text(program)

    for typed, shown in session.steps:
        ended = type_in(typed, tmp_path)
        assert 0 == ended.returncode, ended.stdout + ended.stderr
        if shown:
            assert comparable(shown) == comparable(printed_like(shown, ended))


def type_in(typed: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Do what a reader's terminal would do, with this Python."""
    python = shlex.quote(sys.executable)
    meant = {"python": python, "trubrics-trace": f"{python} -m trubrics_trace"}
    return subprocess.run(
        re.sub(r"(?<!\S)(python|trubrics-trace)(?= )", lambda word: meant[word[0]], typed),
        cwd=directory,
        env=clean_environment(directory / "spool", PYTHONWARNINGS=f"error,{SUNSET}"),
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def printed_like(shown: str, ended: subprocess.CompletedProcess[str]) -> str:
    """Return the lines for people, where such are shown; else what the program printed."""
    told = re.findall(rf"^{CLOCK}.*\n", ended.stderr, re.MULTILINE)
    return "".join(told) if re.match(CLOCK, shown) else ended.stdout


def comparable(seen: str) -> Any:
    """Return what must be the same each time: of a record, all keys, in their order."""
    if not seen.startswith("{"):
        for varying in VARYING_IN_LINES:
            seen = re.sub(varying, "", seen, flags=re.MULTILINE)
        return [line.split() for line in seen.splitlines()]
    records = []
    while seen:
        record, end = DECODER.raw_decode(seen)
        records.append(record)
        seen = seen[end:].lstrip()
    return records


DECODER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: [
        (name, type(value) if name in VARYING else value) for name, value in pairs
    ]
)


@pytest.mark.parametrize("page", GUIDES)
def test_guides_have_the_same_parts(page: str) -> None:
    """Each has a program, says how to verify that it works, and what goes wrong."""
    headings = re.findall(r"^## (.*)$", GUIDES[page], re.MULTILINE)

    assert {"The program", "Verify", "Troubleshooting"} <= set(headings)
    assert f"]({page}.md)" in INDEX


@pytest.mark.parametrize("page", GUIDES)
def test_guides_verify_by_what_is_seen(page: str) -> None:
    """What verifies a guide ends in something to compare with, which the tests compare."""
    (verify,) = re.findall(r"^## Verify\n(.*?)(?=^## |\Z)", GUIDES[page], SECTION)
    sessions = list(sessions_of(verify))

    assert any(step.shown for session in sessions for step in session.steps)


def test_guides_quote_what_is_said() -> None:
    """A message in a table of troubles is what the package says, or a clause of it."""
    pages = "\n".join(text for _, text in PAGES)
    # First in a line, and four words or more: a notice, or an error.
    quoted = re.findall(r"^\| `(?:\w+Error: )?([^`]+(?: [^ `]+){3})`", pages, re.MULTILINE)
    said = [re.compile(pattern) for pattern in set(messages_in_the_code())]

    assert quoted
    assert [] == [one for one in quoted if not any(text.fullmatch(one) for text in said)]


def messages_in_the_code() -> Iterator[str]:
    """Yield a pattern of each text in the package, and of its clauses."""
    for path in (REPOSITORY / "trubrics_trace").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Constant, ast.JoinedStr)):
                parts = re.split(r"([;:]\\ )", pattern_of(node))
                for start, end in combinations(range(0, len(parts) + 2, 2), 2):
                    said = "".join(parts[start : end - 1])
                    if len(re.findall("[a-z]", said)) >= 8:  # less fits anything
                        yield said


def pattern_of(text: ast.Constant | ast.JoinedStr) -> str:
    """Return a pattern of what a text says, whatever stands in its braces."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(
        re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+"
        for part in parts
    )


WRITTEN = {
    str(path.relative_to(REPOSITORY)): path
    for folder in (
        REPOSITORY,
        DOCS,
        DOCS / "how-to",
        REPOSITORY / "examples",
        REPOSITORY / "benchmarks" / "faults",
    )
    for path in sorted(folder.glob("*.md"))
}


@pytest.mark.parametrize("name", WRITTEN)
def test_links_lead_somewhere(name: str) -> None:
    """Every link into the repository names a file that is there, and a heading in it."""
    page = WRITTEN[name]
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def anchors_of(page: Path) -> set[str]:
    """Return what the headings of a page are linked by, on the site as on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        for heading in headings
    }


def programs_of_the_docs() -> Iterator[str]:
    """Yield all that is shown as a program: in pages, in docstrings, in examples."""
    for page in WRITTEN.values():
        yield from re.findall(
            r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
    for path in (REPOSITORY / "trubrics_trace").rglob("*.py"):
        yield from re.findall(r"^ *(?:>>>|\.\.\.) (.*)$", path.read_text(), re.MULTILINE)
    for path in (REPOSITORY / "examples").rglob("*.py"):
        yield path.read_text()


def public_names() -> Iterator[str]:
    """Yield what each public module offers: what it says, else what it defines."""
    for module in (trubrics_trace, trubrics_trace.errors, trubrics_trace.testing):
        yield from module.__all__
    for path in (REPOSITORY / "trubrics_trace" / "integrations").glob("[!_]*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
                yield node.name


def test_every_public_name_has_an_example() -> None:
    """Each public word is used in a program that the tests run."""
    used = set(re.findall(r"\w+", "\n".join(programs_of_the_docs())))

    assert [] == [name for name in public_names() if name not in used]


def test_the_reference_has_every_public_name() -> None:
    """Each word of the package stands in the reference."""
    told = re.findall(
        r"^::: trubrics_trace\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE
    )

    assert set() == set(trubrics_trace.__all__) - set(told)


def test_the_site_has_every_page() -> None:
    """The menu names each page but the guides, which their index names."""
    told = (REPOSITORY / "mkdocs.yml").read_text()
    menu = re.findall(r": ([\w/-]+\.md)$", told, re.MULTILINE)

    assert sorted(menu) == sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", sorted(drawn()))
def test_pictures_are_as_they_are_drawn(name: str) -> None:
    """A picture that is kept is the one that `python docs/pictures.py` draws."""
    assert drawn()[name] == (PICTURES / name).read_text()


def test_the_screenshot_is_described(tmp_path: Path) -> None:
    """Who cannot see the report's screenshot is told as many prompts as it shows."""
    (count,) = re.findall(
        r"Prompts</span><strong>(\d+)", report_for_a_picture(tmp_path).read_text()
    )
    for page in (REPOSITORY / "README.md", DOCS / "command-line.md"):
        assert f"{count} prompts of eight users" in page.read_text()


def test_a_picture_shows_where_the_user_comes_along() -> None:
    """It has each row of the table that it is drawn from, and the way in either case."""
    rows = list(contexts())

    assert ("asyncio.to_thread", "by itself", "carry_scope") in rows
    assert {"by itself", "carry_scope", "a scope of its own", ""} == {
        way for _, *ways in rows for way in ways
    }


NAMED = {
    f"{path.stem}: {named}": REPOSITORY / named
    for path in [*sorted(DOCS.rglob("*.md")), REPOSITORY / "SECURITY.md"]
    for named in re.findall(r"`((?:tests|benchmarks|examples)/[^`]*)`", path.read_text())
}


@pytest.mark.parametrize("named", NAMED)
def test_what_the_docs_name_is_there(named: str) -> None:
    """A promise names the test that shows it."""
    assert NAMED[named].exists()


# Who counts, and which of its arguments is the reason.
COUNTERS = {
    "TelemetryError": 0,
    "_foreign": 0,
    "_drop": 0,
    "_mark": 1,
    "_on_drop": 0,
    "attempt": 0,
    "drop": 0,
    "fault": 0,
    "note": 0,
    "settle_rejected": 1,
    "skip": 0,
}


def reasons_in_the_code() -> Iterator[str]:
    """Yield every reason that something is counted by; `*` stands for a name in it."""
    for path in (REPOSITORY / "trubrics_trace").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                at = COUNTERS.get(name, len(node.args))
                yield from reason_in(node.args[at : at + 1])
            elif isinstance(node, ast.Subscript) and "_dropped" in ast.unparse(node.value):
                yield from reason_in([node.slice])


def reason_in(arguments: list[ast.expr]) -> Iterator[str]:
    """Yield the reason that an argument says, if it says one itself."""
    for argument in arguments:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
        elif isinstance(argument, ast.JoinedStr):
            parts = (getattr(part, "value", "*") for part in argument.values)
            yield "".join(part if isinstance(part, str) else "*" for part in parts)


def test_every_reason_is_documented() -> None:
    """What can be counted, and nothing else, has its line with what to do."""
    text = (DOCS / "reasons.md").read_text()
    told = re.findall(r"^(?:\| )?`([a-z_*]+)`(?: \||:)", text, re.MULTILINE)

    assert sorted(set(reasons_in_the_code())) == sorted(told)
