"""Globals that an initializer of `__main__` has set, for the tasks' functions of `__main__`.

A function that goes by value brings globals of its own. But a program that says `global model` in its initializer
expects its tasks to see that, as they do where workers have the program's `__main__`.
"""

from __future__ import annotations

from functools import partial
from types import FunctionType
from typing import Any

_IMMUTABLE = (int, float, complex, str, bytes, bool, type(None), tuple, frozenset)
_changed: dict[str, Any] = {}


def of(function: Any) -> dict[str, Any]:
    """The globals of a function of `__main__`; empty for others."""
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, FunctionType) and function.__module__ == "__main__":
        return function.__globals__
    return {}


def remember(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Keep what the initializer has set, and what it may have changed inside."""
    for name, value in after.items():
        if name.startswith("__") or isinstance(value, (FunctionType, type)):
            continue
        if name not in before or before[name] is not value or not isinstance(value, _IMMUTABLE):
            _changed[name] = value


def recall(function: Any) -> None:
    """Let a function see it."""
    if _changed:
        names = of(function)
        if names:
            names.update(_changed)
