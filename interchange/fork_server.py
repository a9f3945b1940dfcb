"""The fork server: a small process without threads, from which a manager's workers are forked.

    manager --Spawn, with the worker's socket, page, stderr and stack descriptors--> fork server
            <--Spawned, Exited--

Forking the user's process, or the interchange, would copy their threads' locks in whatever state they are.
Forking from here costs a few milliseconds and has none of that danger, as long as this process stays
single-threaded: `preload` is user code, so it counts its threads afterwards.

The first one of a pool whose manager is inside the interchange is a fork of the interchange, made before that has done
anything; all others are fresh interpreters.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from importlib import import_module

from parsl_pool import portable
from parsl_pool.errors import described
from parsl_pool.interchange import inherited, launch, shared_memory, wire, worker
from parsl_pool.interchange.parent_death import Guardian, end_with_parent
from parsl_pool.interchange.stream import PeerGone, Stream, from_descriptor


class ForkServer:
    """Owner of the workers of one manager, in the sense of wait(2)."""

    def __init__(self, stream: Stream, setup: worker.Setup, settings: wire.Settings, guardian: Guardian) -> None:
        self._stream = stream
        self._setup = setup
        self._settings = settings
        self._spawns = settings.start_method == "spawn" or _must_not_fork()
        self._workers: dict[int, int] = {}  # pid -> number
        self._guardian = guardian
        self._wake_read, self._wake_write = _pipe()
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)  # so that the wake-up descriptor is written
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until the manager is gone, then end every worker."""
        poller = select.poll()
        poller.register(self._stream.fileno(), select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        try:
            while True:
                while not self._stream.flush():  # also what was put before the first turn
                    select.select([], [self._stream], [])
                for fd, _ in poller.poll():
                    if fd == self._wake_read:
                        os.read(fd, 4096)
                        self._reap()
                    else:
                        for kind, body, descriptors in self._stream.receive():
                            self._handle(kind, body, descriptors)
        except PeerGone:
            for pid in self._workers:
                _kill(pid)

    def _handle(self, kind: int, body: bytes, descriptors: list[int]) -> None:
        record = wire.decode(kind, body)
        if isinstance(record, wire.Spawn):
            self._spawn(record, descriptors)

    def _spawn(self, order: wire.Spawn, descriptors: list[int]) -> None:
        number = order.worker
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as problem:
            from parsl_pool.interchange import shortage  # rarely needed

            self._stream.put(wire.frame(wire.Spawned(number, 0, f"cannot fork a worker: {shortage.describe(problem)}")))
            for fd in descriptors:
                os.close(fd)
            return
        if pid == 0:
            self._be_worker(order, descriptors, parent)
        for fd in descriptors:
            os.close(fd)
        self._workers[pid] = number
        self._guardian.watch(pid)
        self._stream.put(wire.frame(wire.Spawned(number, pid, "")))

    def _be_worker(self, order: wire.Spawn, descriptors: list[int], parent: int) -> None:
        number, code = order.worker, 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._guardian.leave()
            self._stream.close()
            os.setsid()  # Ctrl-C is for the user's process; and a worker can be ended with all it started
            end_with_parent(parent)
            sock_fd, page_fd, stderr_fd, stacks_fd = descriptors
            os.dup2(stderr_fd, 2)
            os.close(stderr_fd)
            _prefer_for_oom()
            _take_place(order)
            if self._spawns:
                self._exec(number, sock_fd, page_fd, stacks_fd)
            with from_descriptor(sock_fd) as sock:
                worker.main(number, sock, page_fd, stacks_fd, self._setup, kind_of_worker(self._setup))
            code = 0
        except BaseException:  # printed for the manager, which keeps our stderr
            sys.excepthook(*sys.exc_info())
        finally:
            worker.end(code)

    def _exec(self, number: int, sock_fd: int, page_fd: int, stacks_fd: int) -> None:
        """Become a fresh interpreter. What the kernel does when our parent ends survives that."""
        settings_fd = shared_memory.create(0, "settings")
        os.write(settings_fd, wire.encode(self._settings))
        passed = [sock_fd, page_fd, stacks_fd, settings_fd]
        if self._setup.claims >= 0:
            passed += [self._setup.claims, *self._setup.descriptors]
        for fd in passed:
            os.set_inheritable(fd, True)
        command = launch.helper_command("spawned", [number, *passed])
        os.execv(command[0], command)

    def _reap(self) -> None:
        while self._workers:
            try:
                pid, status, max_rss = self._wait_for_one()
            except ChildProcessError:
                return
            if not pid:
                return
            self._guardian.forget(pid)
            number = self._workers.pop(pid, None)
            if number is not None:
                max_rss_kb = max_rss // 1024 if sys.platform == "darwin" else max_rss  # macOS counts bytes
                self._stream.put(wire.frame(wire.Exited(number, pid, os.waitstatus_to_exitcode(status), max_rss_kb)))

    def _wait_for_one(self) -> tuple[int, int, int]:
        """Process id, status and largest memory of a child that has ended; what its tasks left running ends too.

        (What is meant to stay has called setsid.) The process id is 0 if none has ended.
        """
        if portable.has(os, "waitid"):
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return 0, 0, 0
            # While it has not been waited for, its number is its group's alone.
            if ended.si_pid in self._workers:
                _kill(ended.si_pid)
            pid, status, usage = os.wait4(ended.si_pid, 0)
        else:  # macOS before Python 3.13: nobody gets its number in the moment between, as numbers go round
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid in self._workers:
                _kill(pid)
        return pid, status, usage.ru_maxrss


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _prefer_for_oom() -> None:
    """When memory runs out, the kernel is to end a worker: never the broker, and rather not the user."""
    if not portable.has_proc():
        return  # the kernel chooses by size
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        return  # not allowed


def _take_place(order: wire.Spawn) -> None:
    """Before any code of the user's. What a fresh interpreter instead of this one, and all that it starts, inherits."""
    if order.cores and portable.has(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order.cores)
    for variable in order.variables:
        name, _, value = variable.partition("=")
        os.environ[name] = value


def preload(modules: list[str]) -> None:
    """Import what workers would all import. A module that fails is only reported: a task may not need it."""
    for name in modules:
        try:
            import_module(name)
        except Exception as problem:  # user code; the worker that needs it will fail with its own error
            print(f"parsl_pool: cannot preload {name}: {described(problem)}", file=sys.stderr)


def _must_not_fork() -> bool:
    """True, with a warning, if this process has threads after all: their locks would be copied as they are."""
    if threading.active_count() == 1 and not _has_alien_threads():
        return False
    print(
        "parsl_pool: preload started threads, which a forked worker would not have: each worker is a fresh "
        "interpreter instead, and imports the modules anew",
        file=sys.stderr,
    )
    return True


def _has_alien_threads() -> bool:
    """True if there are threads that Python doesn't know of, and that don't end by themselves before a fork.

    Libraries for numerics do that, and start theirs again when they need them: so the counting follows a fork.
    """
    if not portable.has_proc():
        return False  # nobody knows
    try:
        if len(os.listdir("/proc/self/task")) == 1:
            return False
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        return False  # /proc is not mounted: nobody knows


def main() -> None:
    """Program: `fork_server FD PARENT`."""
    serve(from_descriptor(int(sys.argv[1])), int(sys.argv[2]))


def serve(sock: socket.socket, parent: int) -> None:
    """Be the fork server of the manager at the other end of the socket; it sends Settings first. Ends the process."""
    code = 1
    try:
        end_with_parent(parent)
        # os.wait4 would load it in the user's path, while a shutdown waits. Workers of other kinds need it not at all.
        import resource as resource

        stream = Stream(sock)
        messages: list[tuple[int, bytes, list[int]]] = []
        while not messages:
            select.select([sock], [], [])
            messages = stream.receive()
        kind, body, descriptors = messages.pop(0)
        settings = wire.decode(kind, body)
        assert isinstance(settings, wire.Settings)
        guardian = Guardian(-1 if portable.is_linux() else descriptors.pop())  # as long as this is a small process
        server = ForkServer(stream, prepare(settings, descriptors), settings, guardian)
        for message in messages:
            server._handle(*message)
        server.run()
        code = 0
    except PeerGone:
        code = 0  # the manager has ended without having needed us
    except BaseException:  # printed, and our manager sees how we ended
        sys.excepthook(*sys.exc_info())
    finally:
        worker.end(code)


def prepare(settings: wire.Settings, descriptors: list[int]) -> worker.Setup:
    """Make this process fit to run the user's code; what every worker has in common."""
    sys.path[:] = settings.sys_path
    os.environ["PARSL_WORKER_COUNT"] = str(settings.workers)
    os.environ["PARSL_WORKER_POOL_ID"] = settings.manager
    os.environ["PARSL_WORKER_BLOCK_ID"] = settings.block
    if settings.authkey:
        inherited.set_authkey(settings.authkey)
        inherited.refuse_connections()
    preload(settings.preload)
    place = (settings.worker_log_dir, f"block-{settings.block}", settings.manager.replace("/", "-"))
    return worker.Setup(
        settings.initializer, settings.max_tasks_per_child, descriptors[0] if descriptors else -1, descriptors[1:],
        settings.label, settings.run_id,
        os.path.join(*place) if settings.worker_debug and settings.worker_log_dir else "",
    )  # fmt: skip


def kind_of_worker(setup: worker.Setup) -> type[worker.Worker]:
    """What a worker with this setup is."""
    if not setup.log_dir:
        return worker.Worker
    from parsl_pool.interchange.worker_log import LoggedWorker  # only when somebody looks for something

    return LoggedWorker
