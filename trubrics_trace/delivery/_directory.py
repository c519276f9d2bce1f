"""Where the spool lies: the first place that is ours alone, or none.

Records hold what users asked, so a place counts only if nobody else can read it, and if
it is a real directory: a link in a shared place may point anywhere.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PRIVATE_DIRECTORY = 0o700
_NAME = "trubrics-trace"


def spool_root(spool_dir: str | None) -> Path | None:
    """Return the spool's directory, made if need be; None where no place will do.

    The ladder: `SPOOL_DIR`, else the platform's state directory, else the temporary one.
    A `SPOOL_DIR` that cannot be used does not lead further down: it was said on purpose.
    """
    candidates = candidate_roots(spool_dir)
    return next((place for place in candidates if make_private(place)), None)


def candidate_roots(spool_dir: str | None) -> list[Path]:
    """Return the places that the ladder would try, without making any."""
    return [Path(spool_dir).absolute()] if spool_dir else list(_ladder())


def make_private(place: Path) -> bool:
    """Make the directory for us alone; whether it is now there and ours."""
    try:
        place.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        state = place.lstat()
        if not stat.S_ISDIR(state.st_mode):
            return False
        if hasattr(os, "getuid"):
            if state.st_uid != os.getuid():
                return False
            if stat.S_IMODE(state.st_mode) != _PRIVATE_DIRECTORY:
                place.chmod(_PRIVATE_DIRECTORY)
        return os.access(place, os.W_OK | os.X_OK)
    except (OSError, ValueError):  # a ValueError is a name that no file can have
        return False


def _ladder() -> Iterator[Path]:
    try:
        home = Path.home()
    except RuntimeError:  # no home: a container's user that no file names
        home = None
    if sys.platform == "win32":
        if local := os.environ.get("LOCALAPPDATA"):
            yield Path(local) / _NAME
    elif sys.platform == "darwin":
        if home is not None:
            yield home / "Library" / "Application Support" / _NAME
    elif state_home := os.environ.get("XDG_STATE_HOME"):
        yield Path(state_home) / _NAME
    elif home is not None:
        yield home / ".local" / "state" / _NAME
    user = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"{_NAME}-{user}"
