"""The channel to this machine: no connection, no copies where none are needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from parsl_pool import checks
from parsl_pool.errors import ChannelError, FileExists
from parsl_pool.providers.channels.base import (
    OUTPUT_LIMIT_BYTES,
    TIMED_OUT,
    Channel,
    CommandResult,
    copy_error,
    path_error,
)
from parsl_pool.providers.scripts import describe_failure

_LOOK_S = 0.02
_HERE = "this machine"


class LocalChannel(Channel):
    """Runs commands on this machine.

    Args:
        userhome: the directory in which commands start; where relative paths begin.
        envs: variables of the commands' environment, beside this process's own.
        script_dir: see `Channel`.
    """

    is_shared = True

    def __init__(
        self,
        userhome: str | os.PathLike[str] = ".",
        envs: Mapping[str, str] | None = None,
        script_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.userhome = os.path.abspath(checks.path("userhome", userhome))
        self.envs = {} if envs is None else checks.mapping("envs", envs)
        self.script_dir = checks.optional(checks.path)("script_dir", script_dir)

    @property
    def label(self) -> str:
        return _HERE

    def execute_wait(
        self, command: str, walltime: float | None = None, envs: Mapping[str, str] | None = None
    ) -> CommandResult:
        # Files, not pipes: what a command leaves in the background keeps a pipe open, and this would wait for it.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                    cwd=self.userhome, env={**os.environ, **self.envs, **(envs or {})}, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise ChannelError(f"cannot run {command!r}", describe_failure(error), _HERE) from error
            try:
                code = process.wait(walltime)
            except BaseException as problem:  # Ctrl-C too: nobody is left behind
                _end(process)
                if not isinstance(problem, subprocess.TimeoutExpired):
                    raise
                code = TIMED_OUT
            return CommandResult(code, _text(out.fileno()), _text(err.fileno()))

    def push_file(self, source: str | os.PathLike[str], dest_dir: str) -> str:
        target = os.path.join(self.abspath(dest_dir), os.path.basename(os.fspath(source)))
        if os.path.abspath(source) == target:
            return target
        try:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        except OSError as error:
            raise path_error("cannot make the directory", error, _HERE) from error
        return _copy(os.fspath(source), target)

    def pull_file(self, remote_source: str, local_dir: str | os.PathLike[str]) -> str:
        source = self.abspath(remote_source)
        target = os.path.join(os.path.abspath(local_dir), os.path.basename(source))
        if source == target:
            return target
        if os.path.exists(target):
            raise FileExists(f"{target} is there already: give another directory", "", _HERE)
        return _copy(source, target)

    def makedirs(self, path: str, mode: int = 0o700, exist_ok: bool = False) -> None:
        try:
            os.makedirs(self.abspath(path), mode, exist_ok)
        except FileExistsError as error:
            raise FileExists("cannot make the directory", describe_failure(error), _HERE) from error
        except OSError as error:
            raise path_error("cannot make the directory", error, _HERE) from error

    def isdir(self, path: str) -> bool:
        return os.path.isdir(self.abspath(path))

    def abspath(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.userhome, path))

    def open_reverse(self, port: int) -> int:
        """The same port: that machine is this one."""
        return port

    def close(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"LocalChannel(userhome={self.userhome!r}, envs={self.envs!r}, script_dir={self.script_dir!r})"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: gently, then by force."""
    for number in signal.SIGTERM, signal.SIGKILL:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + 1
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    process.wait()


def _text(file: int) -> str:
    size = os.fstat(file).st_size
    return os.pread(file, min(size, OUTPUT_LIMIT_BYTES), 0).decode(errors="replace")


def _copy(source: str, target: str) -> str:
    """Under another name first: who sees the file sees all of it."""
    part = f"{target}.{os.getpid()}.part"
    try:
        shutil.copyfile(source, part)
        shutil.copymode(source, part)
        os.replace(part, target)
    except OSError as error:
        Path(part).unlink(missing_ok=True)
        raise copy_error(f"cannot copy {source} to {target}", error, _HERE) from error
    return target
