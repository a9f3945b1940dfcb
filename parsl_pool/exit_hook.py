"""The interpreter's end: what was submitted is finished, as the standard library's executors do."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # its own hook must be registered before ours: the last one runs first
import os
import sys
import threading
import weakref

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from typing import Any

_live: weakref.WeakSet[Any] = weakref.WeakSet()
_exiting = False


def register(backend: Any) -> None:
    """Have this backend ended before the interpreter is."""
    _live.add(backend)


def is_exiting() -> bool:
    """True once the interpreter ends: nothing may be started any more."""
    return _exiting


def _at_exit() -> None:
    """Wait for what was submitted; after Ctrl-C, only end it."""
    global _exiting
    _exiting = True
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    backends = list(_live)
    for backend in backends:
        backend.begin_exit(kill=interrupted)
    for backend in backends:
        try:
            backend.join()
        except KeyboardInterrupt:  # a second Ctrl-C
            backend.begin_shutdown(kill=True)
            backend.join()


def _after_fork_in_child() -> None:
    _live.clear()  # the parent's pools are the parent's to end


os.register_at_fork(after_in_child=_after_fork_in_child)

# As concurrent.futures.thread does: it runs before threads are joined, while threads still can run.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]  # private, but the only hook at that moment
