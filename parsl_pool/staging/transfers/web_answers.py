"""What the headers of a web server's answer say of a file: its version, its place in the whole, its checksums."""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import html
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from parsl_pool.errors import bounded
from parsl_pool.staging.transfers.web_heads import Headers

# What may pass: too many requests, and a server that is in trouble. It has said of 501 and 505 that they never will.
_PASSING = {408, 425, 429} | (set(range(500, 600)) - {501, 505})

# Names in headers, and what hashlib calls them; the best one first.
_KINDS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}

_CLEARLY_OLDER_S = 60  # RFC 7232, 2.2.2: then nobody has changed it twice in the second that a date can tell


def is_passing(status: int) -> bool:
    """Whether the same request may go well a little later."""
    return status in _PASSING


def wait_s(headers: Headers) -> float | None:
    """The seconds that the server asks to be left alone; None if it does not."""
    text = headers.get("Retry-After")
    if text.isascii() and text.isdigit():
        return float(text)
    moment = _moment(text)
    return None if moment is None else max(0.0, moment - time.time())


def _moment(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError):
        return None


def version(headers: Headers) -> str:
    """What tells this version of the file from others, for If-Range; "": nothing that is sure."""
    tag = headers.get("ETag")
    if tag.startswith('"'):
        return tag  # one that begins with W/ is for versions that mean the same
    changed, now = _moment(headers.get("Last-Modified")), _moment(headers.get("Date"))
    if changed is None or now is None or now - changed < _CLEARLY_OLDER_S:
        return ""
    return headers.get("Last-Modified")


class Range(NamedTuple):
    """Which part of the file an answer has."""

    first: int
    last: int
    total: int | None


def content_range(headers: Headers) -> Range | None:
    """The part that a 206 has; None if it says none that makes sense."""
    found = re.fullmatch(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", headers.get("Content-Range"), re.ASCII)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    return Range(first, last, total) if first <= last and (total is None or last < total) else None


class Checksum(NamedTuple):
    """What a hash of the file, or of an answer's body, has to be."""

    kind: str
    wanted: bytes
    of_file: bool  # else of the body, which may be a part of it

    def new(self) -> Any:
        return hashlib.new(self.kind, usedforsecurity=False)


def checksums(headers: Headers) -> list[Checksum]:
    """What the server says of checksums that we can compute: the best kind of each header."""
    found = []
    # RFC 3230: of the file; RFC 9530: of the file, and of the body; RFC 1864: of the body.
    for name, of_file in (("Digest", True), ("Repr-Digest", True), ("Content-Digest", False)):
        text = headers.get(name)
        if not text:
            continue
        known = {kind: wanted for kind, wanted in _listed(text) if kind in _KINDS}
        best = min(known, key=list(_KINDS).index, default=None)
        if best is not None:
            found.append(Checksum(_KINDS[best], known[best], of_file))
    text = headers.get("Content-MD5")
    wanted = _decoded(text) if text else None
    if wanted is not None:
        found.append(Checksum("md5", wanted, False))
    return [one for one in found if len(one.wanted) == one.new().digest_size]


def _listed(text: str) -> Iterator[tuple[str, bytes]]:
    for item in text.split(","):
        kind, _, value = item.strip().partition("=")
        wanted = _decoded(value.strip().strip(":"))
        if wanted is not None:
            yield kind.strip().lower(), wanted


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError):
        return None


def words(status: int, reason: str, headers: Headers, body: bytes) -> str:
    """What a server says of why it does not: status, and the beginning of its text."""
    said = f"HTTP {status} {reason}".rstrip()
    kind = (headers.get("Content-Type") or "text/plain").partition(";")[0].strip().lower()
    if not kind.startswith("text/") and not kind.endswith(("json", "xml")):
        return said
    text = body.decode("utf-8", "replace")
    if kind.endswith(("html", "xml")):
        text = html.unescape(re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE))
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return f"{said}: {bounded(text, 300)}" if text else said
