"""Who answers for segments: one process, for as long as its lock is held."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.parts import line, spool_in
from tests.process.program import run_program
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._owner import Owned, is_owner_alive, new_owner, orphans


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory that is ours alone."""
    place = tmp_path / "destination"
    assert make_private(place)
    return place


@pytest.fixture
def owned(directory: Path) -> Iterator[Owned]:
    """Return an owner's empty share."""
    made = new_owner(directory)
    yield made
    made.close()


def test_alive_while_the_lock_is_held(owned: Owned) -> None:
    """An owner is alive from its making until it lets go of its lock."""
    assert is_owner_alive(owned.lock_path)
    owned.close()
    assert not is_owner_alive(owned.lock_path)


def test_close_twice(owned: Owned) -> None:
    """A second close leaves alone what has the lock's number by then."""
    owned.close()
    other = os.open(owned.lock_path, os.O_RDONLY)
    owned.close()
    assert 0 == os.fstat(other).st_size
    os.close(other)


def test_lock_that_is_gone(directory: Path) -> None:
    """A lock that is not there is held by nobody."""
    assert not is_owner_alive(directory / "gone.lock")


def test_lock_that_cannot_be_opened(directory: Path) -> None:
    """A lock that cannot be opened is passed over, and those behind it are taken."""
    (directory / "0.lock").mkdir()
    dead = spool_in(directory)
    dead.put(line("left"))
    dead.let_go()
    [(taken, waiting)] = orphans(directory, set())
    assert 1 == waiting
    assert is_owner_alive(taken.lock_path)
    taken.close()


def test_lock_that_is_adopted_at_once(tmp_path: Path) -> None:
    """A new lock that another process takes before it is held is left to that one."""
    program = """
        import fcntl, os, sys
        from pathlib import Path
        from trubrics_trace.delivery._owner import is_owner_alive, new_owner

        directory, taken = Path(sys.argv[1]), []

        def take_first(event, arguments):
            # The moment between the making of a file and its locking.
            if event == "fcntl.flock" and not taken:
                [path] = directory.glob("*.lock")
                taken.append(os.open(path, os.O_RDWR))
                fcntl.flock(taken[0], fcntl.LOCK_EX)

        before = len(os.listdir("/dev/fd"))
        sys.addaudithook(take_first)
        owned = new_owner(directory)
        lock = owned.lock_path
        print(len(list(directory.glob("*.lock"))), is_owner_alive(lock))
        print(os.path.samestat(os.fstat(taken[0]), lock.stat()))
        print(len(os.listdir("/dev/fd")) - before)
        """
    ended = run_program(program, tmp_path, str(tmp_path / "destination"))
    assert ["2", "True", "False", "2"] == ended.stdout.split(), ended.stderr
