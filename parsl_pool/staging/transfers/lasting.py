"""What is known of files, and parts of files, that a fetch has left for the next one, which may be another process's.

Only in folders with a certain mark: whoever has put it there sees to it that one fetch at a time has the folder. There,
the part of a file stays when who brought it is killed, and beside it is said of which version of the file it is. The
same is said of the whole file, so that a server can be asked whether it still is what it has.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from parsl_pool import portable

MARK = ".fetching"
PART = ".part"
PART_S_VERSION = ".part-of"

OWN = frozenset({MARK, PART, PART_S_VERSION})
"""The names that mean something there, beside that of the file."""
NOTES = frozenset({MARK, PART_S_VERSION})
"""Those of them that only say something of another one."""

_LONGEST = 1 << 16


def is_mine(descriptor: int) -> bool:
    """Take the part for this process. False: it is somebody's who still writes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def record_part(part: Path, version: str) -> None:
    """The part is of this version of the file. Raises OSError."""
    _write(_beside(part, PART_S_VERSION), {"version": version, "boot": _boot()})


def part_s_version(part: Path) -> str:
    """Of which version the part is; "": nobody can say.

    Nor if the machine was started anew since, or another one wrote it, for then the system may not have written all of
    it: a hole may be where its bytes were.
    """
    said = _read(_beside(part, PART_S_VERSION))
    return str(said.get("version", "")) if said.get("boot") == _boot() != "" else ""


def forget_part_s_version(part: Path) -> None:
    """What is there is none any more. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(_beside(part, PART_S_VERSION))


def record(target: Path, version: str) -> None:
    """The file is of this version. Raises OSError."""
    state = os.stat(target)
    # Into the mark: to make another file takes longer than all the rest.
    _write(_beside(target, MARK), {"version": version, "file": [state.st_ino, state.st_size, state.st_mtime_ns]})


def version_of(target: Path) -> str:
    """Of which version the file is; "": nobody can say. Nor if it was changed since it came."""
    try:
        state = os.stat(target)
    except OSError:
        return ""
    said = _read(_beside(target, MARK))
    is_it = said.get("file") == [state.st_ino, state.st_size, state.st_mtime_ns]
    return str(said.get("version", "")) if is_it else ""


def _beside(path: Path, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)


def _write(path: str, said: dict[str, object]) -> None:
    """In one piece: a process that is killed leaves all of it, or what is no JSON."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        os.write(file, json.dumps(said).encode())
    finally:
        os.close(file)


def _read(path: str) -> dict[str, object]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        said = json.loads(os.read(file, _LONGEST))
    except (OSError, ValueError):
        return {}
    finally:
        os.close(file)
    return said if isinstance(said, dict) else {}


@lru_cache(maxsize=1)
def _boot() -> str:
    """Tells this start of this machine from all others; "": nothing does."""
    if not portable.has_proc():
        return ""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
