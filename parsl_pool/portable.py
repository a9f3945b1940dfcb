"""Asks for what only some systems have: every module that has a fallback asks here, and nowhere else.

PARSL_POOL_PORTABLE=1 in the environment denies it all. The pool then runs as on a system that has none of it, which
is how tests on Linux see the fallbacks at work. docs/architecture.md has the table of what falls back to what.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from types import ModuleType

FORCED = bool(os.environ.get("PARSL_POOL_PORTABLE"))
"""True: use nothing that a Unix may lack."""

_HAS_PROC = sys.platform == "linux" and os.path.exists("/proc/self/stat")
_STRONG = ("x86_64", "amd64", "i386", "i686")


def has(module: ModuleType, name: str) -> bool:
    """True if this system's module has that function, and it may be used."""
    return not FORCED and hasattr(module, name)


def is_linux() -> bool:
    """True if this is Linux, and its kernel's own calls may be used."""
    return not FORCED and sys.platform == "linux"


def has_proc() -> bool:
    """True if the kernel tells about processes in /proc, as Linux does."""
    return not FORCED and _HAS_PROC


def has_strong_order() -> bool:
    """True if other processors see this one's stores in the order of the program. Forced: no, as on Apple's."""
    return not FORCED and os.uname().machine.lower() in _STRONG
