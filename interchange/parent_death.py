"""Ending with the parent, also when it is killed.

Every child of ours watches a socket or pipe for its end, which works everywhere but only while the child runs
Python. Linux can in addition send a signal at the moment the parent ends, which also stops C code.
"""

from __future__ import annotations

import os
import signal

from parsl_pool import portable

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, where the kernel can.

    The signal follows the parent's *thread*: call it only in children of a main thread.
    """
    if portable.is_linux():
        try:
            import ctypes  # Linux only, and optional in some Python builds

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            return  # the watched socket does it, a little later
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)
