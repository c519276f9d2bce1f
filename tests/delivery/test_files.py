"""Open files of a spool: nobody else reads them, and no forked child keeps one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.process.program import output_of
from trubrics_trace.delivery import _files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a file may be made."""
    return tmp_path / "file"


def test_only_we_may_read_it(path: Path) -> None:
    """A file is readable by its owner alone, and no program that is started has it."""
    with _files.opened(path, os.O_RDWR | os.O_CREAT) as file:
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        assert not os.get_inheritable(file)


def test_closed_once(path: Path) -> None:
    """A second close leaves alone what has the file's number by then."""
    file = _files.open_private(path, os.O_RDWR | os.O_CREAT)
    _files.close(file)
    other = os.open(path, os.O_RDONLY)
    assert file == other
    _files.close(file)
    assert 0 == os.fstat(other).st_size
    os.close(other)


def test_file_that_cannot_be_opened(path: Path) -> None:
    """A file that cannot be opened is said, and nothing is left open."""
    with pytest.raises(FileNotFoundError), _files.opened(path, os.O_RDWR):
        pytest.fail("there is no file")
    with pytest.raises(OSError, match="file descriptor"):
        os.fstat(_files.CLOSED)


def test_one_holds_the_lock(path: Path) -> None:
    """A lock is held by one opening of a file, until that is closed."""
    flags = os.O_RDWR | os.O_CREAT
    with _files.opened(path, flags) as first:
        assert _files.is_locked_by_us(first, path)
        with _files.opened(path, flags) as second:
            assert not _files.is_locked_by_us(second, path)
    with _files.opened(path, flags) as third:
        assert _files.is_locked_by_us(third, path)


@pytest.mark.parametrize("is_replaced", [True, False])
def test_lock_of_a_file_that_is_not_there(path: Path, is_replaced: bool) -> None:
    """The lock of a file that was deleted, or replaced, locks nothing."""
    with _files.opened(path, os.O_RDWR | os.O_CREAT) as file:
        path.unlink()
        if is_replaced:
            path.write_text("another")
        assert not _files.is_locked_by_us(file, path)


def test_release_without_hold() -> None:
    """The end of a fork that began before anybody watched it is no fault."""
    _files.release()
    _files.hold()
    _files.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_child_has_no_file(tmp_path: Path) -> None:
    """A child has none of its parent's files, whatever other threads are opening."""
    program = """
        import os, sys, threading, warnings
        from pathlib import Path
        from trubrics_trace.delivery import _files

        warnings.simplefilter("ignore", DeprecationWarning)  # of forks among threads
        os.register_at_fork(
            before=_files.hold,
            after_in_parent=_files.release,
            after_in_child=_files.close_all,
        )
        place, is_over = Path(os.environ["PLACE"]), threading.Event()
        place.mkdir()

        def inherited():
            ours = {path.stat().st_ino for path in place.iterdir()}
            for file in range(3, 128):
                try:
                    if os.fstat(file).st_ino in ours:
                        yield file
                except OSError:
                    continue

        def open_and_close(path):
            while not is_over.is_set():
                with _files.opened(path, os.O_RDWR | os.O_CREAT) as file:
                    assert _files.is_locked_by_us(file, path)

        lock = place / "lock"
        held = _files.open_private(lock, os.O_RDWR | os.O_CREAT)
        assert _files.is_locked_by_us(held, lock)
        assert [held] == list(inherited())
        threads = [
            threading.Thread(target=open_and_close, args=(place / str(number),))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        found = set()
        for _ in range(40):
            child = os.fork()
            if child == 0:
                is_over.set()
                code = 1 if list(inherited()) else 0
                with _files.opened(place / "own", os.O_RDWR | os.O_CREAT):
                    os._exit(code)
            found.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        is_over.set()
        for thread in threads:
            thread.join()

        reading, writing = os.pipe()
        is_alive, living = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(living, b".")
            os.close(writing)
            os.read(reading, 1)  # it lives until its parent has asked
            os._exit(0)
        os.read(is_alive, 1)
        _files.close(held)
        with _files.opened(lock, os.O_RDWR) as again:
            print(found, _files.is_locked_by_us(again, lock))
        os.close(writing)
        os.waitpid(child, 0)
        """
    place = str(tmp_path / "place")
    assert "{0} True" == output_of(program, tmp_path, PLACE=place)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_child_of_a_file_that_was_closed(tmp_path: Path) -> None:
    """A child closes what it can; a number that somebody closed is passed over."""
    program = """
        import os
        from pathlib import Path
        from trubrics_trace.delivery import _files

        file = _files.open_private(Path(os.environ["PLACE"]), os.O_RDWR | os.O_CREAT)
        os.close(file)  # as an app that closes all numbers for a daemon
        _files.close_all()
        with _files.opened(Path(os.environ["PLACE"]), os.O_RDWR) as again:
            print(again == file)
        """
    assert "True" == output_of(program, tmp_path, PLACE=str(tmp_path / "file"))
