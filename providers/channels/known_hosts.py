"""Whether the key that a machine shows is the one that is known of it.

A format of OpenSSH's, sshd(8): names, kind of key, key; names may be hashed, or patterns; a line may revoke a key.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from parsl_pool.errors import BadHostKeyException

_PORT = 22
_HASHED = "|1|"
_REVOKED = "@revoked"
_AUTHORITY = "@cert-authority"


class Line(NamedTuple):
    """One key that a file has for a host."""

    kind: str
    key: str  # base64
    file: str
    number: int
    is_revoked: bool
    is_authority: bool = False  # a key that signs keys of hosts, and is no host's own


def name_of(host: str, port: int) -> str:
    """What these files call it."""
    return host.lower() if port == _PORT else f"[{host.lower()}]:{port}"


def lines_for(name: str, files: Sequence[str]) -> list[Line]:
    """What the files know of a host. One that is not there, or can't be read, knows nothing."""
    found = []
    for file in files:
        try:
            with open(file, encoding="utf-8", errors="replace") as lines:
                found += [line for text in enumerate(lines, 1) if (line := _line(name, file, *text)) is not None]
        except OSError:
            continue
    return found


def kinds(lines: Sequence[Line]) -> list[str]:
    """The kinds of keys that are known: the server should show one of these."""
    return list(dict.fromkeys(line.kind for line in lines if not (line.is_revoked or line.is_authority)))


def fingerprint(key: str) -> str:
    """As ssh shows it."""
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def check(host: str, port: int, name: str, kind: str, key: str, files: Sequence[str]) -> None:
    """Raises BadHostKeyException if the files do not have this key for this host.

    That an authority has signed the key is not looked at: paramiko does not say what it was shown beside it.

    Args:
        host, port: for the commands that are advised.
        name: what the files call it.
        kind, key: what it shows, the key as base64.
    """
    lines = lines_for(name, files)
    known = [line for line in lines if not line.is_authority]
    shown = f"{kind} {fingerprint(key)}"
    same = [line for line in known if line.key == key]
    if any(line.is_revoked for line in same):
        line = next(line for line in same if line.is_revoked)
        raise BadHostKeyException(f"its key, {shown}, has been revoked: {line.file}, line {line.number}", "", host)
    if same:
        return
    here = files[0] if files else "~/.ssh/known_hosts"
    accept = f"ssh-keyscan -p {port} -t {_short(kind)} {host} >>{here}"
    others = [line for line in known if line.kind == kind and not line.is_revoked]
    if not others:
        raise BadHostKeyException(
            f"its key is not known: it shows {shown}, and none of {', '.join(files) or 'no files'} has a key of that "
            f"kind for {name}. {_of_authorities(lines)}If that is the one which its administrators publish, accept it: "
            f"{accept}", "", host,
        )  # fmt: skip
    line = others[0]
    raise BadHostKeyException(
        f"its key has changed: it shows {shown}, and {line.file}, line {line.number}, has {fingerprint(line.key)}. "
        f"Somebody may stand between. If its administrators say that the key is new, accept it: "
        f"ssh-keygen -R '{name}' -f {line.file}; {accept}", "", host,
    )  # fmt: skip


def _of_authorities(lines: Sequence[Line]) -> str:
    """Why it does not help that one of these signs the keys of the host."""
    for line in lines:
        if line.is_authority:
            return (
                f"{line.file}, line {line.number}, has an authority that signs its keys ({_AUTHORITY}): such "
                "certificates are not checked here, so the host's own key has to be known, too. "
            )
    return ""


def _line(name: str, file: str, number: int, text: str) -> Line | None:
    words = text.split()
    is_revoked, is_authority = words[:1] == [_REVOKED], words[:1] == [_AUTHORITY]
    if is_revoked or is_authority:
        del words[0]
    if len(words) < 3 or words[0].startswith(("#", "@")) or not _matches(name, words[0]):
        return None
    return Line(words[1], words[2], file, number, is_revoked, is_authority)


def _matches(name: str, names: str) -> bool:
    found = False
    for pattern in names.split(","):
        if pattern.startswith(_HASHED):
            found = found or _is_hash(name, pattern)
        elif pattern.startswith("!"):
            if _like(name, pattern[1:]):
                return False
        else:
            found = found or _like(name, pattern)
    return found


def _like(name: str, pattern: str) -> bool:
    # Brackets stand around a host with a port: they are no pattern here.
    return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _is_hash(name: str, hashed: str) -> bool:
    try:
        salt, wanted = (base64.b64decode(part) for part in _parts(hashed))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), wanted)


def _parts(hashed: str) -> Iterator[str]:
    salt, _, wanted = hashed.removeprefix(_HASHED).partition("|")
    yield from (salt, wanted)


def _short(kind: str) -> str:
    """What ssh-keyscan calls it: "ed25519" for "ssh-ed25519"."""
    return "ecdsa" if kind.startswith("ecdsa") else kind.removeprefix("ssh-")
