"""Where the spool lies: the first place that is ours alone, or none.

Records hold what users asked, so a place counts only if nobody else can read it, and if
it is a real directory: a link in a shared place may point anywhere.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import SpoolError

_PRIVATE_DIRECTORY = 0o700
_NAME = "trubrics-trace"
MEMORY = ":memory:"  # no place at all, on purpose; SQLite's word for it


def spool_root(spool_dir: str | None) -> Path | None:
    """Return the spool's directory, made if need be; None if no place will do.

    The ladder: `SPOOL_DIR`, else the platform's state directory, else the temporary one.
    A `SPOOL_DIR` that cannot be used does not lead further down: it was said on purpose,
    and so was `:memory:`, which is no place.
    """
    return next((place for place in _rungs(spool_dir) if make_private(place)), None)


def existing_root(spool_dir: str | None) -> Path:
    """Return the spool's directory without making it: the first that exists.

    Where none does, the first of the ladder.

    Raises:
        SpoolError: It is the memory of a process.
    """
    if spool_dir == MEMORY:
        message = (
            f"the spool is {MEMORY}, which only the process that has it can read; name "
            "another with --spool-dir"
        )
        raise SpoolError(message)
    rungs = list(_rungs(spool_dir))
    return next((place for place in rungs if place.is_dir()), rungs[0])


def make_private(place: Path) -> bool:
    """Make the directory for us alone; whether it is now there, and ours."""
    try:
        place.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        return _is_private(place) and os.access(place, os.W_OK | os.X_OK)
    except (OSError, ValueError):  # a ValueError is a name that no file can have
        return False


def _is_private(place: Path) -> bool:
    """Whether it is a directory, no link, of ours, that nobody else can read."""
    state = place.lstat()
    is_ours = not hasattr(os, "getuid") or (
        state.st_uid == os.getuid() and stat.S_IMODE(state.st_mode) == _PRIVATE_DIRECTORY
    )
    return stat.S_ISDIR(state.st_mode) and is_ours


def _is_shared(place: Path) -> bool:
    """Whether it is a directory of ours or the system's, open to others too.

    Whoever else owns a directory could put another in the place of ours inside it.
    """
    try:
        state = place.lstat()
    except (OSError, ValueError):
        return False
    is_trusted = not hasattr(os, "getuid") or state.st_uid in (0, os.getuid())
    return stat.S_ISDIR(state.st_mode) and is_trusted and not _is_private(place)


def _rungs(spool_dir: str | None) -> Iterator[Path]:
    """Yield the ladder's places; for a shared one, a private one inside it.

    The mode of a directory that is there already is not ours to change: it may be a
    mounted volume, or /tmp.
    """
    if spool_dir == MEMORY:
        return
    for place in [Path(spool_dir).absolute()] if spool_dir else _ladder():
        yield place / _NAME if _is_shared(place) else place


def _ladder() -> Iterator[Path]:
    try:
        home = Path.home()
    except RuntimeError:  # no home: a container's user that no file names
        home = None
    state = state_directory(sys.platform, os.environ, home)
    if state is not None:
        yield state / _NAME
    user = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"{_NAME}-{user}"


def state_directory(
    platform: str, environment: Mapping[str, str], home: Path | None
) -> Path | None:
    """Return where a platform's programs keep their state; None if unknown."""
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(platform, "XDG_STATE_HOME")
    if said := environment.get(variable):
        return Path(said)
    if home is None or platform == "win32":
        return None
    if platform == "darwin":
        return home / "Library" / "Application Support"
    return home / ".local" / "state"
