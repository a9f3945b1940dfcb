"""What the interchange has sent, in order, and what is done about it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from parsl_pool.errors import BadMessage, InitializerError, PoolBroken, VersionMismatch
from parsl_pool.executors.high_throughput.recovery import Recovery, WorkerView
from parsl_pool.interchange import launch, wire
from parsl_pool.interchange.object_records import ObjectTaken, WantObject
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")


class Inbox:
    """The messages that a link has received and not dealt with. Belongs to its I/O thread.

    A callback that is called on the way may wait for something that has come already: it empties the inbox too.
    """

    def __init__(self, link: Any, recovery: Recovery) -> None:
        self._link, self._recovery = link, recovery
        self._messages: deque[tuple[int, bytes, list[int]]] = deque()
        self._answers: dict[int, Any] = {}

    def add(self, messages: list[tuple[int, bytes, list[int]]]) -> None:
        """These have come."""
        self._messages.extend(messages)

    def empty(self) -> None:
        """Deal with all that is there."""
        link = self._link
        link.tries.drain()
        while self._messages:
            kind, body, descriptors = self._messages.popleft()
            try:
                if kind == wire.RESULTS:
                    link.tries.results(body, descriptors)
                    link.claims.forget(link.tries.passed())
                else:
                    self._take(wire.decode(kind, body), descriptors)
            except BadMessage as problem:
                log.error("pool %s: dropped a bad message: %s", link.label, problem)

    def _take(self, record: wire.Record, descriptors: list[int]) -> None:
        link = self._link
        if isinstance(record, wire.WorkerUp):
            link.pages[record.manager, record.worker] = WorkerView(record, descriptors)
            link.watcher.worker_up(record)
            manager = link.watcher.managers.get(record.manager)
            if manager is not None and link.keeper is not None:
                link.keeper.worker_up(manager.block)
        elif isinstance(record, wire.FromTask):
            link.channel.arrived(record, descriptors)
        elif isinstance(record, (WantObject, ObjectTaken)):
            link.channel.on_object(record)
        elif isinstance(record, wire.WorkerGone):
            view = link.pages.pop((record.manager, record.worker), None)
            if view is not None:
                view.close()
            link.watcher.worker_gone(record)
        elif isinstance(record, wire.ManagerGone):
            self._recovery.manager_gone(record)
        elif isinstance(record, wire.TasksLost):
            self._recovery.tasks_lost(record)
        elif isinstance(record, wire.ManagerUp):
            self._recovery.manager_up(record)
        elif isinstance(record, wire.ManagerRefused):
            self._refused(record)
        elif isinstance(record, wire.Ready):
            link.interchange_ready(record.address)
        elif isinstance(record, wire.Broken):
            self.broken(record)
        elif isinstance(record, wire.Notice):
            log.log(record.level, "pool %s: %s", link.label, record.text)
        elif isinstance(record, (wire.State, wire.Pong)):
            waiter = self._answers.pop(record.number, None)
            if waiter is not None:
                waiter(record)
        else:
            link.watcher.other(record)

    def _refused(self, record: wire.ManagerRefused) -> None:
        """Those of the blocks to come would be, too; but not what somebody has started by hand."""
        link = self._link
        who = f"manager {record.manager} on {record.host}, of block {record.block}"
        log.error("pool %s: %s, is refused: %s", link.label, who, record.reason)
        link.watcher.refused.append(f"{who}: {record.reason}")
        if not link.watcher.has_had_managers and record.block != wire.BY_HAND:
            self.broken(wire.Broken("version", f"{who}, is refused: {record.reason}", ""))

    def broken(self, record: wire.Broken) -> None:
        """No worker can work: everything fails."""
        text, trace = record.text, record.traceback_text

        def error() -> PoolBroken:
            if record.cause == "version":
                return VersionMismatch(text, self._link.label)
            if record.cause == "initializer":
                return InitializerError(text, trace, self._link.label)
            said = f"; they said:\n{trace}" if trace else ""
            return PoolBroken(f"no worker can be started: {text}{said}", self._link.label)

        self._link.broken = error()
        self._link.tries.fail_all(error)

    def given_up(self, problem: str | BaseException) -> None:
        """No block can be started, as a text says; or the user's error is to be everybody's."""
        if isinstance(problem, str):
            is_another = launch.tells_of_mismatch(problem)  # another Python, which said so as it ended
            self.broken(wire.Broken("version" if is_another else "start", problem, ""))
        else:
            self._link.broken = problem
            self._link.tries.fail_all(lambda: _copy(problem))

    def ask(self, number: int, timeout: float) -> wire.State | None:
        """The interchange's state; None if it doesn't answer in time. Any thread but the one that empties this."""
        answered = threading.Event()
        answer: list[wire.State] = []

        def take(record: wire.State) -> None:
            answer.append(record)
            answered.set()

        self._answers[number] = take
        self._link.send(wire.Ask(number))
        answered.wait(timeout)
        self._answers.pop(number, None)
        return answer[0] if answer else None


def _copy(problem: BaseException) -> BaseException:
    """One for each future: tracebacks pile up on a shared one. Not of what can't be made anew."""
    try:
        return type(problem)(*problem.args)
    except Exception:  # its class takes other arguments; then all get the same one
        return problem
