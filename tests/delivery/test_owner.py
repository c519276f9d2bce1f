"""Who answers for segments: one process, for as long as its lock is held."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.parts import die, line, spool_in
from tests.process.program import output_of
from trubrics_trace import stats
from trubrics_trace.delivery._aside import read_aside
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._owner import (
    Owned,
    move,
    new_owner,
    orphans,
    recover,
    what_it_says,
)

TORN = b'{"kind":"prompt","rec'


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


def left_in(directory: Path, count: int = 1) -> str:
    """Let a process die with so many records; its name."""
    dead = spool_in(directory)
    for number in range(count):
        dead.put(line(number))
    [name] = dead.shares.held_names()
    die(dead)
    return name


def found_in(directory: Path) -> list[str]:
    """Return the name of each gone owner whose share can be taken over."""
    names: list[str] = []
    for owned in orphans(directory, ()):
        names.append(owned.name)
        owned.close()
    return names


def test_alive_while_the_lock_is_held(owned: Owned) -> None:
    """An owner is alive from its making until it lets go of its lock."""
    assert {"pid": os.getpid()} == what_it_says(owned.lock_path)
    owned.close()
    assert what_it_says(owned.lock_path) is None


def test_what_it_says(owned: Owned) -> None:
    """What an owner says of itself last is told, whatever it said before."""
    owned.say(last_error="x" * 100)
    owned.say(retries=3)
    assert {"pid": os.getpid(), "retries": 3} == what_it_says(owned.lock_path)


@pytest.mark.parametrize("said", [b"", b'{"pid', b"[]"])
def test_what_says_nothing(owned: Owned, said: bytes) -> None:
    """An owner that is just beginning, or says strange things, is alive."""
    owned.lock_path.write_bytes(said)
    assert {} == what_it_says(owned.lock_path)


def test_lock_that_is_gone(directory: Path) -> None:
    """A lock that is not there, or is no file, is held by nobody."""
    (directory / "folder.lock").mkdir()
    assert what_it_says(directory / "gone.lock") is None
    assert what_it_says(directory / "folder.lock") is None


def test_close_twice(owned: Owned) -> None:
    """A second close leaves alone what has the lock's number by then."""
    owned.close()
    other = os.open(owned.lock_path, os.O_RDONLY)
    owned.close()
    owned.say(last_error="nobody hears it")
    assert len(b'{"pid": }') < os.fstat(other).st_size
    assert b"nobody" not in owned.lock_path.read_bytes()
    os.close(other)


def test_segments_are_numbered(owned: Owned) -> None:
    """An owner's segments bear its name and a number, in the order of their making."""
    names = [owned.new_segment().path.name for _ in range(2)]
    assert [f"{owned.name}.000001.jsonl", f"{owned.name}.000002.jsonl"] == names


def test_released(owned: Owned) -> None:
    """A lock that is given back is deleted, but not while it has a segment."""
    owned.new_segment()
    owned.release()
    assert owned.lock_path.exists()
    owned.segments.clear()
    owned.release()
    assert not owned.lock_path.exists()
    owned.release()


def test_gone_owner(owned: Owned) -> None:
    """An owner says when a file was deleted or moved under it: its lock, its segment."""
    assert not owned.is_gone
    elsewhere = owned.lock_path.rename(owned.lock_path.with_name("elsewhere"))
    assert owned.is_gone
    elsewhere.rename(owned.lock_path)
    segment = owned.new_segment()
    assert not owned.is_gone
    segment.path.unlink()
    assert owned.is_gone


def test_directory_of_another(tmp_path: Path) -> None:
    """A directory that others may read has no owner of ours."""
    (tmp_path / "wide").mkdir(mode=0o755)
    with pytest.raises(OSError, match="wide is not ours alone"):
        new_owner(tmp_path / "wide")


def test_found_oldest_first(directory: Path) -> None:
    """What the dead left is found, oldest first; what the living hold is not."""
    names = [left_in(directory) for _ in range(3)]
    spool_in(directory).put(line("living"))
    assert names == found_in(directory)


def test_held_is_not_found(directory: Path) -> None:
    """What we hold ourselves is not looked for."""
    first, second = left_in(directory), left_in(directory)
    assert [second] == [owned.name for owned in orphans(directory, {first})]


def test_lock_that_was_deleted(directory: Path) -> None:
    """A share whose lock somebody deleted is found, and gets another lock."""
    name = left_in(directory)
    (directory / f"{name}.lock").unlink()
    assert [name] == found_in(directory)
    assert (directory / f"{name}.lock").exists()


def test_kept_is_not_found(directory: Path) -> None:
    """What is delivered, and kept to be read, is no orphan: it has no lock, either."""
    name = left_in(directory)
    (directory / f"{name}.lock").unlink()
    size = (directory / f"{name}.000001.jsonl").stat().st_size
    (directory / f"{name}.000001.ack").write_text(f"0 {size} 1 delivered\n")
    assert [] == found_in(directory)
    (directory / "gone.000001.jsonl").symlink_to("delivered meanwhile")
    assert [] == found_in(directory)


def test_lock_that_cannot_be_opened(directory: Path) -> None:
    """A lock that cannot be opened is passed over, and those behind it are taken."""
    (directory / "0.lock").mkdir()
    name = left_in(directory)
    assert [name] == found_in(directory)


