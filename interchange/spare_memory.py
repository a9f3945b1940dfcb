"""Gives memory back to the system that malloc keeps after many managers have come at once, or gone.

Connecting takes more than being connected: of 1,000 managers that come at the same time about 35 MB are left in pieces
that nothing uses, as malloc gives back by itself only what lies at the end.
"""

from __future__ import annotations

from collections.abc import Callable

from parsl_pool import portable

MANY = 64  # fewer leave 2 MB, which the next ones will need


def give_back() -> None:
    """Ask the C library to give back the pages that it does not use. Only glibc can be asked."""
    if not portable.is_linux():
        return
    import ctypes  # not before there are many: it takes 1 MB itself

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


class SpareMemory:
    """Knows when it is worth it. Belongs to the door of the managers."""

    def __init__(self, give_back: Callable[[], None] = give_back) -> None:
        self._give_back = give_back
        self._seen = self._known = 0

    def look(self, managers: int) -> None:
        """Called now and then with their number: acts when it has changed much, and no longer does."""
        is_settled = managers in (0, self._seen)
        self._seen = managers
        if is_settled and abs(managers - self._known) >= MANY:
            self._known = managers
            self._give_back()
