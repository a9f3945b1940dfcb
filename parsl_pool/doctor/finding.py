"""What has been found: a sentence, how bad it is, and what to do."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Level(Enum):
    """How bad it is."""

    GOOD = "ok"
    """It has been looked at, and is right."""
    NOTE = "note"
    """Worth knowing; nothing to be done."""
    WARNING = "warning"
    """It may work, or not as well as it could."""
    PROBLEM = "problem"
    """It does not work."""


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        code: a word that stays the same when the text is put better: for scripts that read the report.
        remedy: what to do about it; "" if there is nothing to do.
    """

    level: Level
    code: str
    text: str
    remedy: str = ""


def good(code: str, text: str) -> Finding:
    """It is right."""
    return Finding(Level.GOOD, code, text)


def note(code: str, text: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(Level.NOTE, code, text, remedy)


def warning(code: str, text: str, remedy: str) -> Finding:
    """It may be wrong."""
    return Finding(Level.WARNING, code, text, remedy)


def problem(code: str, text: str, remedy: str) -> Finding:
    """It is wrong."""
    return Finding(Level.PROBLEM, code, text, remedy)
