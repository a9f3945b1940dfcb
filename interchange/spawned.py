"""A worker in a fresh interpreter, for the start method "spawn".

Program: `spawned NUMBER SOCKET PAGE STACKS SETTINGS`, the last four being inherited descriptors.
"""

from __future__ import annotations

import os
import sys

from parsl_pool.interchange import fork_server, wire, worker
from parsl_pool.interchange.stream import from_descriptor


def main() -> None:
    """Be a worker."""
    number, sock_fd, page, stacks, settings_fd = map(int, sys.argv[1:6])
    data = os.pread(settings_fd, os.fstat(settings_fd).st_size, 0)
    settings = wire.decode(wire.KIND[wire.Settings], data)
    assert isinstance(settings, wire.Settings)
    inherited = [int(fd) for fd in sys.argv[6:]]
    for fd in (page, stacks, settings_fd, *inherited):
        os.set_inheritable(fd, False)
    setup = fork_server.prepare(settings, inherited)
    code = 1
    try:
        with from_descriptor(sock_fd) as sock:
            worker.main(number, sock, page, stacks, setup, fork_server.kind_of_worker(setup))
        code = 0
    finally:
        worker.end(code)
