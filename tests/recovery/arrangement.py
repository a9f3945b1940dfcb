"""Pools in one arrangement, with their processes: so that a test can say what it kills, and knows that it is there.

    manager inside:  client -> interchange -> fork server -> workers
    manager apart:   client -> interchange;  client -> ... -> manager -> fork server -> workers
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, portable
from tests.eventually import eventually

ZMQ = "libzmq"


class Parts:
    """The processes of one pool, as they are at the moment of asking."""

    def __init__(self, pool: ParslPoolExecutor, inside: bool) -> None:
        self._pool, self._inside = pool, inside

    @property
    def interchange(self) -> psutil.Process:
        process = self._pool._backend.link._process
        assert process is not None
        return psutil.Process(process.pid)

    @property
    def manager(self) -> psutil.Process:
        """Apart: there must be exactly one. Inside: the interchange."""
        if self._inside:
            return self.interchange
        (up,) = self._pool._backend.workers.managers.values()
        return psutil.Process(up.pid)

    @property
    def fork_server(self) -> psutil.Process:
        (server,) = [child for child in self.manager.children() if is_fork_server(child)]
        return server

    @property
    def workers(self) -> list[psutil.Process]:
        return self.fork_server.children()

    def all(self) -> list[psutil.Process]:
        """Every one of them, for waiting until all are gone."""
        return [self.interchange, self.manager, self.fork_server, *self.workers]


def shut_down(pool: ParslPoolExecutor, within: float = 30) -> None:
    """Raises AssertionError, and ends the pool by force, if its shutdown takes longer."""
    thread = threading.Thread(target=pool.shutdown, name="shutdown", daemon=True)
    thread.start()
    thread.join(within)
    if not thread.is_alive():
        return
    pool._backend.link.may_restart = False
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ends meanwhile
            if "parsl_pool" in " ".join(process.cmdline()):
                process.kill()
    thread.join(10)
    raise AssertionError(f"the shutdown has not ended within {within} s" + ", nor by force" * thread.is_alive())


def is_program(process: psutil.Process, module: str) -> bool:
    """True if this is the program of that module of parsl_pool.interchange."""
    command = process.cmdline()
    return len(command) > 2 and f"parsl_pool.interchange.{module} import" in command[2]


def is_over(process: psutil.Process) -> bool:
    """True also for what nobody has waited for: whose child it was may have ended before it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def is_fork_server(process: psutil.Process) -> bool:
    """True for a child of an interchange or a manager that is its fork server, whatever `ps` shows for a fork."""
    return is_program(process, "fork_server") or (not portable.has_proc() and is_program(process, "interchange"))


class Arrangement:
    """Makes pools whose manager is inside the interchange, or apart from it.

    address: where it connects then, by TCP; None: it is left to the pool, and is a unix socket.
    """

    def __init__(self, inside: bool, address: str | None = None) -> None:
        self.inside, self.address = inside, address

    @contextmanager
    def pool(self, workers: int = 2, **options: Any) -> Iterator[ParslPoolExecutor]:
        """A pool that has run a task."""
        with self.new_pool(workers, **options) as pool:
            assert pool.submit(os.getpid).result(30) != os.getpid()
            self.check(pool)
            yield pool

    @contextmanager
    def new_pool(self, workers: int = 2, **options: Any) -> Iterator[ParslPoolExecutor]:
        """A pool. Its shutdown ends, or the test fails: it must not take the other tests with it."""
        pool = self._make(workers, options)
        try:
            yield pool
        finally:
            shut_down(pool)

    def _make(self, workers: int, options: dict[str, Any]) -> ParslPoolExecutor:
        if self.address is None:
            return ParslPoolExecutor(workers, manager_inside=self.inside, **options)
        executor = HighThroughputExecutor(
            max_workers_per_node=workers, manager_inside=self.inside, address=self.address, **options
        )
        return ParslPoolExecutor(Config([executor]))

    def parts(self, pool: ParslPoolExecutor) -> Parts:
        return Parts(pool, self.inside)

    def check(self, pool: ParslPoolExecutor) -> None:
        """Manager and interchange are one process; or two, linked by zmq. TCP is used only if that was asked for."""
        parts = self.parts(pool)
        server = eventually(lambda: parts.fork_server)
        interchange = parts.interchange
        assert is_program(interchange, "interchange")
        assert (server.ppid() == interchange.pid) is self.inside
        assert is_program(parts.manager, "interchange" if self.inside else "manager_program")
        assert uses_zmq(interchange) is not self.inside
        assert bool(names_of_sockets(interchange)) is (not self.inside and self.address is None)
        assert bool(listening(interchange)) is (not self.inside and self.address is not None)


def uses_zmq(process: psutil.Process) -> bool:
    return any(ZMQ in mapping.path for mapping in process.memory_maps())


def listening(process: psutil.Process) -> list[Any]:
    return [each for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]


def names_of_sockets(process: psutil.Process) -> set[str]:
    """The paths of its unix sockets."""
    return {str(each.laddr) for each in process.net_connections("unix") if each.laddr}


@pytest.fixture(scope="session")
def arrangement(manager_inside: bool) -> Arrangement:
    """Where the manager is. A test that takes this runs in both."""
    return Arrangement(manager_inside)
