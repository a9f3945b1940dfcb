"""The records between a manager, its fork server and its workers; wire.py has the others, and how all are encoded."""

from __future__ import annotations

from parsl_pool.interchange.named_tuple import NamedTuple


class Spawn(NamedTuple):
    """Manager to fork server: start a worker. Beside it travel its socket, its page and its stderr."""

    worker: int


class Spawned(NamedTuple):
    """Fork server to manager: the worker's process id, 0 and a reason if it could not be started."""

    worker: int
    pid: int
    reason: str


class Exited(NamedTuple):
    """Fork server to manager: a worker ended. status is as from `Popen.returncode`."""

    worker: int
    pid: int
    status: int
    max_rss_kb: int


class Up(NamedTuple):
    """Worker to manager: initialised, ready for tasks."""

    pid: int


class Flush(NamedTuple):
    """Worker to manager: look into your copy of my page; `nanoseconds` were spent on those tasks."""

    committed: int
    idle: int
    nanoseconds: int


class Need(NamedTuple):
    """Worker to manager: send me this function."""

    number: int


class InitializerFailed(NamedTuple):
    """Worker to manager, then it ends: the initializer raised."""

    text: str
    traceback_text: str


class Bulk(NamedTuple):
    """Worker to manager: one result too large for the page, whole or (data empty) in a descriptor."""

    task: int
    status: int
    nanoseconds: int
    data: bytes


class Waiting(NamedTuple):
    """Worker to manager: my task waits for others (1), so my place is free meanwhile. Or it goes on (0)."""

    waiting: int
