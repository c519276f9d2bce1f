"""The plugin's fixtures fail a test of an app, and name the place that is to blame."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.process.program import clean_environment

MODEL = """
from langchain_core.language_models import FakeListChatModel
from trubrics_trace import configure, trubrics_scope, trubrics_trace
from trubrics_trace.testing import assert_tracked

llm = FakeListChatModel(responses=["Hello"])
"""


def failures(test: str, tmp_path: Path, *, model: str = MODEL, **environment: str) -> str:
    """Run an app's test file in a pytest of its own; return what it prints, if it fails."""
    (tmp_path / "pytest.ini").write_text("[pytest]")  # no settings of who is further up
    (tmp_path / "test_app.py").write_text(model + textwrap.dedent(test))
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"],
        cwd=tmp_path,
        env=clean_environment(tmp_path / "spool", **environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    return ended.stdout if ended.returncode else ""


def line_of(words: str, tmp_path: Path) -> str:
    """Return the place of the line of the app's test that ends with these words."""
    lines = (tmp_path / "test_app.py").read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.endswith(words))
    return f"test_app.py:{number}"


def test_clean(tmp_path: Path) -> None:
    """A test that leaves nothing behind passes, and touches no disk."""
    test = """
    def test_clean(trubrics_leaks, captured_prompts):
        with trubrics_scope(user_id="alice"):
            list(llm.stream("Hi"))
        assert_tracked(captured_prompts, user_id="alice")
    """
    assert "" == failures(test, tmp_path)
    assert not (tmp_path / "spool").exists()


def test_open_scope(tmp_path: Path) -> None:
    """A scope that is left open fails the test, and is named by its block."""
    test = """
    kept = []

    def test_leak(trubrics_leaks):
        scope = trubrics_scope(user_id="alice")
        kept.append(scope)
        scope.__enter__()  # left
    """
    said = failures(test, tmp_path)
    place = line_of("# left", tmp_path)
    assert f"a scope of user 'alice', opened at {place}, is still open" in said


def test_open_stream(tmp_path: Path) -> None:
    """A stream that nobody consumes is named by its function, and its call by its place."""
    test = """
    kept = []

    @trubrics_trace(user_id="alice")
    def chat():
        yield from llm.stream("Hi")  # asked

    def test_leak(trubrics_leaks, captured_prompts):
        kept.append(chat())
        next(kept[0])
    """
    said = failures(test, tmp_path)
    assert "opened at chat(), is still open" in said
    assert f"a model call at {line_of('# asked', tmp_path)} has not ended" in said


def test_missing_user(tmp_path: Path) -> None:
    """In strict mode a call without a user fails the test, whoever swallows it."""
    test = """
    def test_nobody(trubrics_leaks, captured_prompts):
        configure(strict=True)
        with trubrics_scope():
            try:
                llm.invoke("Hi")  # asked
            except Exception:
                pass
    """
    said = failures(test, tmp_path)
    assert f"a model call at {line_of('# asked', tmp_path)} has no user" in said


def test_missing_user_when_not_strict(tmp_path: Path) -> None:
    """Where it is not strict, a call may have no user."""
    test = """
    def test_nobody(trubrics_leaks, captured_prompts):
        with trubrics_scope():
            llm.invoke("Hi")
    """
    assert "" == failures(test, tmp_path)


def test_wrong_user(tmp_path: Path) -> None:
    """A wrong user fails the test with who it was, and where the call was made."""
    test = """
    def test_wrong(captured_prompts):
        with trubrics_scope(user_id="bob"):
            llm.invoke("Hi")  # asked
        assert_tracked(captured_prompts, user_id="alice")
    """
    said = failures(test, tmp_path)
    place = line_of("# asked", tmp_path)
    assert f"record 1: user_id='bob' (asked at {place})" in re.sub(r"\nE\s+", " ", said)


ASKING = """
def test_asking():
    with trubrics_scope(user_id="alice"):
        llm.invoke("Hi")
"""


def kept_below(directory: Path) -> list[str]:
    """Return the names of the files that hold records, wherever they are below."""
    return [path.name for path in directory.rglob("*.jsonl")]


def at_home(tmp_path: Path) -> dict[str, str]:
    """Return an environment that says nothing of a spool, with a home in `tmp_path`."""
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_STATE_HOME"), str(tmp_path))
    return {**places, "TRUBRICS_TRACE_SPOOL_DIR": ""}


def test_a_test_without_fixtures(tmp_path: Path) -> None:
    """What a test records without our fixtures stays in its process, and is counted."""
    counting = "    from trubrics_trace import stats; assert 1 == stats().pending"
    assert "" == failures(ASKING + counting, tmp_path, **at_home(tmp_path))
    assert [] == kept_below(tmp_path)


def test_a_conftest_that_configures(tmp_path: Path) -> None:
    """A conftest that configures where it is imported does not come too early."""
    configuring = "import trubrics_trace; trubrics_trace.configure(strict=True)"
    (tmp_path / "conftest.py").write_text(configuring)
    assert "" == failures(ASKING, tmp_path, **at_home(tmp_path))
    assert [] == kept_below(tmp_path)


def test_a_plugin_that_is_named_late(tmp_path: Path) -> None:
    """Where entry points are not loaded, a conftest may name the plugin."""
    naming = "pytest_plugins = ['trubrics_trace.pytest_plugin']"
    (tmp_path / "conftest.py").write_text(naming)
    environment = {**at_home(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    assert "" == failures(ASKING, tmp_path, **environment)
    assert [] == kept_below(tmp_path)


def test_a_process_that_a_test_starts(tmp_path: Path) -> None:
    """What a test starts keeps its records in memory, too."""
    test = """
    import subprocess, sys

    def test_starting():
        program = [
            "from trubrics_trace import stats, track_event",
            "track_event('Began', user_id='alice')",
            "assert 1 == stats().pending",
        ]
        subprocess.run([sys.executable, "-c", "\\n".join(program)], check=True)
    """
    assert "" == failures(test, tmp_path, **at_home(tmp_path))
    assert [] == kept_below(tmp_path)


def test_a_spool_that_is_named(tmp_path: Path) -> None:
    """A spool that the environment names, or the app, is used also in tests."""
    assert "" == failures(ASKING, tmp_path)
    assert 1 == len(kept_below(tmp_path / "spool"))
    configuring = f"configure(spool_dir={str(tmp_path / 'own')!r})\n{ASKING}"
    assert "" == failures(configuring, tmp_path, **at_home(tmp_path))
    assert 1 == len(kept_below(tmp_path / "own"))


def test_who_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    """Loaded, the plugin imports neither the runtime nor anything that sends or spools."""
    test = """
    import sys

    def test_loaded():
        assert "trubrics_trace.pytest_plugin" in sys.modules
        assert "trubrics_trace._runtime" not in sys.modules
        assert "trubrics_trace.delivery" not in sys.modules
    """
    assert "" == failures(test, tmp_path, model="")
