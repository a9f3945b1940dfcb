"""URLs of files: their parts, and how they are shown to people: without what gives access."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from parsl_pool.errors import ConfigurationError

_HIDDEN = "***"
# Names of parameters by which signed URLs and tokens let their bearer in, or parts of these names.
_SECRET = re.compile(r"sig|token|key|pass|pwd|secret|credential|auth|code", re.IGNORECASE)
_LONGEST = 600
_QUESTION, _HASH = "\ue03f", "\ue023"  # what stands for ? and # while a URL is taken apart: letters of nobody's
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
        parts = _split(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as problem:
        raise ConfigurationError(f"{shown(url)} is no URL: {_plain(problem, url)}") from None
    if parts.scheme not in schemes or not host:
        raise ConfigurationError(f"{shown(url)} must be {' or '.join(f'{name}://HOST/PATH' for name in schemes)}")
    return Url(
        parts.scheme, host, port,
        None if parts.username is None else unquote(_joined(parts.username)),
        None if parts.password is None else unquote(_joined(parts.password)),
        _quoted(_joined(parts.path)), f"?{quote(parts.query, safe=_PATH + '?')}" if parts.query else "",
    )  # fmt: skip


def _plain(problem: ValueError, url: str) -> str:
    """What is wrong, if that does not quote a piece of the URL: a password with a "/" is taken for a port."""
    return "its port is not a number from 0 to 65535" if "ort " in str(problem) else "it can't be taken apart"


def _split(url: str) -> SplitResult:
    """The parts; in names of files that are not on the web, ? and # are letters like any other."""
    if url.partition(":")[0].lower() not in ("http", "https"):
        url = url.replace("?", _QUESTION).replace("#", _HASH)
    return urlsplit(url)


def _joined(text: str) -> str:
    return text.replace(_QUESTION, "?").replace(_HASH, "#")


def _quoted(path: str) -> str:
    """Quoted where that has been left out; what looks quoted is."""
    if _PLAIN.fullmatch(path):
        return path
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", path), safe=_PATH)


def shown(url: str) -> str:
    """A URL for messages: no password, no token, no signature."""
    try:
        parts = _split(url)
        _ = parts.port  # it is looked at late, and then it may be wrong
    except ValueError:
        return _short(re.sub(r"//.*@", f"//{_HIDDEN}@", url, flags=re.DOTALL))
    who, at, where = parts.netloc.rpartition("@")
    if at:
        user, colon, _ = who.partition(":")
        # Before a web server's name, what stands alone is a token rather than a name.
        is_token = not colon and parts.scheme in ("http", "https")
        who = _HIDDEN if is_token else f"{user}:{_HIDDEN}" if colon else user
    query = "&".join(map(_without_secret, parts.query.split("&")))
    return _short(_joined(urlunsplit((parts.scheme, f"{who}{at}{where}", parts.path, query, ""))))


def _without_secret(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={_HIDDEN}" if equals and _SECRET.search(name) else parameter


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
