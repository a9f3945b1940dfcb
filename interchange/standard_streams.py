"""Standard input, output and errors: what helpers get, and keeping their numbers free where a program has none."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from typing import TypeAlias

    Action: TypeAlias = tuple[int, int, int] | tuple[int, int, str, int, int]


def off_standard_streams(fd: int) -> int:
    """The same file under a number above 2; the given one is closed if it is not.

    In a program without, say, stderr the next file gets that number, and with it whatever is written to stderr.
    """
    if fd > 2:
        return fd
    from fcntl import F_DUPFD_CLOEXEC, fcntl  # in such programs only

    try:
        return fcntl(fd, F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def for_helper(stderr: int) -> list[Action]:
    """What `posix_spawn` has to do so that a helper has all three: nothing to read, and our stdout.

    stderr: the descriptor that is to be its stderr; 2 for ours.
    """
    has_null = os.access(os.devnull, os.R_OK | os.W_OK)
    actions: list[Action] = []
    for fd in range(3):
        if fd == 2 and stderr != 2:
            actions.append((os.POSIX_SPAWN_DUP2, stderr, 2))
        elif has_null and (fd == 0 or not _is_passed_on(fd)):
            actions.append((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0))
    return actions


def copy_of_stderr() -> int:
    """A descriptor above 2 of what a helper would have as stderr; -1 if there is none."""
    if not _is_passed_on(2):
        return -1
    from fcntl import F_DUPFD_CLOEXEC, fcntl  # where it is needed

    return fcntl(2, F_DUPFD_CLOEXEC, 3)


def _is_passed_on(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # it is closed
