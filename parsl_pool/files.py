"""`File`: a file by its URL, wherever it lies; and where it can be read."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from parsl_pool.errors import ConfigurationError, WrongType, shown

WEB = ("http", "https")
"""Schemes in whose URLs `?` and `#` end the path; elsewhere they are letters of a name."""

HIDDEN = "***"
"""What is shown in the place of a secret."""

# Names of parameters by which signed URLs and tokens let their bearer in, or parts of these names.
_SECRET = re.compile(r"sig|token|key|pass|pwd|secret|credential|auth|code", re.IGNORECASE)
_LONGEST = 600
_QUESTION, _HASH = "\ue03f", "\ue023"  # what stands for ? and # while a URL is taken apart: letters of nobody's


class File:
    """A file that a task reads or writes.

    Two of them are equal if their URLs are, wherever the file has been brought.

    Args:
        url: a path, relative or absolute, or a URL such as "https://host/data.csv"; without a scheme it is "file".

    Attributes:
        url, scheme, netloc, path, filename: the URL and its parts; `filename` is the last part of the path.
        local_path: where it has been brought, or None.

    Raises:
        ConfigurationError: it is no URL of a file.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        try:
            text = os.fspath(url)
        except TypeError:
            raise WrongType(f"the url of a File must be a path or a URL, got {shown(url)}") from None
        if not isinstance(text, str) or not text or "\0" in text:
            raise ConfigurationError(f"the url of a File must be a path or a URL, got {shown(url)}")
        try:
            parts = _split(text)
        except ValueError as problem:
            raise ConfigurationError(f"the url of a File must be a URL, got {shown_url(text)!r}: {problem}") from None
        if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
            raise ConfigurationError(
                f"the url {text!r} names a host, {parts.netloc!r}: a file of this machine has three slashes, "
                f"file:///{parts.netloc}{parts.path}"
            )
        self.url = text
        self.scheme, self.netloc, self.path = parts.scheme, parts.netloc, parts.path
        self.query = parts.query
        self.filename = os.path.basename(parts.path)
        self.local_path: str | None = None

    @property
    def filepath(self) -> str:
        """A path at which it can be read or written, here and now.

        Raises:
            ValueError: it lies elsewhere, and has not been brought here.
        """
        if self.local_path is not None:
            return self.local_path
        if self.scheme == "file":
            return self.path
        raise ValueError(f"{shown_url(self.url)} has no path here: it has not been staged in")

    def cleancopy(self) -> File:
        """The same file, without what is known about one place."""
        return File(self.url)

    def __fspath__(self) -> str:
        return self.filepath

    def __str__(self) -> str:
        return self.local_path or (self.path if self.scheme == "file" else self.url)

    def __repr__(self) -> str:
        where = f" local_path={self.local_path}" if self.local_path is not None else ""
        return f"<File {shown_url(self.url)}{where}>"

    def __eq__(self, other: object) -> bool:
        return self.url == other.url if isinstance(other, File) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        return file_of__main__, (type(self), self.__dict__)


def file_of__main__(kind: type[File], attributes: dict[str, Any]) -> File:
    """A File again, from its pickle.

    Its name stands in that pickle. What is to be sent is searched for `__main__` anyway, so that a File among the
    arguments of a task is found without a further search; see `serialize.names_file`.
    """
    file = kind.__new__(kind)
    file.__dict__.update(attributes)
    return file


def shown_url(url: str) -> str:
    """A URL for messages: no password, no token, no signature."""
    try:
        parts = taken_apart(url)
        _ = parts.port  # it is looked at late, and then it may be wrong
    except ValueError:
        return _short(re.sub(r"//.*@", f"//{HIDDEN}@", url, flags=re.DOTALL))
    who, at, where = parts.netloc.rpartition("@")
    if at:
        user, colon, _ = who.partition(":")
        # Before a web server's name, what stands alone is a token rather than a name.
        is_token = not colon and parts.scheme in WEB
        who = HIDDEN if is_token else f"{user}:{HIDDEN}" if colon else user
    if not (at or parts.query or parts.fragment):
        return _short(url)
    query = "&".join(map(_without_secret, parts.query.split("&")))
    return _short(put_back(urlunsplit((parts.scheme, f"{who}{at}{where}", parts.path, query, ""))))


def _without_secret(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={HIDDEN}" if equals and _SECRET.search(name) else parameter


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def taken_apart(url: str) -> SplitResult:
    """A URL's parts, user and port among them; `put_back` is for each. Raises ValueError.

    In names of files that are not on the web, ? and # are letters like any other.
    """
    if url.partition(":")[0].lower() not in WEB:
        url = url.replace("?", _QUESTION).replace("#", _HASH)
    return urlsplit(url)


def put_back(text: str) -> str:
    """A part of a URL, as it stands there."""
    return text.replace(_QUESTION, "?").replace(_HASH, "#")


def _split(text: str) -> SplitResult:
    """A URL's parts; a path is one without a scheme, whatever colons and marks are in it."""
    scheme, colon, rest = text.partition(":")
    if not colon or not rest.startswith("/") or not scheme.isalnum() or len(scheme) < 2:
        return SplitResult("file", "", text, "", "")
    if scheme.lower() in WEB:
        return urlsplit(text)
    if not rest.startswith("//"):
        return SplitResult(scheme.lower(), "", rest, "", "")
    netloc, slash, path = rest[2:].partition("/")
    return SplitResult(scheme.lower(), netloc, slash + path, "", "")


def as_file(value: Any, what: str) -> File:
    """A File of what a user has named as one.

    Raises:
        WrongType, ConfigurationError: it is no file.
    """
    if isinstance(value, File):
        return value
    try:
        return File(value)
    except ConfigurationError as problem:  # it tells of a `url`, which the user has not named
        raise type(problem)(f"{what}: {problem}") from None
