"""One command over an SSH connection."""

from __future__ import annotations

import secrets
import select
from collections.abc import Mapping
from time import monotonic, sleep

import paramiko

from parsl_pool.errors import SSHException, described
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.channels import remote_shell
from parsl_pool.providers.channels.base import OUTPUT_LIMIT_BYTES, TIMED_OUT, CommandResult
from parsl_pool.providers.channels.remote_shell import Answer
from parsl_pool.providers.channels.ssh_connection import Connection

log = careful_logger(__name__)

_PIECE = 1 << 16
_PAUSE_S = 0.2
_END_S = 10.0
_LOOK_S = 1.0  # a connection that ends wakes us up; this is for what nobody has thought of
_NO_CODE = 255  # as ssh says of a shell that was killed


def run(
    connection: Connection,
    session: paramiko.Channel,
    command: str,
    envs: Mapping[str, str],
    walltime: float | None,
    limit_s: float,
) -> tuple[CommandResult, int | None]:
    """Run a command there, in a new session, which ends with it. limit_s: seconds until it must have begun.

    Also gives the process group of one that took too long, which has to be ended.

    Raises:
        SSHException: the connection ended.
    """
    mark = f"parsl-pool-{secrets.token_hex(8)}"
    try:
        out, err = Answer(mark, OUTPUT_LIMIT_BYTES), Answer(mark, OUTPUT_LIMIT_BYTES)
        deadline = None if walltime is None else monotonic() + walltime
        try:
            session.settimeout(limit_s)
            session.exec_command(remote_shell.SHELL)
            session.sendall(remote_shell.script(command, envs, mark).encode("utf-8", "surrogateescape"))
            session.shutdown_write()
            in_time = _read(connection, session, out, err, deadline)
        except (paramiko.SSHException, OSError, EOFError) as problem:
            if connection.is_alive:
                connection.close()  # it does not answer
            raise _cut(connection, problem) from problem
        if in_time:
            return CommandResult(_code(connection, session, out), out.text(), err.text()), None
        group = _group(connection, session, out, err)
        return CommandResult(TIMED_OUT, out.text(), err.text()), group
    finally:
        session.close()


def opened(connection: Connection, limit_s: float) -> paramiko.Channel:
    """A new session. A server has only so many at a time (MaxSessions); the others end some time.

    Raises:
        SSHException: there is none. If the connection has ended, that was found out now, and nothing was done.
    """
    deadline = monotonic() + limit_s
    while True:
        try:
            return connection.session(limit_s)
        except (paramiko.SSHException, OSError, EOFError) as problem:
            if connection.is_alive and monotonic() < deadline:
                sleep(_PAUSE_S)
                continue
            if not isinstance(problem, paramiko.ChannelException):
                connection.close()  # it does not even refuse
            raise SSHException("it runs no command", described(problem), connection.name) from problem


def _read(
    connection: Connection, session: paramiko.Channel, out: Answer, err: Answer, deadline: float | None
) -> bool:
    """Take what comes until there is no more. False: the deadline has come."""
    poll = select.poll()
    poll.register(session.fileno(), select.POLLIN)
    while True:
        is_over = session.closed or session.eof_received
        while session.recv_ready():
            out.feed(session.recv(_PIECE))
        while session.recv_stderr_ready():
            err.feed(session.recv_stderr(_PIECE))
        if is_over or (out.last is not None and err.last is not None):
            return True
        if not connection.is_alive:
            raise EOFError
        left_s = _LOOK_S if deadline is None else deadline - monotonic()
        if left_s <= 0:
            return False
        poll.poll(1000 * min(left_s, _LOOK_S))


def _code(connection: Connection, session: paramiko.Channel, out: Answer) -> int:
    """The command's exit code, or that of the shell around it, which did not come to the end of its text."""
    if out.last is not None and out.last.isdigit():
        return int(out.last)
    if not session.status_event.wait(_END_S) or session.exit_status < 0:
        if not connection.is_alive:
            raise _cut(connection, "")
        return _NO_CODE
    return int(session.exit_status)


def _group(connection: Connection, session: paramiko.Channel, out: Answer, err: Answer) -> int | None:
    """The process group of what took too long."""
    if out.first is None:  # a slow start-up file, or a machine that has gone
        _read(connection, session, out, err, monotonic() + _END_S)
    if out.first is None or not out.first.isdigit():
        log.warning("%s: a command has not even begun in time; do the shell's start-up files hang?", connection.name)
        connection.close()
        return None
    return int(out.first)


def end_group(connection: Connection, group: int) -> bool:
    """End a process group there. False if it does not answer to this either: then the connection is ended.

    Raises:
        SSHException: the connection was cut.
    """
    session = opened(connection, _END_S)
    result, _ = run(connection, session, remote_shell.end_group(group), {}, _END_S, _END_S)
    if result.code == TIMED_OUT:
        connection.close()
    return result.code != TIMED_OUT


def _cut(connection: Connection, problem: BaseException | str) -> SSHException:
    text = problem if isinstance(problem, str) else described(problem)
    return SSHException(
        "the connection was cut while a command ran; nobody knows what became of it", text, connection.name
    )
