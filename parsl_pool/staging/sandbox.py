"""Tasks in directories of their own: what runs where such a task does.

Files that the task names by relative paths mean what they mean without: inputs are found where they are, and outputs,
which it writes in its own directory, are moved to where they were to be when it has ended well. Then the directory
goes. If the task fails, or its process ends, it stays.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

from parsl_pool import portable
from parsl_pool.dataflow.traverse import with_replaced
from parsl_pool.files import File
from parsl_pool.interchange import own_directory, running_task, shell
from parsl_pool.staging.folders import made

ENVIRONMENT = ".environment"
"""What the name of the file ends in that has the environment: as commands of a shell, beside the directory."""


class Terms(NamedTuple):
    """What is said of one task's directory.

    Attributes:
        base: its path, but for the number of the try.
        stdout, stderr: where the output of a function goes; None: nothing is done about it.
        is_entered: the process goes there.
    """

    base: str
    stdout: Any
    stderr: Any
    is_entered: bool


def run(fn: Callable[..., Any], terms: Terms, written: Sequence[File], /, *args: Any, **kwargs: Any) -> Any:
    """Call the function in a directory of its own. written: those among the arguments that it is to write."""
    path = _new(own_directory.of_try(terms.base, running_task.current().try_number))
    _write_environment(path + ENVIRONMENT)
    directory = own_directory.OwnDirectory(path, terms.is_entered)
    arrivals: list[tuple[str, str]] = []
    outputs = {id(file) for file in written}

    def placed(file: File) -> File:
        if file.scheme != "file" or file.local_path is not None or os.path.isabs(file.path):
            return file
        mine, there = file.cleancopy(), os.path.join(directory.home, file.path)
        mine.local_path = there
        if id(file) in outputs:
            mine.local_path = os.path.join(path, file.path)
            arrivals.append((mine.local_path, there))
            made(os.path.dirname(mine.local_path))
        return mine

    args, kwargs = with_replaced((args, kwargs), File, placed)
    process = os.getpid()
    with own_directory.entered(directory), _output_in(terms):
        value = fn(*args, **kwargs)
    if os.getpid() == process:  # else the function has forked this one, and it ends now
        for source, target in sorted(arrivals, key=_is_no_link):  # a link, before what it leads to is gone
            _move(source, target)
        _remove(path)
    return value


def _new(path: str) -> str:
    """A new directory of that name. Raises OSError, which names it."""
    parent, name, others, times = os.path.dirname(path), path, 1, 0
    while True:
        made(parent)
        try:
            os.mkdir(name, 0o700)
            return name
        except FileExistsError:  # of a try that is thought lost, and may still be at work
            others += 1
            name = f"{path}_{others}"
        except FileNotFoundError:  # another task has just removed the one above it, which was empty for a moment
            times += 1
            if times > 1000:
                raise


def _write_environment(path: str) -> None:
    known = {**os.environ, **running_task.environment()}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in known.items() if name.isidentifier()]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", errors="surrogateescape") as file:
        file.writelines(lines)


# ---- what a function prints


@contextmanager
def _output_in(terms: Terms) -> Iterator[None]:
    """Standard output and error of this process go to these files, those of what it starts too."""
    with ExitStack() as stack:
        out = shell.opened(terms.stdout, "stdout")
        if out is not None:
            stack.enter_context(out)
            stack.enter_context(_instead_of(1, out.fileno()))
        err = out if terms.stderr == terms.stdout else shell.opened(terms.stderr, "stderr")
        if err is not None:
            stack.enter_context(err)
            stack.enter_context(_instead_of(2, err.fileno()))
        yield


@contextmanager
def _instead_of(number: int, file: int) -> Iterator[None]:
    _flush()
    before = os.dup(number)
    try:
        os.dup2(file, number)
        yield
    finally:
        _flush()
        os.dup2(before, number)
        os.close(before)


def _flush() -> None:
    """What was printed is written, by Python and by libraries in C."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed or replaced by the user
            stream.flush()
    if portable.is_linux():  # elsewhere what such a library has printed may come later, and to another place
        with suppress(ImportError, OSError, AttributeError):  # a Python without it
            import ctypes  # only for such tasks

            ctypes.CDLL(None).fflush(None)


# ---- the end


def _is_no_link(arrival: tuple[str, str]) -> bool:
    return not os.path.islink(arrival[0])


def _move(source: str, target: str) -> None:
    """Put it there, whole or not at all. Raises OSError."""
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    if not os.path.islink(source):
        with suppress(OSError):  # another file system, or what the next step tells
            os.replace(source, target)
            return
    half = f"{target}.{os.getpid()}.part"
    try:
        _copy(source, half)
        os.replace(half, target)
    except BaseException:  # passed on; nothing is to be left of it
        _discard(half)
        raise


def _copy(source: str, target: str) -> None:
    """A file, or a folder with all in it, and their modes; links in a folder stay links."""
    if not os.path.isdir(source):
        shutil.copy(source, target)
        return
    os.mkdir(target)
    for entry in os.scandir(source):
        there = os.path.join(target, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), there)
        else:
            _copy(entry.path, there)
    shutil.copymode(source, target)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path + ENVIRONMENT)
    _discard(path)
    with suppress(OSError):  # others are in it
        os.rmdir(os.path.dirname(path))


def _discard(path: str) -> None:
    """Remove a file or a directory, whatever rights what is in it has."""
    with suppress(OSError):
        os.unlink(path)
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.isdir(path):
        os.chmod(path, 0o700)
        for folder, inner, _ in os.walk(path):
            for name in inner:  # before it is looked into
                with suppress(OSError):
                    if not os.path.islink(os.path.join(folder, name)):
                        os.chmod(os.path.join(folder, name), 0o700)
        shutil.rmtree(path, ignore_errors=True)
