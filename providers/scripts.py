"""The script that a block runs: its text, and the file it goes into."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shlex
from pathlib import Path

from parsl_pool import checks
from parsl_pool.errors import ScriptPathError

_NAME_LENGTH = 80  # in characters, so that name, number and suffix stay below the 255 bytes of a file name
_numbers = itertools.count(1)  # one for all providers of a process: several may share a directory


_LEAVE_EXIT_CODE = """\
parsl_pool_leave() {{
    parsl_pool_code=$?
    echo "$parsl_pool_code $SECONDS" >{file}.part && mv {file}.part {file}
}}
trap parsl_pool_leave EXIT
"""


def script_text(
    *, shell: str, job_name: str, worker_init: str, body: str, directives: str = "", exit_file: str = ""
) -> str:
    """A whole script: the scheduler's directives, if any, then `worker_init`, then what the launcher gave.

    On SIGTERM the shell ends once the command that it waits for has, and starts nothing more. Its last act, unless
    it is killed, is to write into `exit_file` its exit code and, in bash, for how many seconds it has run.
    """
    leave = ""
    if exit_file:
        leave = _LEAVE_EXIT_CODE.format(file=shlex.quote(exit_file))
        body = f"(\n{body}\n)"  # an `exec` in it must not replace the shell that has the last word
    # The empty lines keep a backslash at the end of worker_init from swallowing what follows.
    return (
        f"#!{shell}\n"
        f"{directives}"
        "trap 'exit 143' TERM\n"
        f"{leave}"
        f"export JOBNAME={shlex.quote(job_name)}\n"
        f"\n{worker_init}\n"
        f"\n{body}\n"
    )


def write_script(
    directory: str | os.PathLike[str], job_name: str, text: str, *, suffix: str = ""
) -> Path:
    """A new file in `directory` that only its owner can read, write and run.

    Its name is `job_name` and `suffix`; with none, a number stands in between which makes the name without ".sh"
    unique among this directory's scripts and this process's.

    Raises:
        ScriptPathError: the directory or the file cannot be made; no file is left.
    """
    stem = re.sub(r"[^\w.-]", "_", job_name)[:_NAME_LENGTH].lstrip(".-") or "job"
    path = Path(directory)
    try:
        # Absolute, since the client may change its directory while blocks run.
        path = Path(os.path.abspath(directory))
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path, file = _open(path / f"{stem}{suffix}") if suffix else _create(path, stem)
        try:
            with open(file, "wb") as out:
                os.fchmod(file, 0o700)  # whatever the umask is
                out.write(text.encode("utf-8", "surrogateescape"))
        except BaseException:  # Ctrl-C too: half a script is worse than none
            path.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise ScriptPathError(str(path), describe_failure(error)) from error
    return path


def _create(directory: Path, stem: str) -> tuple[Path, int]:
    while True:
        try:
            return _open(directory / f"{stem}.{next(_numbers)}.sh")
        except FileExistsError:  # another process uses the directory: the next number
            continue


def _open(path: Path) -> tuple[Path, int]:
    return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)


def describe_failure(error: Exception) -> str:
    """An error in words, with the name of its errno: ``"No space left on device (ENOSPC)"``."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
    return f"{error.strerror} ({errno.errorcode.get(error.errno, error.errno)}){where}"


def scripts_named(script_dir: str | os.PathLike[str] | None, start: str) -> list[str]:
    """The names, without ``.sh``, of the scripts there that begin so."""
    try:
        names = sorted(os.listdir(script_dir or "."))
    except OSError:
        return []
    return [name.removesuffix(".sh") for name in names if name.startswith(start) and name.endswith(".sh")]


def _lines(text: str) -> str:
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            raise ValueError(f"{line!r} does not begin with #SBATCH, #PBS or the like; shell belongs into worker_init")
    return text


_LINES = checks.Rule("lines of directives", "", _lines)


def directive_lines(name: str, value: object) -> str:
    """A text of which each line begins with a ``#``: schedulers read no directive after the first that does not."""
    return _LINES(name, checks.any_text(name, value))
