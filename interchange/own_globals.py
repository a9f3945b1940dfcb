"""Globals of a script that each process has one of its own of: locks, `threading.local`, context variables.

They can't be pickled, and need not be: where each worker reads the script, as with `ProcessPoolExecutor`, each has its
own. Here a task's function brings their names, and a worker makes them once, the same for all functions that name them.
As arguments, defaults, in closures or attributes they remain an error: somebody might take them for shared there.
"""

from __future__ import annotations

import threading
from contextvars import Context, ContextVar
from types import FunctionType
from typing import Any

_LOCKS: dict[type, str] = {type(threading.Lock()): "Lock", type(threading.RLock()): "RLock", threading.local: "local"}
KINDS = frozenset({*_LOCKS, ContextVar})

_mine: dict[tuple[str, str, str], Any] = {}  # of this process; each use is one operation of a dict's


class _Own:
    """Stands for one of them in a pickle."""

    def __init__(self, module: str, name: str, thing: Any) -> None:
        self._where, self._thing = (module, name), thing

    def __reduce__(self) -> tuple[Any, ...]:
        kind = _LOCKS.get(type(self._thing))
        if kind is not None:
            return own, (*self._where, kind)
        return own_variable, (*self._where, self._thing.name, *_default(self._thing))


def with_names(function: FunctionType, reduced: Any) -> Any:
    """What cloudpickle says of a function, with names in place of such globals."""
    try:
        names = reduced[2][1]["__globals__"]
    except (IndexError, KeyError, TypeError):  # it goes by its name, or is of another cloudpickle than those known
        return reduced
    for name, value in names.items():
        if type(value) in KINDS:
            names[name] = _Own(str(function.__module__), name, value)  # the dict was made for this pickle
    return reduced


def _default(variable: ContextVar[Any]) -> tuple[Any, ...]:
    """With one item, or with none."""
    try:
        return (Context().run(variable.get),)
    except LookupError:
        return ()


# ---- what pickles name


def own(module: str, name: str, kind: str) -> Any:
    """The one of this process."""
    key = module, name, kind
    found = _mine.get(key)
    return _mine.setdefault(key, getattr(threading, kind)()) if found is None else found


def own_variable(module: str, name: str, of: str, *default: Any) -> ContextVar[Any]:
    """The context variable of this process."""
    key = module, name, "ContextVar"
    found = _mine.get(key)
    if found is None:
        found = _mine.setdefault(key, ContextVar(of, default=default[0]) if default else ContextVar(of))
    return found  # type: ignore[no-any-return]  # of all kinds
