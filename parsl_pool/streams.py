"""Where the standard output and error of a task go, as a call says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import BadStdStreamFile, shown
from parsl_pool.files import File

AUTO_LOGNAME = -1
"""As stdout= or stderr= of a bash app: a file in the run directory, named after the task."""

Stream = str | File | tuple[str | File, str] | None
"""Where stdout or stderr goes: a file, or one and a mode as for `open`."""

_STREAM = checks.Rule("a path, (path, mode as for open), or AUTO_LOGNAME", "", checks.path._accept)


def stream_of(special: Mapping[str, Any], name: str, automatic: Callable[[str], Any]) -> Stream:
    """Where stdout or stderr goes: a path or File, one of these and a mode, or None.

    Args:
        automatic: makes up the path for AUTO_LOGNAME.

    Raises:
        BadStdStreamFile: it is nothing of these.
    """
    given = special.get(name)
    if given is None:
        return None
    if given == AUTO_LOGNAME and isinstance(given, int):
        given = automatic(name)
    mode = None
    if isinstance(given, (tuple, list)):
        if len(given) != 2:
            raise BadStdStreamFile(f"{name} as a tuple is (path, mode), got {shown(given)}")
        given, mode = given
        if not isinstance(mode, str):
            raise BadStdStreamFile(f"{name} as a tuple is (path, mode as for open), got the mode {shown(mode)}")
    if isinstance(given, File):
        file = given.cleancopy()
        return file if mode is None else (file, mode)
    try:
        path = _STREAM(name, given)
    except ValueError as problem:
        raise BadStdStreamFile(str(problem)) from None
    return path if mode is None else (path, mode)


def path_of(stream: Stream) -> str | File | None:
    """The path or File in what `stream_of` gives."""
    return stream[0] if isinstance(stream, tuple) else stream


def named(task: int, name: str, label: str) -> str:
    """What files of a task are called."""
    return "_".join(filter(None, [f"task_{task:04}", _printable(name), _printable(label)]))


def _printable(text: str) -> str:
    """As much of it as can stand in the name of a file."""
    return "".join(character if character.isalnum() or character in "-." else "_" for character in text)[:80]
