"""Files over an SSH connection: whole or not at all.

A file is written under another name, its size and checksum are compared with those on the other side, and then it
gets its name at once.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko

from parsl_pool.errors import ChannelError, FileCopyException, FileExists, SSHException, described
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.channels.base import CommandResult, copy_error, path_error
from parsl_pool.providers.channels.ssh_connection import Connection

log = careful_logger(__name__)

Run = Callable[[str], CommandResult]
"""Runs a command there."""

_PIECE = 1 << 20
_SUM = "(sha256sum || shasum -a 256 || openssl dgst -sha256 -r) 2>/dev/null <{path} | cut -c1-64"
_WRONG = 3  # an exit code of ours


@contextmanager
def sftp(
    connection: Connection, session: paramiko.Channel, silence_s: float
) -> Iterator[paramiko.SFTPClient]:
    """A new session for files, which ends with the block. silence_s: how long one step may take.

    Raises:
        SSHException: there is none, or the connection was cut.
        FileCopyException: that machine has no SFTP.
    """
    try:
        session.settimeout(silence_s)
        try:
            session.invoke_subsystem("sftp")
            client = paramiko.SFTPClient(session)
        except (paramiko.SSHException, EOFError, OSError) as problem:
            if not connection.is_alive:
                raise _cut(connection, problem) from problem
            raise FileCopyException("it takes no files (its sshd has no sftp)", described(problem), connection.name
                                    ) from problem  # fmt: skip
        try:
            yield client
        except TimeoutError as problem:
            connection.close()
            raise _cut(connection, problem) from problem
        except (paramiko.SSHException, EOFError) as problem:
            raise _cut(connection, problem) from problem
        except OSError as problem:
            if connection.is_alive:
                raise
            raise _cut(connection, problem) from problem
    finally:
        session.close()


def _cut(connection: Connection, problem: BaseException) -> SSHException:
    return SSHException("the connection was cut", described(problem), connection.name)


def make_directories(client: paramiko.SFTPClient, path: str, mode: int, exist_ok: bool, name: str) -> None:
    """Make a directory there, and those above it. Raises ChannelError."""
    kind = _kind(client, path)
    if kind is not None:
        if kind == stat.S_IFDIR and exist_ok:
            return
        raise FileExists(f"cannot make the directory {path}", "it is there already", name)
    above = posixpath.dirname(path)
    if above != path and _kind(client, above) is None:
        make_directories(client, above, mode, True, name)
    try:
        client.mkdir(path, mode)
        client.chmod(path, mode)  # whatever the umask there is
    except OSError as problem:
        if exist_ok and _kind(client, path) == stat.S_IFDIR:
            return  # somebody else was quicker
        raise path_error(f"cannot make the directory {path}", problem, name) from problem


def is_directory(client: paramiko.SFTPClient, path: str) -> bool:
    return _kind(client, path) == stat.S_IFDIR


def _kind(client: paramiko.SFTPClient, path: str) -> int | None:
    """What it is; None if there is nothing."""
    try:
        return stat.S_IFMT(client.stat(path).st_mode or 0)
    except OSError:  # what is wrong with it shows when it is used
        return None


def push(client: paramiko.SFTPClient, run: Run, source: str, target: str, name: str) -> None:
    """Copy a file there. Raises ChannelError."""
    what = f"cannot copy {source} to {target}"
    part = f"{target}.{secrets.token_hex(4)}.part"
    try:
        with open(source, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            checksum, size = _upload(client, file, part, mode)
        there = client.stat(part).st_size
        if there != size:
            raise FileCopyException(what, f"{there} bytes of {size} are there", name)
        _settle(run, part, target, checksum, what, name)
    except ChannelError:
        _remove(client, part)
        raise
    except OSError as problem:
        _remove(client, part)
        raise copy_error(what, problem, name) from problem


def _upload(client: paramiko.SFTPClient, file: object, part: str, mode: int) -> tuple[str, int]:
    """Checksum and size of what was sent."""
    digest, size = hashlib.sha256(), 0
    with client.open(part, "wx") as there:
        there.chmod(mode & 0o700)  # nobody else reads it while it is written
        there.set_pipelined(True)
        while piece := file.read(_PIECE):  # type: ignore[attr-defined]  # a binary file
            there.write(piece)
            digest.update(piece)
            size += len(piece)
        there.set_pipelined(False)
        there.chmod(mode)
    return digest.hexdigest(), size


def _settle(run: Run, part: str, target: str, checksum: str, what: str, name: str) -> None:
    """Give it its name, if it is the same file."""
    old, new = shlex.quote(part), shlex.quote(target)
    result = run(
        f"sum=$( {_SUM.format(path=old)})\n"
        f'case "$sum" in\n{checksum}) ;;\n"") echo unchecked ;;\n*) echo "$sum"; exit {_WRONG} ;;\nesac\n'
        f"mv -f -- {old} {new}"
    )
    if result.code == _WRONG:
        raise FileCopyException(what, f"its checksum there is {result.stdout.strip()}, and not {checksum}", name)
    if result.code:
        raise FileCopyException(what, result.stderr.strip() or f"exit code {result.code}", name)
    if result.stdout:
        log.warning("%s: it has no sha256sum: only the sizes of copies are compared", name)


def pull(client: paramiko.SFTPClient, run: Run, source: str, target: str, name: str) -> None:
    """Copy a file from there. Raises ChannelError."""
    what = f"cannot copy {source} to {target}"
    part = f"{target}.{secrets.token_hex(4)}.part"
    try:
        size, checksum = client.stat(source).st_size, run(_SUM.format(path=shlex.quote(source))).stdout.strip()
        got, got_size = _download(client, source, part)
        if got_size != size or (checksum and got != checksum):
            raise FileCopyException(what, f"{got_size} bytes of {size} came, or it was changed meanwhile", name)
        try:
            os.link(part, target)  # never over one that is there
        except FileExistsError:
            raise FileExists(f"{target} is there already: give another directory", "", name) from None
    except OSError as problem:
        raise copy_error(what, problem, name) from problem
    finally:
        Path(part).unlink(missing_ok=True)


def _download(client: paramiko.SFTPClient, source: str, part: str) -> tuple[str, int]:
    """Checksum and size of what has come."""
    digest, size = hashlib.sha256(), 0
    with client.open(source, "rb") as there, open(part, "xb") as file:
        os.fchmod(file.fileno(), stat.S_IMODE(there.stat().st_mode or 0o600))
        there.prefetch()
        while piece := there.read(_PIECE):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def _remove(client: paramiko.SFTPClient, path: str) -> None:
    with suppress(OSError, EOFError, paramiko.SSHException):  # the connection may be what was wrong
        client.remove(path)


