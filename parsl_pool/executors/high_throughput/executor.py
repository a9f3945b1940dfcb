"""`HighThroughputExecutor`: tasks go to worker processes through an interchange."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic, sleep
from typing import Any

from parsl_pool import checks, forked
from parsl_pool.dataflow.failures import warn_of_unread
from parsl_pool.dataflow.kernel import Kernel
from parsl_pool.executors.high_throughput import (
    arrangement,
    capacity,
    explanation,
    launch_command,
    node_options,
    where,
)
from parsl_pool.executors.high_throughput.arrangement import available_cores as available_cores
from parsl_pool.executors.high_throughput.draining import drain_seconds
from parsl_pool.executors.high_throughput.link import Link, Stage
from parsl_pool.executors.high_throughput.managers import Managers, described
from parsl_pool.executors.high_throughput.submission import Submission
from parsl_pool.executors.high_throughput.worker_start import WorkerStart
from parsl_pool.executors.high_throughput.workers import Workers
from parsl_pool.futures.told import Progress
from parsl_pool.interchange import place, wire
from parsl_pool.run_directory import RunDirectory, RunPlace
from parsl_pool.run_log import RunLog
from parsl_pool.scaling.fuses import checked_fuses

_FIRST_TASK_S = 20.0


class HighThroughputExecutor(Submission):
    """Runs tasks in the worker processes of managers, one manager a node.

    Args:
        label: name of the executor.
        max_workers_per_node, max_workers: worker processes on each node, at most; the second is its old name.
        cores_per_worker: so many cores for each worker: a node has as many workers as that allows. Less than 1: more
            workers than cores. None: 1, unless something else says how many workers there are to be.
        mem_per_worker: the same with memory, in GB; None: it does not matter.
        available_accelerators: names of each node's accelerators, or how many there are, or "auto": those that are
            found. Each worker sees one of them.
        cpu_affinity: how a node's cores are given to its workers: "none" (all to all), "block", "block-reverse",
            "alternating", or "list:0-3:4-7" with a part for each worker.
        prefetch_capacity: tasks that a node holds beyond those that its workers are at. None: as many as keep
            workers busy if they are short, else none.
        start_method: "forkserver" (workers are forked from a clean process; "fork" means the same) or "spawn" (a
            fresh interpreter each).
        initializer, initargs: called in each worker before its first task.
        max_tasks_per_child: a worker is replaced after so many tasks; None: never.
        preload: modules that the fork server imports once for all its workers.
        manager_inside: the manager runs inside the interchange process; only on one host. None: if it can.
        provider: where blocks come from; None: this machine.
        address: what of this machine managers apart are to connect to: an address, a network in which it has one
            ("10.0.0.0/8"), an interface ("ib0"), or a host name; it listens nowhere else then. "tunnel": nothing of
            this machine, but the far end of the provider's SSH connection. None: a unix socket in a private directory,
            if all managers are on this machine; if they are elsewhere, all its addresses, of which each manager takes
            the first that answers.
        worker_port_range: the first and the last port of which one may be used for that. None: any; 54000 to 55000 if
            managers are elsewhere.
        worker_ports: two ports of which one may be used, in place of the range: managers need no more than one.
        interchange_port_range: for configurations written for Parsl; between client and interchange there is no port.
        loopback_address: used where a port is to be reached from this machine alone; None: 127.0.0.1.
        address_probe_timeout: seconds that a manager tries to reach the interchange, by all the addresses that it has,
            before it ends and says what became of each.
        block_start_timeout: seconds that a block's job may run until its manager registers. Then it is replaced; after
            two such blocks in a row the pool is broken.
        launch_cmd: a line of shell that starts a manager, in which "{command}" stands for ours.
        interchange_launch_cmd: the words of a command that starts the interchange, one of which is "{command}".
        worker_debug: each worker keeps a log of its tasks, in `block-BLOCK/MANAGER/worker-NUMBER.log`.
        worker_logdir_root: where that, and logs of managers apart, are to be; None: in the run's directory.
        block_error_handler: what happens when blocks fail. True: after three in a row that are of no use, while no
            manager is there, all tasks fail with what their jobs have said. False: others are started, after longer
            and longer pauses. Or a callable(executor, {block: JobStatus}) that decides: `noop_error_handler`,
            `simple_error_handler`, `windowed_error_handler`, or your own.
        max_node_hours: when the blocks' nodes have run for so long altogether, all blocks end, and no others start.
        max_submissions_per_hour: no more jobs than that are submitted in any hour.
        run_dir: where the run's files go; None: a private temporary directory, if one is needed at all.
        heartbeat_period, heartbeat_threshold: seconds between two signs of life of managers and interchange, and
            of silence after which the other side is lost.
        manager_selector: puts managers into the order in which they get tasks: `BlockIdManagerSelector()`, or your own
            `ManagerSelector`. None: all in turn.
        drain_period: seconds after its start when a manager takes no more tasks, finishes what it has begun, and ends:
            a bit less than the job may run. "auto": a tenth of the provider's walltime before its end, at most ten
            minutes. None: never.
        poll_period: taken for Parsl's sake; nothing here asks again and again.
        encrypted: taken for Parsl's sake, and not heeded: connections to managers in processes of their own always
            are, and prove both sides. False switches nothing off.
        enable_mpi_mode: tasks are MPI programs, and have nodes of a block for themselves, as many as each says.
        mpi_launcher: what starts them: "mpiexec", "srun" or "aprun".
        storage_access: who brings the files of its tasks; the first that can does it. None: `default_staging`.
        working_dir: where files are brought to, on its nodes; None: a folder in the run's directory.
        retries, lost_retries: for calls that don't say otherwise; None: what the pool says.
    """

    def __init__(
        self,
        label: str = "HighThroughputExecutor",
        *,
        max_workers_per_node: int | None = None,
        cores_per_worker: float | None = None,
        mem_per_worker: float | None = None,
        available_accelerators: int | str | Iterable[int | str] = (),
        cpu_affinity: str = "none",
        prefetch_capacity: int | None = None,
        start_method: str = "forkserver",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        preload: Iterable[str] = (),
        manager_inside: bool | None = None,
        provider: Any = None,
        address: str | None = None,
        worker_port_range: tuple[int, int] | None = None,
        worker_ports: tuple[int, int] | None = None,
        interchange_port_range: tuple[int, int] | None = None,
        loopback_address: str | None = None,
        address_probe_timeout: float = 30.0,
        block_start_timeout: float = 60.0,
        block_error_handler: bool | Callable[..., Any] = True,
        max_node_hours: float | None = None,
        max_submissions_per_hour: int | None = None,
        launch_cmd: str | None = None,
        interchange_launch_cmd: Iterable[str] | None = None,
        worker_debug: bool = False,
        worker_logdir_root: str | os.PathLike[str] | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        heartbeat_period: float = 5.0,
        heartbeat_threshold: float = 20.0,
        manager_selector: Any = None,
        drain_period: float | str | None = None,
        poll_period: float = 10,
        encrypted: bool = True,
        enable_mpi_mode: bool = False,
        mpi_launcher: str = "mpiexec",
        storage_access: Iterable[Any] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        retries: int | None = None,
        lost_retries: int | None = None,
        max_workers: int | None = None,
    ) -> None:
        self.label = label = checks.name("label", label)
        most = arrangement.most_workers(max_workers_per_node, max_workers)
        wishes = node_options.wanted(
            most, cores_per_worker, mem_per_worker, available_accelerators, cpu_affinity, prefetch_capacity
        )
        self._start_of_workers = WorkerStart(start_method, preload, initializer, initargs, max_tasks_per_child)
        self.start_method, self.preload = self._start_of_workers.method, self._start_of_workers.preload
        self._provider = arrangement.checked_provider(provider)
        self._place = RunPlace(checks.optional(checks.path)("run_dir", run_dir))
        wanted = checks.optional(checks.flag)("manager_inside", manager_inside)
        self._drain_s = drain_seconds(drain_period, self._provider)
        self._commands = launch_command.commands(launch_cmd, interchange_launch_cmd)
        self.manager_inside = arrangement.is_inside(wanted, provider, self._commands.manager, bool(self._drain_s))
        self._node, self.max_workers_per_node = node_options.expected(wishes, self._provider, self.manager_inside)
        self._wishes = arrangement.Wishes(
            where.checked_where(
                address, worker_ports, worker_port_range, interchange_port_range, loopback_address,
                address_probe_timeout, provider,
            ),
            checks.seconds("block_start_timeout", block_start_timeout),
        )
        self.take_handler(block_error_handler)
        self.manager_selector = arrangement.checked_selector(manager_selector)
        self._fuses = checked_fuses(max_node_hours, max_submissions_per_hour)
        self.mpi_launcher = capacity.mpi_launcher(enable_mpi_mode, mpi_launcher, provider)
        self.say(retries, lost_retries)
        self.take_storage(storage_access, working_dir)
        root = checks.optional(checks.path)("worker_logdir_root", worker_logdir_root)
        self._worker_logs = arrangement.WorkerLogs(checks.flag("worker_debug", worker_debug), root)
        heart = arrangement.checked_heart(heartbeat_period, heartbeat_threshold)
        self.heartbeat_period, self.heartbeat_threshold = heart
        self.poll_period = checks.number(above=0, most=1e9, kind="a number of milliseconds")("poll_period", poll_period)
        checks.flag("encrypted", encrypted)
        self._starting = threading.Lock()  # guards _directory and _log until the link is open
        self._directory: RunDirectory | None = None
        self._log: RunLog | None = None
        self._logs = True  # whether there is to be one
        self._apart: Any = None  # what belongs to managers that are processes of their own, once it was started
        self.workers = Workers()
        apart = None if self.manager_inside else self._make_apart
        self.take_calls(Link(label, self.options, self._settings, apart, self.workers), Kernel())
        self.link.interchange_words = self._commands.interchange
        self.link.outgoing.large.always = 2 * self.max_workers_per_node  # none of them is to wait for us
        self.managers = Managers(self.link)
        self.link.explain = self.explain
        self.link.on_closed = self._link_closed
        forked.watch(self)

    # -- life

    def start(self) -> None:
        """Start the interchange.

        Raises:
            StartError: it can't be started.
            SerializationError: the initializer can't be pickled.
            ConfigurationError: it can't get to managers elsewhere.
        """
        with self._starting:
            self._start()

    def _start(self) -> None:
        self._start_of_workers.dumped(self.manager_inside)  # before anything runs that would have to be ended again
        has_log = self._place.path is not None and self._logs
        if self._directory is None and (has_log or not self.manager_inside):
            self._directory = self._place.enter()
            if has_log:
                self._log = RunLog(self._directory.path, self.label)
        self.link.open()

    def _make_apart(self) -> Any:
        from parsl_pool.executors.high_throughput.apart import Apart  # zmq and providers only where needed
        from parsl_pool.scaling.site import Rules

        if self._provider is None:
            from parsl_pool.providers.local import LocalProvider  # as above

            self._provider = LocalProvider()
        assert self._directory is not None  # made by start()
        rules = Rules(
            self.strategy, self.max_idletime, self.strategy_period, self._wishes.start_timeout_s,
            self.block_error_handler, self._fuses,
        )  # fmt: skip
        logs = self.worker_logdir
        command = launch_command.of(self, self._commands.manager, self._node, self._worker_logs.debug, logs)
        self._apart = Apart(self, self._provider, self._directory, self._wishes, rules, command)
        return self._apart

    @property
    def worker_command(self) -> str:
        """A line of shell that adds a node to a pool which runs: a manager, to be started by hand, on this machine or
        on one that sees the same files and can reach this one. "" if managers are not processes of their own.

        It ends with the pool, or by SIGTERM. Its block is "by-hand".
        """
        return self._apart.manager_command(wire.BY_HAND) if self._apart is not None and self.is_open else ""

    @property
    def logdir(self) -> str:
        """Where the run's logs are, once it was started; "" for nowhere."""
        return self._directory.path if self._log is not None and self._directory is not None else ""

    @property
    def worker_logdir(self) -> str:
        """Where those of managers apart and their workers are; "" for nowhere."""
        return self._worker_logs.directory(self.logdir, self._who())

    def _who(self) -> str:
        """What tells this pool's logs from those of others."""
        return f"{socket.gethostname()}-{os.getpid()}-{self.label}"

    def _settings(self) -> tuple[wire.Settings, list[int]]:
        start = self._start_of_workers
        initializer, descriptors = start.dumped(self.manager_inside)
        path = [os.path.abspath(entry) if entry == "" else entry for entry in sys.path]
        log_dir, who, node = self.logdir, self._who(), self._node
        settings = wire.Settings(
            node.workers,
            start.method,
            initializer,
            start.max_tasks,
            start.preload,
            [entry for entry in path if isinstance(entry, str)],
            start.is_eager,
            descriptors,
            _authkey(),
            log_dir,
            self.worker_logdir,
            self._worker_logs.debug,
            place.here(),
            os.getpid(),
            self.link.claims.fd,
            int(self.heartbeat_period * 1000),
            int(self.heartbeat_threshold * 1000),
            self.label,
            self._place.run_id,
            who,
            "0",
            int(1000 * self._drain_s),
            capacity.lasts_ms(self._provider),
            capacity.managers_most(self._provider, self.manager_inside),
            self.mpi_launcher,
            node.cores_per_worker,
            node.memory_per_worker,
            node.accelerators,
            node.accelerator_count,
            node.affinity,
            node.prefetch,
        )
        return settings, [os.dup(fd) for fd in descriptors]

    def shutdown(self, block: bool = True, timeout: float = 10.0) -> None:
        """End, when all tasks are done.

        timeout: seconds that the interchange gets for that end, once the last task is done. Then it is killed; workers
            end with it, those of managers elsewhere as soon as these notice it.
        """
        self.link.watchdog.end_s = checks.seconds("timeout", timeout)
        super().shutdown(block)

    def begin_shutdown(self, kill: bool = False) -> None:
        """Take no more tasks; end when all is done. kill: end at once."""
        self.link.begin_shutdown(kill)

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end. True if it has come."""
        ended = self.link.join(timeout)
        if ended:
            self._report_unread()
            self.kernel.close()
            self.forget("initializer", "initargs")
            self._start_of_workers.forget()
        return ended

    def _link_closed(self) -> None:
        """The last process has ended; also for a pool that was dropped without a shutdown."""
        if self._log is not None:
            self._log.close()
        if self._directory is not None:
            self._place.leave()

    def _report_unread(self) -> None:
        """Failures that nobody looked at are told when the pool ends."""
        tries = self.link.tries
        unread, tries.seen = tries.failed - tries.seen, tries.failed
        if unread > 0 and tries.first_failures:
            task, failure = next(iter(tries.first_failures.items()))
            warn_of_unread(unread, self.label, task, failure.summary(), stacklevel=5)

    @property
    def broken(self) -> BaseException | None:  # type: ignore[override]  # an attribute there
        """Why it can't work any more; None while it can."""
        return self.link.broken

    @property
    def is_new(self) -> bool:
        """See the base class."""
        return self.link.stage is Stage.NEW

    @property
    def provider(self) -> Any:
        """See the base class."""
        return self._provider

    @property
    def keeper(self) -> Any:
        """See the base class."""
        return self.link.keeper

    @property
    def workers_per_node(self) -> int:
        """See the base class. What managers have told counts for more than what was expected."""
        told = [up.workers for up in list(self.workers.managers.values())]
        return max(1, round(sum(told) / len(told))) if told else self.max_workers_per_node

    @property
    def tasks(self) -> Mapping[int, Any]:
        """See the base class."""
        return self.link.tries.table

    def set_bad_state_and_fail_all(self, exception: BaseException) -> None:
        """See the base class."""
        self.link.broken = exception
        self.link.give_up(exception)
        if self.keeper is not None:
            self.keeper.halt()

    def disown(self) -> None:
        """In a forked child: what waits for its arguments waits in the parent. See `Link.disown`."""
        self.managers.disown()
        for lock in self._starting, self._preparing:
            lock._at_fork_reinit()  # type: ignore[attr-defined]  # private, and made for that
        if not self.is_new:
            self.kernel.disown(forked.foreign(self.link.owner))

    @property
    def is_open(self) -> bool:
        """True while it takes calls."""
        return self.link.stage is Stage.OPEN and self.link.broken is None

    def begin_exit(self, kill: bool) -> None:
        """The interpreter ends: nothing may be started any more."""
        self.link.may_restart = False
        self.link.begin_shutdown(kill)

    def adopt(self, retries: int, lost_retries: int, place: RunPlace, logs: bool) -> None:
        """See the base class."""
        super().adopt(retries, lost_retries, place, logs)
        self.link.tries.options = self.options
        if self._place.path is None:
            self._place = place
        self._place.run_id = place.run_id
        self._logs = logs
        self._worker_logs.check(logs and self._place.path is not None)

    def processes(self) -> dict[int, Any]:
        """Worker processes by process id. Just after the start it waits for the first: programs look then."""
        self.workers.await_start(self._workers_wanted)
        if self._start_of_workers.max_tasks:
            self.workers.await_leaving(self._most_workers())
        return self.workers.processes

    def _workers_wanted(self) -> int:
        """How many there are to be by now."""
        if self.link.stage is not Stage.OPEN or self.link.broken is not None:
            return 0
        most = self._most_workers()
        return most if self._start_of_workers.is_eager else min(most, len(self.link.tries.table))

    def _most_workers(self) -> int:
        """How many there may be: managers apart have told, or else it is what one is expected to have."""
        return sum([up.workers for up in list(self.workers.managers.values())]) or self.max_workers_per_node

    def cancel_all(self) -> None:
        """Cancel every task that has not begun.

        The standard library's pools guarantee that the first calls run; so a pool that starts gets a moment.
        """
        end = monotonic() + _FIRST_TASK_S
        link = self.link
        while link.stage is Stage.OPEN and not link.broken and not link.claims.has_begun() and monotonic() < end:
            sleep(0.001)
        self.kernel.cancel_all()
        link.cancel_all()
        if link.stage is Stage.OPEN:
            link.channel.stop_all()

    def describe(self) -> str:
        """In a few words."""
        return explanation.describe(self.link, self._most_workers(), self.stage_name())

    def explain(self) -> str:
        """What waits, for what, since when; a paragraph for people."""
        lines = [explanation.explain(self.link, self.kernel, self.workers), *self.managers.explain()]
        lines += self.weights.explain()
        if self._apart is not None and self._apart.by_hand.text:
            lines.append(self._apart.by_hand.text)
        return "\n".join(lines)

    def counts(self) -> dict[str, float]:
        """Numbers for `PoolStatus`."""
        return explanation.counts(self.link, self.kernel, self.workers)

    def progress(self) -> list[tuple[int, str, Progress]]:
        """Number, name and progress of the running tasks that have told theirs."""
        return explanation.progress(self.link.claims.running(), self.link)

    def manager_loads(self) -> tuple[list[tuple[str, int, int]], int]:
        """Name, held tasks and window of each manager; and how many messages the interchange has dropped."""
        return explanation.manager_loads(self.managers)

    @property
    def connected_workers(self) -> int:
        """How many workers the managers that are there have, or may start. 0 without an answer of the interchange."""
        return sum(each.workers for each in self.managers.standings() or ())

    def connected_blocks(self) -> list[str]:
        """The ids of the blocks that have a manager which is there."""
        return list(dict.fromkeys(each.block for each in self.managers.standings() or ()))

    def connected_managers(self) -> list[dict[str, Any]]:
        """What is known of each manager that is there; empty as well if the interchange does not answer in 2 s.

        `manager`, `block_id`, `hostname` and `pid` say which one it is; `worker_count` is what it has or may start,
        `tasks` what it holds, `window` what it would hold; `idle_duration` is for how many seconds it has held none
        (`idle_durations` is the same). `active`: it is given tasks; `draining`: it ends when it has finished.
        """
        return described(self.managers.standings() or [])

    def hold_worker(self, worker_id: str) -> None:
        """Give a manager no more tasks, by its name in `connected_managers()`. It stays, and finishes what it has.

        There is no way back: to go on, it has to be replaced.

        Raises:
            ConfigurationError: there is no manager of that name.
        """
        self.managers.hold(checks.name("worker_id", worker_id))

    def stage_name(self) -> str:
        """As in `PoolStatus`."""
        return "broken" if self.link.broken else self.link.stage.name.lower()



def _authkey() -> bytes:
    process = sys.modules.get("multiprocessing.process")
    return bytes(process.current_process().authkey) if process is not None else b""
