"""The examples in a page, as one script whose lines stand where they stand in the page."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>\S*)\s*$")
_END_OF_EXAMPLE = "\x1e"
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    line: int  # of its first line of text, from 1
    lines: list[str]


class Example(NamedTuple):
    """Python code, and what the page says that it prints: None if the page says nothing."""

    line: int
    code: list[str]
    output: str | None


def blocks(text: str) -> list[Block]:
    """The fenced blocks, in order."""
    found: list[Block] = []
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        match = _FENCE.match(line)
        if fence and line.rstrip() == fence:
            fence = ""
        elif fence:
            found[-1].lines.append(line)
        elif match:
            fence = match["ticks"]
            found.append(Block(match["language"], number + 1, []))
    return found


def examples(page: Path) -> list[Example]:
    """The Python blocks of a page. A `text` block that follows one at once is its output."""
    found: list[Example] = []
    before = ""
    for block in blocks(page.read_text()):
        if block.language == "python":
            found.append(Example(block.line, block.lines, None))
        elif block.language == "text" and before == "python":
            found[-1] = found[-1]._replace(output="\n".join(block.lines) + "\n")
        before = block.language
    return found


def script(page: Path) -> str:
    """All examples, one after the other; each ends with a mark in the output."""
    lines: list[str] = []
    for example in examples(page):
        lines += [""] * (example.line - 1 - len(lines))
        mark = f"print({_END_OF_EXAMPLE!r}, end='', flush=True)"  # stands where the closing fence does
        lines += [*example.code, mark]
    return "\n".join(lines) + "\n"


def differences(page: Path, output: str) -> list[str]:
    """Where the script's output is not what the page says. `...` in the page stands for anything."""
    checker = doctest.OutputChecker()
    pieces = output.split(_END_OF_EXAMPLE)
    wrong = []
    for example, got in zip(examples(page), pieces):
        if example.output is not None and not checker.check_output(example.output, got, _FLAGS):
            wrong.append(f"{page}:{example.line}\nthe page says:\n{example.output}\nit printed:\n{got}")
    return wrong
