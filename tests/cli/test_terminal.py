"""What every command has: help with examples, JSON, exit codes, colours where fit."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.parts import root_with
from tests.delivery.parts import Clock, line
from tests.process.program import clean_environment, output_of
from trubrics_trace.cli import main
from trubrics_trace.cli._terminal import Progress, counting

COMMANDS = {
    "status": [],
    "tail": [],
    "export": [],
    "report": [],
    "flush": [],
    "rejected": ["list"],
    "adopt": [],
    "erase": ["--user", "alice"],
    "doctor": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's help has an example, its exit codes, and JSON for programs."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert 0 == ended.value.code
    assert re.search(rf"^Examples?:\n  trubrics-trace {command}", said, re.MULTILINE)
    codes = said.partition("\nexit codes:\n")[2].splitlines()
    assert {"0", "2"} <= {line.split()[0] for line in codes}
    assert "--json" in said


@pytest.mark.parametrize("command", ["tail --json", "export", "status"])
def test_who_only_looks(command: str, tmp_path: Path) -> None:
    """Who looks at a spool loads nothing that sends, nor writes: the first line is soon."""
    program = f"""
    import sys
    from trubrics_trace.cli import main
    main({command.split()!r})
    print([name for name in sys.modules if name in (
        "trubrics_trace.delivery._sender", "trubrics_trace.delivery._delivery",
        "trubrics_trace._runtime", "structlog", "requests", "langchain_core",
    )])
    """
    assert "[]" == output_of(program, tmp_path).splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help of all names each command, and this test knows each."""
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    named = re.findall(r"^    (\w+) ", said, re.MULTILINE)
    assert [*COMMANDS] == named
    assert f"trubrics-trace {command}" in said


# Of the doctor, what other tests have imported is no business here: see `test_doctor.py`.
@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"doctor"}))
def test_empty_spool(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command works where nothing was ever recorded, and prints JSON or nothing."""
    monkeypatch.setenv("TRUBRICS_API_KEY", "test-key")
    arguments = [command, *COMMANDS[command], "--json"]
    assert 0 == main(arguments)
    for said in capsys.readouterr().out.splitlines():
        assert isinstance(json.loads(said), dict)


WRITING = """
import sys, threading
from trubrics_trace import stats, track_event
is_over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
track_event("Began", user_id="bob")
print("begun", flush=True)
while not is_over.wait(0.0002):
    track_event("Clicked", user_id="bob")
print(stats().accepted)
"""


def test_while_an_app_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command works while an app writes, and of what that wrote nothing is lost."""
    root = tmp_path / "spool"
    monkeypatch.setenv("TRUBRICS_API_KEY", "test-key")
    with subprocess.Popen(
        [sys.executable, "-c", WRITING],
        env=clean_environment(root),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as app:
        assert app.stdin is not None
        assert app.stdout is not None
        assert "begun" == app.stdout.readline().strip()
        for command, arguments in COMMANDS.items():
            if command != "doctor":  # of it, see `test_empty_spool`
                assert 0 == main([command, *arguments, "--json"]), command
        app.stdin.close()
        accepted = int(app.stdout.read())
    assert 0 == app.returncode
    capsys.readouterr()
    main(["status", "--json"])
    (local,) = json.loads(capsys.readouterr().out)["destinations"]
    assert (accepted, accepted) == (local["stored"], local["pending"])


def printed_on_a_terminal(*arguments: str, spool_dir: Path, **environment: str) -> str:
    """Return what a command prints where people look at it."""
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "trubrics_trace", *arguments],
        env=clean_environment(spool_dir, **{"TERM": "xterm", **environment}),
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    os.close(theirs)
    return seen_on(ours)


def seen_on(terminal: int) -> str:
    """Return all that was written to a terminal whose other end is closed."""
    seen = b""
    with contextlib.suppress(OSError):  # Linux says the end so
        while more := os.read(terminal, 65_536):
            seen += more
    os.close(terminal)
    return seen.decode()


def test_colours_are_for_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head is bold where people look at it, and plain where a program reads."""
    root = root_with(tmp_path, line(1))
    assert "\x1b[1mdestination" in printed_on_a_terminal("status", spool_dir=root)
    assert 0 == main(["status"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_not_wanted(environment: dict[str, str], tmp_path: Path) -> None:
    """A terminal that wants none gets no colours."""
    root = root_with(tmp_path, line(1))
    said = printed_on_a_terminal("status", spool_dir=root, **environment)
    assert "destination" in said
    assert "\x1b" not in said


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """A pipe that is closed early is no error, and nothing is said of it."""
    root = root_with(tmp_path, *(line(number, prompt="x" * 999) for number in range(500)))
    ended = subprocess.run(
        f"set -o pipefail; {sys.executable} -m trubrics_trace export | head -n 1",
        shell=True,
        executable="/bin/bash",
        env=clean_environment(root),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (0, b"", 1) == (ended.returncode, ended.stderr, ended.stdout.count(b"\n"))


def test_a_terminal_of_few_letters(tmp_path: Path) -> None:
    """What a terminal has no letters for is escaped."""
    root = root_with(tmp_path, line(1, prompt="où?"))
    ended = subprocess.run(
        [sys.executable, "-m", "trubrics_trace", "tail"],
        env=clean_environment(root, PYTHONIOENCODING="ascii"),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (0, True) == (ended.returncode, b"o\\xf9?" in ended.stdout)


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """Long work tells a terminal on stderr how far it is, twice a second, and its end."""
    ours, theirs = pty.openpty()
    clock = Clock()

    def work() -> Iterator[int]:
        for number in range(350):
            clock.now += 0.004
            yield number

    with os.fdopen(theirs, "w") as terminal, contextlib.redirect_stderr(terminal):
        assert [*range(350)] == list(counting(work(), Progress(clock=clock)))
    said = seen_on(ours)
    assert "\r200 records\r350 records\r\n" == said


def test_progress_of_what_is_summed_up() -> None:
    """It is told where the output goes to the same terminal, too: none comes meanwhile."""
    ours, theirs = pty.openpty()
    with (
        os.fdopen(theirs, "w") as terminal,
        contextlib.redirect_stderr(terminal),
        contextlib.redirect_stdout(terminal),
    ):
        assert [1, 2] == list(counting([1, 2], Progress(is_shown=True)))
        assert [1, 2, 3] == list(counting([1, 2, 3], Progress()))
    assert "\r3 records\r\n" == seen_on(ours)


def test_progress_towards_nothing() -> None:
    """Nothing is seen behind a number that has fewer digits than the one before."""
    ours, theirs = pty.openpty()
    clock = Clock()
    with os.fdopen(theirs, "w") as terminal, contextlib.redirect_stderr(terminal):
        progress = Progress(clock=clock)
        clock.now += 1
        progress.tell(1000, "left")
        progress.tell(999, "left")  # so soon that nobody could read it
        progress.end(9, "left")
    assert "\r1,000 left\r9 left    \r\n" == seen_on(ours)


def test_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody looks there is no progress."""
    assert [*range(350)] == list(counting(range(350), Progress()))
    assert "" == capsys.readouterr().err


def test_a_stream_of_an_apps_own() -> None:
    """A command called by a program prints to whatever that has for stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        assert 0 == main(["status"])
    assert "nothing has been recorded here" in stream.getvalue()