def test_more_than_one_look(directory: Path) -> None:
    """However many the dead are, each is found once; who stops early holds none."""
    names = [left_in(directory) for _ in range(70)]
    looking = orphans(directory, ())
    first = next(looking)
    looking.close()  # type: ignore[attr-defined] # an iterator that is a generator
    assert names[0] == first.name
    first.close()
    assert names == found_in(directory)


def test_segment_that_comes_late(directory: Path) -> None:
    """What an owner made after it was seen first, and before its end, is taken as well."""
    names = [left_in(directory) for _ in range(65)]
    looking = orphans(directory, ())
    for _ in range(64):
        next(looking).close()
    late = directory / f"{names[-1]}.000002.jsonl"
    late.write_bytes(line("late"))
    [last] = looking
    assert late == last.segments[-1].path
    last.close()


def test_torn_tail_is_set_aside(directory: Path) -> None:
    """A line that its killed writer left unfinished is cut off, set aside and counted."""
    name = left_in(directory, 2)
    with (directory / f"{name}.000001.jsonl").open("ab") as file:
        file.write(TORN)
    [owned] = orphans(directory, ())
    assert (2, 2) == (recover(owned), owned.waiting)
    assert [("torn", TORN)] == [(one.reason, one.line) for one in read_aside(directory)]
    assert 1 == stats().noticed["torn_tail"]
    owned.close()


def test_zeros_at_the_end(directory: Path) -> None:
    """Zeros, as a loss of power leaves them, are cut off: nothing of them is kept."""
    name = left_in(directory, 2)
    with (directory / f"{name}.000001.jsonl").open("ab") as file:
        file.write(b"\0" * 4096)
    [owned] = orphans(directory, ())
    assert (2, []) == (recover(owned), read_aside(directory))
    owned.close()


def test_moved(directory: Path, tmp_path: Path) -> None:
    """A share is moved with its notes, and what was settled there stays so."""
    spool = spool_in(directory)
    for number in range(3):
        spool.put(line(number))
    with spool.lease(1, 2**30) as entries:
        assert entries
        spool.settle_delivered(entries)
    die(spool)
    [owned] = orphans(directory, ())
    move(owned, tmp_path / "new")
    assert [] == list(directory.iterdir())
    there = spool_in(tmp_path / "new")
    assert (2, 2) == (there.adopt(), there.pending)


def test_nothing_is_moved_to_a_shared_place(directory: Path, tmp_path: Path) -> None:
    """A share is not moved to where others may read it."""
    name = left_in(directory)
    (tmp_path / "wide").mkdir(mode=0o755)
    [owned] = orphans(directory, ())
    with pytest.raises(OSError, match="not ours alone"):
        move(owned, tmp_path / "wide")
    owned.close()
    assert [name] == found_in(directory)


def test_nothing_is_moved_onto_another(directory: Path, tmp_path: Path) -> None:
    """A share is not moved to where a living process holds one of its name."""
    name = left_in(directory)
    there = new_owner(tmp_path / "new")
    there.lock_path.rename(tmp_path / "new" / f"{name}.lock")
    [owned] = orphans(directory, ())
    with pytest.raises(OSError, match="holds a share of this name"):
        move(owned, tmp_path / "new")
    owned.close()
    there.close()
    assert [name] == found_in(directory)


def test_moved_in_part(directory: Path, tmp_path: Path) -> None:
    """What cannot be moved stays where it was, and is found there."""
    name = left_in(directory)
    late = directory / f"{name}.000002.jsonl"
    late.write_bytes(line("late"))
    assert make_private(tmp_path / "new")
    (tmp_path / "new" / late.name / late.name).mkdir(parents=True)
    [owned] = orphans(directory, ())
    with pytest.raises(OSError, match=late.name):
        move(owned, tmp_path / "new")
    assert [name] == found_in(directory)
    assert [late] == list(directory.glob("*.jsonl"))


def test_lock_that_is_adopted_at_once(tmp_path: Path) -> None:
    """A new lock that another process takes before it is held is left to that one."""
    program = """
        import fcntl, os, sys
        from pathlib import Path
        from trubrics_trace.delivery._owner import new_owner, what_it_says

        directory, taken = Path(os.environ["PLACE"]), []

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
        print([path == lock for path in directory.glob("*.lock")], what_it_says(lock))
        print(os.path.samestat(os.fstat(taken[0]), lock.stat()))
        print(len(os.listdir("/dev/fd")) - before)
        """
    said = output_of(program, tmp_path, PLACE=str(tmp_path / "destination"))
    assert "[True] {'pid':" == said[: len("[True] {'pid':")]
    assert ["False", "2"] == said.splitlines()[1:]


def test_file_system_without_locks(tmp_path: Path) -> None:
    """Where no file can be locked that is said soon, and no file is left behind."""
    program = """
        import os, sys
        from pathlib import Path
        from trubrics_trace.delivery._owner import new_owner

        def refuse(event, arguments):
            if event == "fcntl.flock":
                raise OSError("no locks here")

        directory = Path(os.environ["PLACE"])
        sys.addaudithook(refuse)
        try:
            new_owner(directory)
        except OSError as error:
            print(error, list(directory.iterdir()))
        """
    said = output_of(program, tmp_path, PLACE=str(tmp_path / "destination"))
    assert "no file can be locked in destination []" == said
