"""A manager: keeps the workers of one node busy, and notices when one of them dies.

    broker --tasks, functions--> Manager --frames--> workers (stream sockets, one each)
                                    |  <--pages, frames--
                                    '--Spawn--> fork server --fork--> workers;  <--Exited--

The decisions are in manager_core.py; this shell performs them. It is the same inside the interchange and in a
process of its own: what differs is who calls it and where `report` leads.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from time import monotonic, monotonic_ns

from parsl_pool.errors import BadMessage, shown
from parsl_pool.interchange import columns, launch, shortage, stream, wire
from parsl_pool.interchange import manager_core as core
from parsl_pool.interchange.fork_server_handle import ForkServerHandle
from parsl_pool.interchange.kills import Kills
from parsl_pool.interchange.layout import arrange, place_of
from parsl_pool.interchange.lending import Lending
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.node_facts import aside_of
from parsl_pool.interchange.node_objects import NodeObjects
from parsl_pool.interchange.overdue import Overdue
from parsl_pool.interchange.page import (
    OUT,
    SAID,
    SKIP_FROM,
    SKIP_TO,
    STARTED,
    STRONG_ORDER,
    TASK,
    settle,
    split_records,
)
from parsl_pool.interchange.post_mortem import OomCounter, facts_of, lost_result
from parsl_pool.interchange.rubbish import check, may_have_memory
from parsl_pool.interchange.shelf import Shelf
from parsl_pool.interchange.stderr_pipe import StderrPipe
from parsl_pool.interchange.stopped import await_ends
from parsl_pool.interchange.task_messages import TaskMessage, TaskMessages
from parsl_pool.interchange.wanted import wanted_of
from parsl_pool.interchange.worker_handle import WorkerHandle, new_worker

Upward = wire.Record | columns.Results | columns.Tasks | TaskMessage

_FLUSH = wire.KIND[wire.Flush]
_TICK_S = 0.002
_END_S = 5.0
_LAST_S = 2.0
_FAILED_S = 2.0
_SIGNALS = (signal.SIGTERM, signal.SIGKILL)


class Manager:
    """Owner of a fork server and its workers. Everything happens in the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        name: str,
        settings: wire.Settings,
        descriptors: list[int],
        report: Callable[[Upward], None],
        on_stopped: Callable[[], None],
        keep: Callable[[str, bytes], None],
        fork_server: launch.Helper | None = None,
    ) -> None:
        """Raises UnfitNode if no worker can run here as is wanted; then nothing has been made."""
        self.name = name
        self.host, self.block = socket.gethostname(), settings.block
        self._node = node = arrange(wanted_of(settings), os.environ)
        settings = settings._replace(workers=len(node.places))
        self.core = core.ManagerCore(
            settings.workers, settings.max_tasks_per_child, eager=bool(settings.eager),
            aside=aside_of(settings, len(set(node.devices))), devices=node.devices,
            prefetch=settings.prefetch if settings.prefetch >= 0 else None, exclusive=node.has_accelerators,
        )  # fmt: skip
        self._loop, self._settings = loop, settings
        self._report, self._on_stopped = report, on_stopped
        self._keep = keep  # what a process wrote to stderr
        self.on_drained: Callable[[], None] = lambda: None
        self.ending_s = 0.0  # how long what ended a worker may take to reach us too: then the job ends, not a task
        self._workers: dict[int, WorkerHandle] = {}
        self._shelf = Shelf(self._workers, self._put)
        self._dirty: dict[int, WorkerHandle] = {}  # something is to be flushed
        self._ticking = False
        self._stopping = False
        self._broken = False
        self._oom = OomCounter()
        self._last_words = self._last_end = ""  # of the last worker that has ended: its stderr, and how it ended
        self._fork_server = ForkServerHandle(
            loop, settings, descriptors, self._from_fork_server, self._fork_server_lost, keep
        )
        self._overdue = Overdue(loop, self.core, self._workers, self._fork_server, self._warn, self._read_unasked)
        self._lending = Lending(loop, self.core, self._perform)
        self.kills = Kills(loop, self.core, self._workers, self.host, report)
        self.objects = NodeObjects(self._workers, self._put, report)
        self.messages = TaskMessages(self.core, self._workers, report, self._put)
        shortage.allow_files(8 * settings.workers + 100)
        self._fork_server.use(fork_server or launch.start_fork_server())
        loop.after_reads.append(self._flush)

    def begin(self) -> None:
        """Start the workers."""
        for note in self._node.notes:
            self._warn(note)
        self._perform(self.core.begin(monotonic_ns()))

    # -- from the broker

    def tasks(self, tasks: columns.Tasks) -> None:
        """Run these."""
        self._perform(self.core.tasks_arrived(tasks, monotonic_ns()))

    def function(self, record: wire.Function) -> None:
        """Here is a function that tasks will name."""
        self._shelf.add(record)

    def forget(self, numbers: list[int]) -> None:
        """These functions will not be named again."""
        self.core.estimates.forget(numbers)
        self._shelf.forget(numbers)

    def drain(self) -> None:
        """Give back what no worker has begun, and take nothing more; call `on_drained` when the rest is done."""
        self._perform(self.core.drain(monotonic_ns()))

    def relieve(self) -> None:
        """Give back what waits behind long tasks."""
        self._perform(self.core.relieve(monotonic_ns()))

    def stop(self, now: bool) -> None:
        """End all workers, then call `on_stopped`. now: don't wait for their exit handlers."""
        if self._stopping:
            return
        self._stopping = True
        self.core.stop()
        self.messages.stop_all()
        for worker in self._workers.values():
            worker.expected = True
            if now:
                worker.signal(signal.SIGKILL)
            else:
                self._put(worker, wire.frame(wire.Stop(0)))
        self._loop.call_at(monotonic() + _END_S, self._kill_the_rest)
        self._finish_if_empty()

    def _kill_the_rest(self) -> None:
        for worker in self._workers.values():
            worker.signal(signal.SIGKILL)
        self._loop.call_at(monotonic() + _LAST_S, self._kill_the_fork_server)

    def _kill_the_fork_server(self) -> None:
        """It has been stopped, say: it does not tell us of its workers' ends."""
        if self._workers:
            launch.kill(self._fork_server.pid)

    def _finish_if_empty(self) -> None:
        if self._stopping and not self._workers:
            self._fork_server.end(_LAST_S)
            self._on_stopped()

    # -- the core's effects

    def _perform(self, effects: list[core.Effect]) -> None:
        for effect in effects:
            if type(effect) is core.Send:
                self._send_tasks(effect)
            elif type(effect) is core.SetWindow:
                self._report(wire.Window(effect.tasks, effect.lent, effect.least))
            elif type(effect) is core.Start:
                self._start_worker(effect.worker)
            elif type(effect) is core.TakeBack:
                self._take_back(effect)
            elif type(effect) is core.Release:
                for fd in effect.descriptors:
                    os.close(fd)
            elif type(effect) is core.Retire:
                self._retire(self._workers[effect.worker])
            elif type(effect) is core.GiveBack:
                self._report(effect.tasks)
            elif type(effect) is core.Drained:
                self.on_drained()
            elif type(effect) is core.GiveUp:
                by = " (perhaps its initializer ends it)" if self._settings.initializer else ""
                self._give_up(f"{effect.reason}, the last one by {self._last_end}{by}")

    def _retire(self, worker: WorkerHandle) -> None:
        worker.expected = True
        self._put(worker, wire.frame(wire.Stop(0)))
        self._loop.call_at(monotonic() + _END_S, lambda: worker.signal(signal.SIGKILL))  # others may wait for its place

    def _send_tasks(self, effect: core.Send) -> None:
        worker = self._workers[effect.worker]
        tasks = effect.tasks
        # Our own descriptors stay open until the task is over: it may have to go to another worker.
        copies = [os.dup(fd) for fd in tasks.descriptors] if tasks.descriptors else None
        worker.stream.put(tasks.frame(), copies)
        self._dirty[effect.worker] = worker
        if tasks.walltime_ms:
            self._overdue.watch_walltime(effect.worker, tasks.task_ids()[0], tasks.walltime_ms)
        if not self._ticking and len(self.core.seats[effect.worker].held) > 1:
            self._ticking = True
            self._loop.call_at(monotonic() + _TICK_S, self._tick)
        self._overdue.watch_needed()

    def _tick(self) -> None:
        self._ticking = False
        if STRONG_ORDER:  # else each result has been announced by a message, and a page may not be read before that
            for number in self.core.watched():
                self._read_unasked(self._workers[number])
        self._perform(self.core.tick(monotonic_ns()))
        if self.core.is_crowded() and not self._ticking:
            self._ticking = True
            self._loop.call_at(monotonic() + _TICK_S, self._tick)

    def _take_back(self, effect: core.TakeBack) -> None:
        worker = self._workers[effect.worker]
        words = worker.page.words
        words[SKIP_FROM] = effect.first
        words[SKIP_TO] = effect.last
        # The worker counts a task as started, then looks at these two. See ClaimsTable.cancel: after a moment
        # either it has seen them, or we see that it has started.
        settle()
        self._perform(self.core.taken_back(effect.worker, words[STARTED], monotonic_ns()))

    def _give_up(self, reason: str) -> None:
        if not self._broken:
            self._broken = True
            tails = [worker.stderr.tail() for worker in self._workers.values()]
            text = "\n".join(filter(None, tails)) or self._last_words
            self._report(wire.Broken("start", f"{reason} on {self.host}", text))

    # -- workers

    def _start_worker(self, number: int) -> None:
        def keep(data: bytes) -> None:
            self._keep(f"worker {number}, process {worker.pid}", data)

        try:
            worker, its = new_worker(number, lambda read: StderrPipe(self._loop, read, keep))
        except (OSError, MemoryError) as problem:
            self._refused(number, f"cannot start a worker: {shortage.describe(problem)}")
            return
        self._workers[number] = worker
        self._loop.add_reader(worker.stream.fileno(), lambda: self._from_worker(worker))
        place = place_of(self._node, self.core.seats[number].ranks)
        self._fork_server.start(number, place.cores, place.variables, its)
        self._overdue.watch_needed()

    def _refused(self, number: int, reason: str) -> None:
        """The system would not let us start a worker. Later it may."""
        self._last_words = reason
        self._warn(f"manager {self.name}: {reason}")
        self._perform(self.core.worker_refused(number, monotonic_ns()))
        self._loop.call_at(monotonic() + 1.1 * core.REFUSED_NS / 1e9, self._fill)

    def _fill(self) -> None:
        self._perform(self.core.fill(monotonic_ns()))

    def _from_fork_server(self, record: wire.Record) -> None:
        if isinstance(record, wire.Spawned):
            self._spawned(record)
        elif isinstance(record, wire.Exited):
            self._reported(record)
        else:
            raise BadMessage(f"a {type(record).__name__}")

    def _reported(self, record: wire.Exited) -> None:
        """A scheduler signals all processes of a job when it ends it: our own signal may come after a worker's."""
        worker, status = self._workers.get(record.worker), record.status
        if worker is not None and worker.verdict is None and self.ending_s and -status in _SIGNALS:
            worker.is_gone = True  # its number may be another process's
            end = monotonic() + self.ending_s
            self._loop.call_at(end, lambda: self._exited(record.worker, status, record.max_rss_kb, ""))
        else:
            self._exited(record.worker, status, record.max_rss_kb, "")

    def _spawned(self, record: wire.Spawned) -> None:
        worker = self._workers.get(record.worker)
        if worker is None or worker.pid or record.pid < 0 or record.pid == 1:
            raise BadMessage(f"worker {record.worker}, process {record.pid}")
        if not record.pid:
            del self._workers[record.worker]
            self._loop.remove(worker.stream.fileno())
            worker.close()
            self._refused(record.worker, record.reason)
            self._finish_if_empty()
            return
        worker.pid = record.pid
        self._report(wire.WorkerUp(self.name, record.worker, self.host, record.pid))
        if worker.condemned:
            worker.signal(worker.condemned)

    def _fork_server_lost(self, bad_message: str) -> None:
        """Its workers end with it. None of that is a task's fault."""
        if bad_message:
            self._drop(f"the fork server: {bad_message}")
        status = self._fork_server.end(_LAST_S)
        if self._stopping:
            for number in list(self._workers):
                self._exited(number, status, 0, "")
            return
        reason = f"the fork server ended ({launch.describe_status(status)})"
        self._last_words = self._fork_server.last_words or self._last_words
        self._fork_server.deaths += 1
        deaths = self._fork_server.deaths
        if deaths >= 3:
            by = f" (perhaps one of preload={shown(self._settings.preload)} ends it)" if self._settings.preload else ""
            self._give_up(f"{reason}, as did {deaths - 1} before it without a worker becoming ready{by}")
        self._warn(f"{reason}; starting it again")
        for worker in self._workers.values():
            worker.signal(signal.SIGKILL)
        # What one of them is killed at is known only when it has ended; till then it might begin the next task.
        await_ends([worker.pid for worker in self._workers.values() if worker.pid], _LAST_S)
        old = list(self._workers)
        self._fork_server.use(launch.start_fork_server())
        self._last_words = ""
        for number in old:
            self._exited(number, -signal.SIGKILL, 0, reason)

    def _from_worker(self, worker: WorkerHandle) -> None:
        try:
            messages = worker.stream.receive()
        except stream.PeerGone:
            self._loop.remove(worker.stream.fileno())
            worker.hung_up = True
            # Usually it is dying, and the fork server will say so. If not, a task closed our socket.
            self._loop.call_at(monotonic() + 1.0, lambda: worker.signal(signal.SIGKILL))
            return
        except BadMessage as problem:
            self._loop.remove(worker.stream.fileno())
            worker.hung_up = True  # nothing after this makes sense
            self._end_damaged(worker, f"it wrote rubbish to its manager: {problem}")
            return
        for kind, body, descriptors in messages:
            if kind == _FLUSH and len(body) == 24 and not descriptors:
                committed, idle, nanoseconds = columns.read_flush(body)
                self._read_page(worker, nanoseconds, bool(idle), committed)
            else:
                self._handle(worker, kind, body, descriptors)

    def _handle(self, worker: WorkerHandle, kind: int, body: bytes, descriptors: list[int]) -> None:
        """One message of a worker's. A bad one is dropped: the task that wrote it need not be the one that pays."""
        try:
            record = wire.decode(kind, body)
            check(record)
            if descriptors and not may_have_memory(record, len(descriptors)):
                raise BadMessage(f"{type(record).__name__} with descriptors")
            self._obey(worker, record, descriptors)
        except BadMessage as problem:
            for fd in descriptors:
                os.close(fd)
            self._drop(f"worker {worker.number}: {problem}")

    def _warn(self, text: str) -> None:
        self._report(wire.Notice(30, f"manager {self.name}: {text}"))

    def _drop(self, reason: str) -> None:
        self._report(wire.Dropped(reason))

    def _end_damaged(self, worker: WorkerHandle, reason: str) -> None:
        worker.verdict = (worker.page.words[TASK], wire.LOST, reason)
        self._drop(f"worker {worker.number} is ended: {reason}")
        worker.signal(signal.SIGKILL)

    def _obey(self, worker: WorkerHandle, record: wire.Record, descriptors: list[int]) -> None:
        if isinstance(record, wire.Flush):
            self._read_page(worker, record.nanoseconds, bool(record.idle), record.committed)
        elif isinstance(record, wire.Bulk):
            if record.status != wire.SKIPPED:
                self._report(columns.result_of(record.task, record.status, record.data, descriptors or None))
            self._finished(worker, [(record.task, record.status)], record.nanoseconds, False)
        elif isinstance(record, wire.FromTask):
            self.messages.from_task(worker, record, descriptors)
        elif isinstance(record, wire.Need):
            self._shelf.give(worker, record.number)
        elif isinstance(record, wire.Waiting):
            self._lending.waits(worker.number, bool(record.waiting))
        elif isinstance(record, wire.Up):
            self._fork_server.deaths = 0
            self._perform(self.core.worker_ready(worker.number, monotonic_ns()))
        elif isinstance(record, wire.InitializerFailed) and self.core.is_starting(worker.number):
            # Told when the worker has ended: its exit handlers may have things to say that the user waits for.
            worker.failure = record
            self._loop.call_at(monotonic() + _FAILED_S, lambda: worker.signal(signal.SIGKILL))
        elif not self.objects.heard(worker, record):
            raise BadMessage(f"a {type(record).__name__}")

    def _read_page(self, worker: WorkerHandle, nanoseconds: int, idle: bool, committed: int | None = None) -> None:
        """Take the results that are in the ring, and pass them on."""
        page = worker.page
        try:
            records = page.take(page.words[OUT] if committed is None else max(committed, page.position))
            done, ids, records = split_records(records)
        except ValueError as problem:
            self._end_damaged(worker, f"its page was damaged: {problem}")
            return
        if records:
            worker.unreleased = True
            self._report(columns.Results(len(ids) // 8, ids, records))
        if done or idle:
            self._finished(worker, done, nanoseconds, idle)

    def _read_unasked(self, worker: WorkerHandle) -> None:
        """Look into its page before it says so. What its tasks have said comes before their results."""
        words = worker.page.words
        committed = words[OUT]  # first: what was said before these results is in SAID by then
        while worker.heard < words[SAID] and not worker.hung_up:
            heard = worker.heard
            self._from_worker(worker)
            if worker.heard == heard:
                break  # half a message
        self._read_page(worker, 0, idle=False, committed=committed)

    def _finished(self, worker: WorkerHandle, done: list[tuple[int, int]], nanoseconds: int, idle: bool) -> None:
        self._perform(self.core.finished(worker.number, done, nanoseconds, idle, monotonic_ns()))

    def page_descriptor(self, worker: int) -> int:
        """The shared memory of a worker's page."""
        return self._workers[worker].page.fd

    def release_pages(self) -> None:
        """The client has all that we reported: workers may overwrite it."""
        for worker in self._workers.values():
            if worker.unreleased:
                worker.unreleased = False
                worker.page.release()

    def _put(self, worker: WorkerHandle, frame: bytes, descriptors: list[int] | None = None) -> None:
        worker.stream.put(frame, descriptors)
        self._dirty[worker.number] = worker

    def _flush(self) -> None:
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        for number, worker in dirty.items():
            if number in self._workers and not worker.hung_up:
                self._flush_worker(worker)

    def _flush_worker(self, worker: WorkerHandle) -> None:
        try:
            done = worker.stream.flush()
        except stream.PeerGone:
            return  # its end is handled where we read
        fd = worker.stream.fileno()
        self._loop.want_write(fd, None if done else lambda: self._flush_worker(worker))

    # -- the end of a worker

    def _exited(self, number: int, status: int, max_rss_kb: int, place: str) -> None:
        """A worker is gone. `place`: why, if it isn't the doing of the task that it ran."""
        worker = self._workers.get(number)
        if worker is None:
            return
        if self._stopping and not place:
            place = "its manager was told to end"
        self._last_rites(worker)
        if worker.failure is not None and not self._broken:
            self._broken = True
            self._report(wire.Broken("initializer", worker.failure.text, worker.failure.traceback_text))
        running, started = worker.page.words[TASK], worker.page.words[STARTED]
        if self._overdue.waits_for_function(worker, running):
            running, started = 0, started - 1
        self._last_end = launch.describe_status(status)
        del self._workers[number]
        expected = worker.expected or self._stopping or self.core.is_leaving(number)
        self._report(wire.WorkerGone(self.name, number, status, expected))
        effects = self.core.worker_ended(number, running, monotonic_ns(), started=started, blame=not place)
        for effect in effects:
            if type(effect) is core.Lost:
                facts = facts_of(worker, self.host, status, max_rss_kb, self._oom.risen())
                self._report(lost_result(worker, effect.task, facts, place))
        self._perform(effects)
        self._last_words = worker.stderr.tail() or self._last_words
        worker.close()
        self._finish_if_empty()

    def _last_rites(self, worker: WorkerHandle) -> None:
        """Read what it had still said: messages, results, stderr."""
        if not worker.hung_up:
            fd = worker.stream.fileno()
            try:
                while messages := worker.stream.receive():
                    for message in messages:
                        self._handle(worker, *message)
            except (stream.PeerGone, BadMessage):
                pass  # that was all
            self._loop.remove(fd)
        self._read_page(worker, 0, idle=False)
        worker.stderr.drain()
