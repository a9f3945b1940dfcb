"""What bash apps, and apps that name output files, do where the task runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from parsl_pool import portable
from parsl_pool.errors import (
    AppBadFormatting,
    AppTimeout,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
    described,
    shown,
)
from parsl_pool.interchange import own_directory, running_task

_TAIL = 2048  # bytes of standard error that an error tells

Path = str | os.PathLike[str]
Stream = Path | tuple[Path, str] | None

if TYPE_CHECKING:
    import subprocess


class Children:
    """The shell commands of a task that runs in a thread, so that another thread can end them. Each has a process
    group of its own, which takes what it has started with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._running: set[subprocess.Popen[Any]] = set()
        self._is_over = False

    def start(self, *command: Any, **options: Any) -> subprocess.Popen[Any]:
        """As Popen. Raises AppTimeout after `kill`."""
        import subprocess  # only where there are shell commands

        with self._lock:
            if self._is_over:
                raise AppTimeout("its time was over before its command began")
            shell = subprocess.Popen(*command, **options, start_new_session=True)
            self._running.add(shell)
            return shell

    def wait(self, shell: subprocess.Popen[Any]) -> int:
        """Its exit code, when it has ended."""
        if not portable.has(os, "waitid"):
            code = shell.wait()
            with self._lock:
                self._running.discard(shell)
            return code
        os.waitid(os.P_PID, shell.pid, os.WEXITED | os.WNOWAIT)  # its number is still its own, and its group's
        with self._lock:
            self._running.discard(shell)
            return shell.wait()

    def kill(self) -> None:
        """End those that run, and start no more."""
        with self._lock:
            self._is_over = True
            for shell in self._running:
                with suppress(ProcessLookupError, PermissionError):  # PermissionError: it is another user's by now
                    os.killpg(shell.pid, signal.SIGKILL)


class _ChildrenOfThisThread(threading.local):
    are: Children | None = None


children_of_this_thread = _ChildrenOfThisThread()
"""Those of the task that runs in this thread, if it has a walltime there. In a worker process there are none: it is
ended with all that it has started."""


def run_command(
    function: Callable[..., Any],
    name: str,
    stdout: Stream,
    stderr: Stream,
    outputs: Sequence[Any],
    /,
    *args: Any,
    **kwargs: Any,
) -> int:
    """Have the function make up a command line, and a shell run it.

    Args:
        name: of the app.
        stdout, stderr: files for its output: a path, or a path and a mode as for `open`; None: those of the process.
        outputs: paths of files that must be there afterwards.

    Returns:
        0, the exit code.

    Raises:
        AppBadFormatting: the function has failed; its error is the cause.
        BashAppNoReturn: it has returned no text.
        BadStdStreamFile: a file can't be opened.
        BashExitFailure: the command's exit code is not 0.
        MissingOutputs: a file is missing.
    """
    try:
        command = function(*args, **kwargs)
    except Exception as error:  # the user's
        text = f"bash app {name} failed to make up its command line: {described(error)}"
        raise AppBadFormatting(text) from error
    if not isinstance(command, str):
        text = f"bash app {name} must return its command line as a text, and returned {shown(command, 200)}"
        raise BashAppNoReturn(text)
    code, words = _in_shell(command, stdout, stderr)
    if code:
        raise BashExitFailure(name, code, words)
    check_outputs(name, outputs)
    return 0


def run_with_outputs(
    function: Callable[..., Any], name: str, outputs: Sequence[Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Call the function, and see that it has written its files. Raises MissingOutputs, and what it raises."""
    value = function(*args, **kwargs)
    check_outputs(name, outputs)
    return value


def check_outputs(name: str, outputs: Sequence[Any]) -> None:
    """Raise MissingOutputs if any of these files is not there."""
    missing = [path for path in map(os.fspath, outputs) if not os.path.exists(path)]
    if missing:
        raise MissingOutputs(f"app {name} ended well, and has not written", missing)


def _in_shell(command: str, stdout: Stream, stderr: Stream) -> tuple[int, str]:
    """Run it. Its exit code, and the last words of its standard error if they are in a file."""
    import subprocess  # only where there are shell commands

    out = opened(stdout, "stdout")
    try:
        err = out if stderr is not None and stderr == stdout else opened(stderr, "stderr")
    except BaseException:  # passed on; the other file must not stay open
        _close(out)
        raise
    try:
        options: dict[str, Any] = {
            "shell": True, "executable": _SHELL, "stdin": subprocess.DEVNULL, "stdout": out, "stderr": err,
            "close_fds": True, "env": {**os.environ, **running_task.environment()},
            "cwd": own_directory.for_commands(),
        }  # fmt: skip
        children = children_of_this_thread.are
        if children is not None:
            code = children.wait(children.start(command, **options))
        else:
            # In our own process group: whoever ends the worker, as for a walltime, ends all of the command with it.
            code = subprocess.Popen(command, **options).wait()
    finally:
        _close(out)
        _close(err)
    return code, _tail(stderr) if code else ""


_SHELL = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"


def opened(stream: Stream, what: str) -> IO[Any] | None:
    """The file of a task's stdout or stderr, if it has one. Raises BadStdStreamFile."""
    if stream is None:
        return None
    path, mode = stream if isinstance(stream, tuple) else (stream, "a+")
    try:
        path = own_directory.from_home(path)
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        return open(path, mode)
    except (OSError, ValueError, TypeError) as problem:
        raise BadStdStreamFile(f"{what} can't be written to {stream!r}: {problem}") from problem


def _close(file: IO[Any] | None) -> None:
    if file is not None:
        file.close()


def _tail(stream: Stream) -> str:
    if stream is None:
        return ""
    try:
        with open(own_directory.from_home(stream[0] if isinstance(stream, tuple) else stream), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
