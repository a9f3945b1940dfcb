"""Where a process is: whom it can find by a process id, and whose descriptors below /proc.

A host's name is not enough. Containers often have that of their host, and process ids of their own: what a number means
in one of them it does not mean outside.
"""

from __future__ import annotations

import os
import socket

from parsl_pool import portable


def here() -> str:
    """The same text for all processes that see each other, and for no others."""
    name = socket.gethostname()
    if portable.has_proc():
        try:
            name += f" {os.stat('/proc/self/ns/pid').st_ino}"  # namespaces(7): equal in the same namespace only
            with open("/proc/sys/kernel/random/boot_id") as file:
                name += f" {file.read().strip()}"  # another machine has namespaces of the same numbers
        except OSError:
            pass  # the name must do
    return name
