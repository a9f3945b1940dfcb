"""The channel to another machine: one SSH connection for all commands, files and ports, made again when it was cut."""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import paramiko

from parsl_pool import checks
from parsl_pool.errors import (
    AuthException,
    BadHostKeyException,
    ChannelError,
    FileExists,
    OptionalModuleMissing,
    SSHException,
)
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.channels import ssh_config, ssh_files, ssh_session
from parsl_pool.providers.channels.base import Channel, CommandResult
from parsl_pool.providers.channels.ssh_config import Said
from parsl_pool.providers.channels.ssh_connection import Connection
from parsl_pool.providers.channels.ssh_login import Asker, Login

log = careful_logger(__name__)

_SESSIONS = 8  # at a time: an sshd takes 10, as a rule
_SILENCE_S = 30.0  # that a copy may be without a sign of life
_CHECKSUM_S = 600.0
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0  # between attempts to connect: doubled each time
_REFUSED_PAUSE_S = 60.0  # after a wrong password: who is asked too often locks us out

_KEY_FILES = checks.list_of(checks.path, "a path, or a list of paths")
_PORT = checks.whole(least=1, most=65535)


class SSHChannel(Channel):
    """Runs commands on another machine, over one SSH connection, and moves files there and back.

    What ~/.ssh/config says of the host holds: HostName, Port, User, IdentityFile, IdentitiesOnly, ProxyJump,
    ProxyCommand, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias, and files that it includes. What is said here
    goes before it. The connection is made when it is first needed, and again when it was cut.

    Args:
        hostname: its name, or what ~/.ssh/config calls it.
        username: None: as in ~/.ssh/config, or the same as here.
        password: for the login, by "password" or a question of the server's; and for keys, if there is no passphrase.
        script_dir: where scripts go there, if not into a directory of ours below the home.
        envs: variables of the commands' environment.
        gssapi_auth: log in by Kerberos. Needs a paramiko that can do it (before 4).
        skip_auth: the server lets us in as we are.
        port: None: as in ~/.ssh/config, or 22.
        key_filename: one or more files with keys to try; None: those in ~/.ssh/config, or the usual ones.
        host_keys_filename: the file of known hosts; None: as in ~/.ssh/config, or the usual ones.
        passphrase: of the keys.
        config_filename: another file than ~/.ssh/config; os.devnull for none.
        jump: the channel of a host to go through; None: as in ~/.ssh/config.
        connect_timeout: seconds that a step of connecting may take.

    A pickle of it, such as a run keeps to end its jobs, has the options, and no connection, password or passphrase. Any
    thread may use it.
    """

    def __init__(
        self,
        hostname: str,
        username: str | None = None,
        password: str | None = None,
        script_dir: str | os.PathLike[str] | None = None,
        envs: Mapping[str, str] | None = None,
        gssapi_auth: bool = False,
        skip_auth: bool = False,
        port: int | None = None,
        key_filename: str | os.PathLike[str] | list[str] | None = None,
        host_keys_filename: str | os.PathLike[str] | None = None,
        *,
        passphrase: str | None = None,
        config_filename: str | os.PathLike[str] | None = None,
        jump: SSHChannel | None = None,
        connect_timeout: float = 15,
    ) -> None:
        self.hostname = checks.name("hostname", hostname)
        self.username = checks.optional(checks.name)("username", username)
        self._password = checks.optional(checks.any_text)("password", password)
        self.script_dir = checks.optional(checks.path)("script_dir", script_dir)
        self.envs = _checked_envs(envs)
        self.gssapi_auth = checks.flag("gssapi_auth", gssapi_auth)
        self.skip_auth = checks.flag("skip_auth", skip_auth)
        self.port = checks.optional(_PORT)("port", port)
        one = isinstance(key_filename, (str, os.PathLike))
        keys = None if key_filename is None else _KEY_FILES("key_filename", [key_filename] if one else key_filename)
        self.key_filename = keys
        self.host_keys_filename = checks.optional(checks.path)("host_keys_filename", host_keys_filename)
        self._passphrase = checks.optional(checks.any_text)("passphrase", passphrase)
        self.config_filename = checks.optional(checks.path)("config_filename", config_filename)
        self._given_jump = checks.optional(checks.instance_of(SSHChannel, "an SSHChannel"))("jump", jump)
        self.connect_timeout = checks.seconds("connect_timeout", connect_timeout)
        if self.gssapi_auth:
            raise OptionalModuleMissing(["paramiko before 4", "gssapi"], "gssapi_auth=True")
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()  # guards all that is below, but for _sessions
        self._connection: Connection | None = None
        self._is_connecting = False
        self._pause_s, self._not_before = 0.0, 0.0
        self._last: ChannelError | None = None  # why there is no connection
        self._jumps: list[SSHChannel] = []  # made for ProxyJump, the last one leads to the host
        self._home = ""
        self._sessions = threading.BoundedSemaphore(_SESSIONS)

    @property
    def label(self) -> str:
        return self.hostname

    # -- commands

    def execute_wait(
        self, command: str, walltime: float | None = None, envs: Mapping[str, str] | None = None
    ) -> CommandResult:
        """See `Channel`. Of a shell that signal n has ended, the code is 128 + n."""
        variables = {**self.envs, **_checked_envs(envs)}
        connection, session = self._session()
        try:
            result, group = ssh_session.run(connection, session, command, variables, walltime, self.connect_timeout)
            if group is not None:
                self._end(connection, group)
            return result
        finally:
            self._sessions.release()

    def _end(self, connection: Connection, group: int) -> None:
        """End what took too long; over another connection, if this one has no room for a second session."""
        try:
            if ssh_session.end_group(connection, group):
                return
            raise SSHException("it does not answer", "", self.label)
        except SSHException as problem:
            log.info("%s: process group %d can't be ended: %s", self.label, group, problem)
        connection.close()
        try:
            ssh_session.end_group(self._connected(), group)
        except ChannelError as problem:
            log.warning("%s: process group %d took too long, and can't be ended: %s", self.label, group, problem)

    def _session(self) -> tuple[Connection, Any]:
        """A new session, over a new connection if it turns out that the old one was cut. Who has used it releases
        `_sessions`."""
        if not self._sessions.acquire(timeout=_CHECKSUM_S):
            raise SSHException(f"{_SESSIONS} commands have been running on it for {_CHECKSUM_S:.0f} s", "", self.label)
        try:
            connection = self._connected()
            try:
                return connection, ssh_session.opened(connection, self.connect_timeout)
            except SSHException:
                if connection.is_alive:
                    raise
                connection = self._connected()
                return connection, ssh_session.opened(connection, self.connect_timeout)
        except BaseException:  # passed on
            self._sessions.release()
            raise

    # -- files

    def push_file(self, source: str | os.PathLike[str], dest_dir: str) -> str:
        directory = self.abspath(dest_dir)
        target = posixpath.join(directory, os.path.basename(os.fspath(source)))

        with self._files() as (client, run):
            ssh_files.make_directories(client, directory, 0o700, True, self.label)
            ssh_files.push(client, run, os.fspath(source), target, self.label)
        return target

    def pull_file(self, remote_source: str, local_dir: str | os.PathLike[str]) -> str:
        source = self.abspath(remote_source)
        target = os.path.join(os.path.abspath(local_dir), posixpath.basename(source))
        if os.path.lexists(target):
            raise FileExists(f"{target} is there already: give another directory", "", self.label)
        with self._files() as (client, run):
            ssh_files.pull(client, run, source, target, self.label)
        return target

    @contextmanager
    def sftp(self, silence: float = _SILENCE_S) -> Iterator[paramiko.SFTPClient]:
        """A session for files, until the block ends. silence: seconds that one step of it may take.

        Raises:
            ChannelError: there is none, or the connection was cut.
        """
        with self._files(silence) as (client, _):
            yield client

    @contextmanager
    def _files(self, silence_s: float = _SILENCE_S) -> Iterator[tuple[paramiko.SFTPClient, ssh_files.Run]]:
        """A session for files, and what runs commands beside it."""
        connection, session = self._session()

        def run(command: str) -> CommandResult:
            another = ssh_session.opened(connection, self.connect_timeout)
            return ssh_session.run(connection, another, command, self.envs, _CHECKSUM_S, self.connect_timeout)[0]

        try:
            with ssh_files.sftp(connection, session, silence_s) as client:
                yield client, run
        finally:
            self._sessions.release()

    def makedirs(self, path: str, mode: int = 0o700, exist_ok: bool = False) -> None:
        place = self.abspath(path)
        with self._files() as (client, _):
            ssh_files.make_directories(client, place, mode, exist_ok, self.label)

    def isdir(self, path: str) -> bool:
        place = self.abspath(path)
        with self._files() as (client, _):
            return ssh_files.is_directory(client, place)

    def abspath(self, path: str) -> str:
        """The absolute path there; one that is relative, or begins with "~/", begins in the home."""
        if posixpath.isabs(path):
            return posixpath.normpath(path)
        if path == "~" or path.startswith("~/"):
            path = path[1:].lstrip("/")
        return posixpath.normpath(posixpath.join(self._found_home(), path))

    def _found_home(self) -> str:
        with self._changed:
            home = self._home
        if not home:
            result = self.execute_wait("cd && pwd -P", self.connect_timeout)
            home = result.stdout.rstrip("\n")
            if result.code or not posixpath.isabs(home):
                raise ChannelError("its home can't be found", result.stderr.strip(), self.label)
            with self._changed:
                self._home = home
        return home

    # -- ports

    def open_reverse(self, port: int) -> int:
        return self._connected().tunnels.open(_PORT("port", port))

    # -- the connection

    def close(self) -> bool:
        with self._changed:
            while self._is_connecting:
                self._changed.wait()
            connection, self._connection = self._connection, None
            jumps, self._jumps = self._jumps, []
            self._pause_s = self._not_before = 0.0
        if connection is not None:
            connection.close()
        for jump in reversed(jumps):
            jump.close()
        return connection is not None

    def _connected(self) -> Connection:
        """The connection, made anew if there is none.

        Raises:
            ChannelError: there is none, and, for a while after a failure, none is attempted.
        """
        with self._changed:
            while self._is_connecting:
                self._changed.wait()
            old = self._connection
            if old is not None and old.is_alive:
                return old
            left_s = self._not_before - monotonic()
            if left_s > 0 and self._last is not None:
                reason = f"{self._last.reason} (next attempt in {left_s:.0f} s)"
                raise type(self._last)(reason, self._last.e, self.label)
            self._is_connecting, self._connection = True, None
        connection: Connection | None = None
        try:
            if old is not None:
                log.warning("%s: the connection was cut, and is made again", self.label)
                old.close()
            connection = self._connect()
        except ChannelError as problem:
            self._wait_longer(problem)
            raise
        finally:
            with self._changed:
                self._connection, self._is_connecting = connection, False
                self._changed.notify_all()
        return connection

    def _wait_longer(self, problem: ChannelError) -> None:
        with self._changed:
            pause_s = min(max(2 * self._pause_s, _PAUSE_S), _LONGEST_PAUSE_S)
            if isinstance(problem, (AuthException, BadHostKeyException)):
                pause_s = _REFUSED_PAUSE_S
            self._pause_s, self._not_before, self._last = pause_s, monotonic() + pause_s, problem

    def _connect(self) -> Connection:
        said = Said(self.username, self.port, self.key_filename, self.host_keys_filename, self.config_filename)
        route = ssh_config.route(self.hostname, said)
        login = Login(
            route.user, self._password, self._passphrase, route.keys, route.only_these_keys, self._asker(),
            self.skip_auth,
        )  # fmt: skip
        way = self._way(route)
        connection = Connection(
            self.hostname, route, login, self.connect_timeout, way, self._patience_s if login.ask else 0.0
        )
        with self._changed:
            self._pause_s = self._not_before = 0.0
        return connection

    _patience_s = 0.0  # of a person who is asked

    def _asker(self) -> Asker | None:
        """A person who can answer a server's questions."""
        return None

    def _way(self, route: ssh_config.Route) -> Callable[[], Any] | None:
        """What leads to the host, through others."""
        jump = self._given_jump
        if jump is None and route.jumps:
            with self._changed:
                if not self._jumps:
                    self._jumps = self._made_jumps(route.jumps)
                jump = self._jumps[-1]
        if jump is None:
            return None
        last = jump
        return lambda: last._way_to(route.host, route.port)

    def _made_jumps(self, texts: list[str]) -> list[SSHChannel]:
        jumps: list[SSHChannel] = []
        for text in texts:
            user, host, port = ssh_config.split_jump(text)
            # Without our password: it is the host's, and no business of those between.
            jumps.append(SSHChannel(
                host, user, port=port, host_keys_filename=self.host_keys_filename, passphrase=self._passphrase,
                config_filename=self.config_filename, jump=jumps[-1] if jumps else None,
                connect_timeout=self.connect_timeout,
            ))  # fmt: skip
        return jumps

    def _way_to(self, host: str, port: int) -> Any:
        connection = self._connected()
        return connection.way_to(host, port)

    # -- copies

    def __repr__(self) -> str:
        user = f", username={self.username!r}" if self.username else ""
        port = f", port={self.port}" if self.port else ""
        return f"{type(self).__name__}({self.hostname!r}{user}{port}, script_dir={self.script_dir!r})"

    def __getstate__(self) -> dict[str, Any]:
        left = {"_changed", "_connection", "_is_connecting", "_pause_s", "_not_before", "_last", "_jumps",
                "_home", "_sessions"}  # fmt: skip
        kept = {name: value for name, value in self.__dict__.items() if name not in left}
        return {**kept, "_password": None, "_passphrase": None}  # a run's journal is on a disk

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


def _variables(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError
    checked = checks.mapping("envs", value)
    for name in checked:
        if not (name.isidentifier() and name.isascii()):
            raise ValueError(f"no shell takes a variable {name!r}")
    return checked


_ENVS = checks.Rule("a mapping of texts to texts", "", _variables)


def _checked_envs(envs: Mapping[str, str] | None) -> dict[str, str]:
    return {} if envs is None else _ENVS("envs", envs)
