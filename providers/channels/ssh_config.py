"""How a host is reached, as the user says it here and in ~/.ssh/config."""

from __future__ import annotations

import getpass
import glob
import os
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import paramiko

from parsl_pool.errors import ConfigurationError
from parsl_pool.providers.channels.known_hosts import name_of
from parsl_pool.providers.scripts import describe_failure

_USER_FILE = "~/.ssh/config"
_SYSTEM_FILE = "/etc/ssh/ssh_config"
_KNOWN = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_KNOWN_TO_ALL = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_PORT = 22
_DEEPEST = 16  # files that include files, as in OpenSSH


class Route(NamedTuple):
    """How a host is reached."""

    host: str
    port: int
    user: str
    keys: list[str]  # files that may hold a key
    only_these_keys: bool  # of an agent's keys too
    jumps: list[str]  # hosts to go through, the nearest first: [user@]host[:port]
    proxy_command: str  # one that speaks to the host by its standard input and output; "": none
    known_hosts: list[str]  # files
    known_name: str  # what these call it


class Said(NamedTuple):
    """What the user has said of a host in the program. None: nothing."""

    user: str | None = None
    port: int | None = None
    keys: list[str] | None = None
    known_hosts: str | None = None
    config: str | None = None  # another file than ~/.ssh/config


def route(name: str, said: Said) -> Route:
    """How to reach a host. What the program says goes before what the files say.

    Raises:
        ConfigurationError: a file can't be read, or not be understood.
    """
    found = _lookup(name, said)
    host = str(found.get("hostname") or name)
    port = said.port or _number(found.get("port"), name)
    alias = str(found.get("hostkeyalias") or "")
    jumps, proxy_command = _ways(found)
    listed = [_path(key) for key in found.get("identityfile") or [] if key.lower() != "none"]
    known = [said.known_hosts] if said.known_hosts else [
        *_files(str(found.get("userknownhostsfile") or _KNOWN)),
        *_files(str(found.get("globalknownhostsfile") or _KNOWN_TO_ALL)),
    ]  # fmt: skip
    return Route(
        host=host,
        port=port,
        user=said.user or str(found.get("user") or "") or getpass.getuser(),
        keys=[_path(key) for key in said.keys] if said.keys else listed or [_path(key) for key in _KEYS],
        only_these_keys=str(found.get("identitiesonly", "no")).lower() == "yes",
        jumps=jumps,
        proxy_command=proxy_command,
        known_hosts=[_path(file) for file in known],
        known_name=alias.lower() if alias else name_of(host, port),
    )


def split_jump(text: str) -> tuple[str | None, str, int | None]:
    """User, host and port of ``[user@]host[:port]``, or of the same behind ``ssh://``."""
    user, _, place = text.removeprefix("ssh://").rstrip("/").rpartition("@")
    host, port = place, ""
    if place.startswith("["):  # an IPv6 address
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    return user or None, host, int(port) if port else None


def _ways(found: Mapping[str, Any]) -> tuple[list[str], str]:
    """Jump hosts, and the command that is a way. The files may say one of them, or "none"."""
    jumps = str(found.get("proxyjump") or "none")
    if jumps.lower() != "none":
        return [jump.strip() for jump in jumps.split(",") if jump.strip()], ""
    command = str(found.get("proxycommand") or "")
    return [], "" if command.lower() == "none" else command


def _number(text: Any, name: str) -> int:
    try:
        return int(text or _PORT)
    except ValueError:
        raise ConfigurationError(f"{_USER_FILE} has no number as the port of {name}, but {text!r}") from None


def _files(text: str) -> list[str]:
    return [file for file in shlex.split(text) if file.lower() != "none"]


def _path(text: str) -> str:
    return os.path.expanduser(text)


def _lookup(name: str, said: Said) -> Mapping[str, Any]:
    config, file = paramiko.SSHConfig(), said.config
    # The first one to say something is right; and a ProxyCommand is told of it.
    first = [f"{word} {value}" for word, value in (("User", said.user), ("Port", said.port)) if value]
    config.parse(_Lines(["Host *", *first]))
    files = [file] if file is not None else [path for path in (_path(_USER_FILE), _SYSTEM_FILE) if os.path.exists(path)]
    for path in files:
        try:
            # A file begins outside all sections, whatever the one before it ended with.
            config.parse(_Lines(["Host *", *_lines(path, "Host *", 0)]))
        except (OSError, paramiko.SSHException) as problem:
            text = describe_failure(problem) if isinstance(problem, OSError) else str(problem)
            raise ConfigurationError(f"{path} can't be used to reach {name}: {text}") from problem
    try:
        return dict(config.lookup(name))
    except (ImportError, paramiko.SSHException, KeyError, ValueError) as problem:  # Match exec, canonical names
        raise ConfigurationError(f"{', '.join(files)} can't be used to reach {name}: {problem}") from problem


class _Lines:
    """What paramiko's parser takes for a file."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)


def _lines(path: str, section: str, depth: int) -> Iterator[str]:
    """The lines of a file, and of those that it includes, each followed by the section that it stands in."""
    if depth > _DEEPEST:
        raise paramiko.SSHException(f"files include each other more than {_DEEPEST} deep")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    for line in text.splitlines():
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() in ("host", "match"):
            section = line
        if word.lower() != "include":
            yield line
            continue
        for pattern in shlex.split(rest):
            place = os.path.join(os.path.dirname(path), _path(pattern))
            for included in sorted(glob.glob(place)):
                yield from _lines(included, section, depth + 1)
        yield section
