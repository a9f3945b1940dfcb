"""Heads of web servers' answers: status, headers, and how long the body is.

They are read strictly, and by few steps: the standard library takes them for mail, and that was most of what a small
file cost. What is not as RFC 9112 has it is an error, but for ends of lines without a carriage return and for headers
that go on in the next line, as some old servers have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

LONGEST = 1 << 16
"""Bytes of a head. No server that we know of sends a tenth of it."""

END = re.compile(rb"\n\r?\n")
"""The end of a head."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]*"  # no control characters but tabs
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (%s))?\r?\n" % _TEXT)
_HEADERS = re.compile(rb"(?:%s:%s\r?\n)*" % (_TOKEN, _TEXT))
_HEADER = re.compile(rb"(%s):(%s)\r?\n" % (_TOKEN, _TEXT))
_GOES_ON = re.compile(rb"\r?\n[ \t]+")

_WITHOUT_BODY = {204, 304}


class Garbled(Exception):
    """What came is no answer of a web server; the text says why."""


class Headers:
    """What an answer says of itself. Capital and small letters are the same in a name."""

    __slots__ = ("_values",)

    def __init__(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, str] = {}
        for name, value in headers:
            name = name.lower()
            before = self._values.get(name)
            if before is None:
                self._values[name] = value
            elif before != value:  # RFC 9110, 5.2: a list in several lines
                self._values[name] = f"{before}, {value}"

    def get(self, name: str) -> str:
        """Its value, without blanks around it; "": there is none."""
        return self._values.get(name.lower(), "")

    def words(self, name: str) -> list[str]:
        """The items of a list, in small letters."""
        value = self.get(name)
        return [word.strip().lower() for word in value.split(",")] if value else []


class Head(NamedTuple):
    """The head of an answer.

    Attributes:
        length: bytes of the body; None: that shows at its end.
        is_chunked: whether the body comes in chunks, each of which says how long it is.
        is_last: whether the connection ends with this answer.
    """

    status: int
    reason: str
    headers: Headers
    length: int | None
    is_chunked: bool
    is_last: bool


def head_of(data: bytes) -> Head:
    """The head that these bytes are, with the empty line at its end.

    Raises:
        Garbled: they are none.
    """
    first = _STATUS.match(data)
    if first is None:
        raise Garbled(f"it does not begin as an answer of a web server: {data[:40]!r}")
    rest = data[first.end() :]
    if b"\n " in rest or b"\n\t" in rest:
        rest = _GOES_ON.sub(b" ", rest)
    lines = _HEADERS.match(rest)
    end = lines.end() if lines is not None else 0
    if rest[end:] not in (b"\r\n", b"\n"):
        raise Garbled(f"a line among its headers is none: {rest[end : end + 40]!r}")
    headers = Headers(
        [(name.decode("ascii"), value.strip(b" \t").decode("latin-1")) for name, value in _HEADER.findall(rest)]
    )
    status, is_new = int(first[2]), first[1] == b"1"
    length, is_chunked = _framing(status, headers)
    words = headers.words("Connection")
    is_last = "close" in words or (not is_new and "keep-alive" not in words) or (length is None and not is_chunked)
    # RFC 9112, 6.3: an answer that says both ways how long it is may be made up by somebody on the way.
    is_last = is_last or (is_chunked and headers.get("Content-Length") != "")
    return Head(status, (first[3] or b"").strip().decode("latin-1"), headers, length, is_chunked, is_last)


def _framing(status: int, headers: Headers) -> tuple[int | None, bool]:
    """The body's length, and whether it comes in chunks."""
    if status < 200 or status in _WITHOUT_BODY:
        return 0, False
    coding = headers.get("Transfer-Encoding").lower()
    if coding == "chunked":
        return None, True
    if coding not in ("", "identity"):
        raise Garbled(f"its body is in an encoding that nobody has asked for: {coding[:40]!r}")
    text = headers.get("Content-Length")
    if not text:
        return None, False
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Garbled(f"it gives no length that makes sense: {text[:40]!r}")
    return int(text), False
