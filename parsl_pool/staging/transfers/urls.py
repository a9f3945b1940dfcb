"""URLs of files elsewhere: their parts, and what in them gives access."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from parsl_pool.errors import ConfigurationError
from parsl_pool.files import HIDDEN as _HIDDEN
from parsl_pool.files import put_back, taken_apart
from parsl_pool.files import shown_url as shown

__all__ = ["Url", "parsed", "shown"]

_PATH = "/%:@!$&'()*+,;=~-._"  # what stands in a path as it is
_PLAIN = re.compile(r"[/A-Za-z0-9~._-]*")  # what stands in most of them
_USUAL = re.compile(r"(https?)://([a-z0-9.-]+)(?::([0-9]{1,4}|[1-5][0-9]{4}))?(/[/A-Za-z0-9~._-]*)")


@dataclass(frozen=True)
class Url:
    """The parts of a URL.

    Attributes:
        user, password: unquoted; None: there is none.
        path: as it is sent, quoted where it has to be.
        query: with its question mark; "" if there is none.
    """

    scheme: str
    host: str
    port: int | None
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    path: str
    query: str = field(repr=False)

    @property
    def name(self) -> str:
        """The path as the user thinks of it."""
        return unquote(self.path)

    @property
    def host_port(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def without_secrets(self, text: str) -> str:
        """A text, such as a server's words, in which the password may be."""
        for secret in self._secrets():
            text = text.replace(secret, _HIDDEN)
        return text

    def _secrets(self) -> list[str]:
        if not self.password or len(self.password) < 3:
            return []  # one or two letters are in every text
        both = base64.b64encode(f"{self.user or ''}:{self.password}".encode()).decode()
        return sorted({both, quote(self.password, safe=""), self.password}, key=len, reverse=True)


def parsed(url: str, *schemes: str) -> Url:
    """The parts of a URL of one of these schemes.

    Raises:
        ConfigurationError: it is none.
    """
    usual = _USUAL.fullmatch(url)
    if usual is not None and usual[1] in schemes:  # most are so, and this takes a tenth of the time
        scheme, host, digits, path = usual.groups()
        return Url(scheme, host, int(digits) if digits else None, None, None, path, "")
    try:
        parts = taken_apart(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as problem:
        raise ConfigurationError(f"{shown(url)} is no URL: {_plain(problem, url)}") from None
    if parts.scheme not in schemes or not host:
        raise ConfigurationError(f"{shown(url)} must be {' or '.join(f'{name}://HOST/PATH' for name in schemes)}")
    return Url(
        parts.scheme, host, port,
        None if parts.username is None else unquote(put_back(parts.username)),
        None if parts.password is None else unquote(put_back(parts.password)),
        _quoted(put_back(parts.path)), f"?{quote(parts.query, safe=_PATH + '?')}" if parts.query else "",
    )  # fmt: skip


def _plain(problem: ValueError, url: str) -> str:
    """What is wrong, if that does not quote a piece of the URL: a password with a "/" is taken for a port."""
    return "its port is not a number from 0 to 65535" if "ort " in str(problem) else "it can't be taken apart"


def _quoted(path: str) -> str:
    """Quoted where that has been left out; what looks quoted is."""
    if _PLAIN.fullmatch(path):
        return path
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", path), safe=_PATH)
