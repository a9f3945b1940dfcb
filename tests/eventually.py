"""Waiting for a condition, never for a time."""

import inspect
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONGEST_PAUSE_S = 0.1  # what a test may lose to polling; shorter ones take the CPU from what it waits for


def eventually(check: Callable[[], T], within: float = 10) -> T:
    """The first true value of `check()`, which is called again and again for up to `within` seconds.

    An exception counts as "not yet". `check` is called at least twice: a slow first call is no failure.

    Raises:
        AssertionError: it never was true; the text tells the check and what it gave or raised last.
    """
    deadline = time.monotonic() + within
    pause_s, calls = 0.001, 0
    while True:
        late = time.monotonic() >= deadline
        calls += 1
        error: Exception | None = None
        try:
            value = check()
            if value:
                return value
            seen = f"its last value was {value!r}"
        except Exception as caught:  # whoever reads the failure sees it: as its cause, and in its text
            error, seen = caught, f"it last raised {type(caught).__name__}: {caught}"
        if late and calls > 1:
            asked = f"not within {within:g} s ({calls} calls): {_text_of(check)}"
            raise AssertionError(f"{asked}; {seen}") from error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _text_of(check: Callable[[], object]) -> str:
    """How the check stands in the test, for the failure's text."""
    try:
        return " ".join(inspect.getsource(check).split())
    except (OSError, TypeError):  # no source (built-in, typed at a prompt)
        return repr(check)
