"""Slurm's short form of lists of hosts, `node[01-03,7],login`, written out."""

from __future__ import annotations

import re
from collections.abc import Iterator

_MOST = 100_000
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def expanded(text: str) -> list[str]:
    """The hosts, in order.

    Raises:
        ValueError: it is no such list.
    """
    hosts: list[str] = []
    for part in _parts(text):
        hosts += _hosts(part, _MOST - len(hosts))
    return hosts


def _parts(text: str) -> Iterator[str]:
    """What stands between the commas that are in no brackets."""
    depth = start = 0
    for index, letter in enumerate(text):
        if letter == "[":
            depth += 1
        elif letter == "]":
            depth -= 1
        elif letter == "," and not depth:
            yield text[start:index]
            start = index + 1
        if depth not in (0, 1):
            raise ValueError(f"brackets that do not match in {text[:200]!r}")
    if depth:
        raise ValueError(f"brackets that do not match in {text[:200]!r}")
    yield text[start:]


def _hosts(part: str, most: int) -> list[str]:
    """Those of `rack[1-2]n[01-03]`: the last brackets vary fastest."""
    head, bracket, rest = part.strip().partition("[")
    if not bracket:
        if not head or "]" in head or any(letter.isspace() for letter in head):
            raise ValueError(f"{part[:200]!r} is no host")
        return [head]
    inside, _, tail = rest.partition("]")
    tails = _hosts(tail, most) if tail else [""]
    numbers = _numbers(inside, most // len(tails))
    return [head + number + end for number in numbers for end in tails]


def _numbers(inside: str, most: int) -> list[str]:
    """`01-03,7` is 01, 02, 03, 7: as wide as the first one is written."""
    numbers: list[str] = []
    for piece in inside.split(","):
        found = _RANGE.fullmatch(piece.strip())
        if found is None:
            raise ValueError(f"{piece[:50]!r} is no number and no range")
        first, last = found[1], found[2] or found[1]
        if int(last) < int(first) or len(numbers) + int(last) - int(first) >= most:
            raise ValueError(f"{piece[:50]!r} is no range, or too long a one")
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers
