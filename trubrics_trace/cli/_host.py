"""What goes wrong with the machine: file systems, forks, clocks."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import re
import time
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from .. import _clock
from ..delivery._reader import Kept

_MOUNTS = Path("/proc/self/mountinfo")
_PROCESSES = Path("/proc")
_LOOK_AGAIN_SECONDS = 0.2  # whoever only looks at a lock has let go of it by then
_FAR_OFF_SECONDS = 60.0
_TIMEOUT_SECONDS = 5.0

# Whose locks may outlive their owner, and whose writes wait for a network.
_NETWORKS = frozenset(
    (
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    )
)


def faults_of_place(place: Path, mounts: str | None = None) -> Iterator[str]:
    """Yield what is wrong with the file system that a spool is on.

    Args:
        mounts: As Linux tells them in `/proc/self/mountinfo`, by default this machine's;
            other systems tell nothing here.
    """
    if mounts is None:
        mounts = _MOUNTS.read_text(errors="replace") if _MOUNTS.exists() else ""
    kind, is_read_only = _mount_of(place, mounts)
    if kind in _NETWORKS:
        yield (
            f"the spool is on a network file system ({kind}), where a write may take long "
            "and a lock may outlive its owner; set TRUBRICS_TRACE_SPOOL_DIR to a local disk"
        )
    if is_read_only:
        yield (
            f"the spool's file system ({kind}) is read-only, so records stay in memory and "
            "are lost with the process; set TRUBRICS_TRACE_SPOOL_DIR to one that is not"
        )


def _mount_of(place: Path, mounts: str) -> tuple[str, bool]:
    """Return a place's kind of file system, and whether it is read-only."""
    found, kind, is_read_only = "", "", False
    resolved = f"{place.resolve()}/"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        if len(words) < 6 or len(rest) < 1:
            continue
        # proc(5): a space in a name is `\040`.
        at = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4])
        if resolved.startswith(f"{at.rstrip('/')}/") and len(at) >= len(found):
            options = {*words[5].split(","), *rest[-1].split(",")}
            found, kind, is_read_only = at, rest[0], "ro" in options
    return kind, is_read_only


def faults_of_forks(root: Path) -> Iterator[str]:
    """Yield each share of a spool that several processes hold: a fork unseen.

    A child of `os.fork` lets go of what it inherits; one that was forked without Python's
    knowledge does not, writes where its parent writes, and keeps its lock when it is dead.
    """
    holders = _holders_of_locks(root)
    if any(len(pids) > 1 for pids in holders.values()):
        time.sleep(_LOOK_AGAIN_SECONDS)
        again = _holders_of_locks(root)
        for path, pids in sorted(holders.items()):
            both = sorted(pids & again.get(path, set()))
            if len(both) > 1:
                yield (
                    f"the processes {', '.join(map(str, both))} hold one share of the "
                    "spool: a server has forked without telling Python; under uWSGI set "
                    "lazy-apps or py-call-osafterfork, else load the app after the fork"
                )


def _holders_of_locks(root: Path) -> dict[str, set[int]]:
    """Return which processes have each lock open, where the system tells."""
    holders: dict[str, set[int]] = {}
    start = f"{root.resolve()}/"
    for process in _PROCESSES.glob("[0-9]*"):
        for path in _open_in(process):
            if path.startswith(start) and path.endswith(".lock"):
                holders.setdefault(path, set()).add(int(process.name))
    return holders


def _open_in(process: Path) -> list[str]:
    paths = []
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        for file in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                paths.append(str(file.readlink()))
    return paths


def faults_of_uwsgi(directory: Path) -> Iterator[str]:
    """Yield what an ini file of uWSGI in a directory leaves out."""
    for path in sorted(directory.glob("*.ini")):
        parser = configparser.ConfigParser(
            strict=False, allow_no_value=True, interpolation=None
        )
        try:
            parser.read_string(path.read_text())
        except (OSError, ValueError, configparser.Error):
            continue
        if not parser.has_section("uwsgi"):
            continue
        said = {name.replace("_", "-") for name in parser.options("uwsgi")}
        if said.isdisjoint(("enable-threads", "threads")):
            yield (
                f"{path.name} leaves uWSGI without threads, so nothing is sent; "
                "set enable-threads = true"
            )
        if said & {"processes", "workers", "cheaper"} and said.isdisjoint(
            ("lazy-apps", "lazy", "py-call-osafterfork", "py-call-uwsgi-fork-hooks")
        ):
            yield (
                f"{path.name} lets uWSGI fork its workers without telling Python, so they "
                "share what one process should hold; set lazy-apps = true, or "
                "py-call-osafterfork = true"
            )


def faults_of_clock(records: Iterable[Kept], now: float) -> Iterator[str]:
    """Yield it where records began later than now."""
    ahead = max((kept.began or now for kept in records), default=now) - now
    if ahead > _FAR_OFF_SECONDS:
        yield (
            f"a record began {_told(ahead)} from now: this clock is behind, or the one it "
            "was made by ahead; let a time service set both"
        )


def faults_of_clock_beside(host: str) -> Iterator[str]:
    """Yield how far the clock is from that of a server, or that none answers."""
    date = _date_at(host)
    if date is None:
        yield f"{urlsplit(host).netloc} does not answer from here, so nothing is delivered"
        return
    apart = _clock.wall_seconds() - date
    if abs(apart) > _FAR_OFF_SECONDS:
        yield (
            f"the clock is {_told(abs(apart))} {'ahead of' if apart > 0 else 'behind'} the "
            f"one of {urlsplit(host).netloc}; let a time service set it"
        )


def _date_at(host: str) -> float | None:
    """Return a server's date, whatever else it answers; it gets no key."""
    url = urlsplit(host)
    is_safe = url.scheme == "https"
    kind = http.client.HTTPSConnection if is_safe else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("HEAD", url.path or "/")
        said = connection.getresponse().getheader("Date")
        return parsedate_to_datetime(said).timestamp() if said else None
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return None
    finally:
        connection.close()


def _told(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
