"""After the death of an interchange or a manager: what is known of the tasks that were there, and what to do.

The manager inside an interchange allows a worker to overwrite results only when the client has them, so whatever
was finished but not delivered is still in the workers' pages.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Iterator
from functools import partial
from socket import gethostname
from time import monotonic
from typing import Any

from parsl_pool.errors import PoolBroken, StartError
from parsl_pool.executors.high_throughput.process import InterchangeProcess
from parsl_pool.futures import AppFuture
from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.page import CONSUMED, OUT, SINCE, TASK, Page, split_records
from parsl_pool.interchange.stopped import await_ends, is_alive
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

_RESTARTS = 3
_REUNION_S = 10.0
_WORKERS_S = 2.0
_RESENT_S = 60.0


class WorkerView:
    """A worker as its client sees it: who it is, and its page if it is on this host."""

    __slots__ = ("_file", "fd", "record")

    def __init__(self, record: wire.WorkerUp, descriptors: list[int]) -> None:
        self.record = record
        self.fd = descriptors[0] if descriptors else -1
        self._file = _file_of(self.fd) if descriptors else None

    def runs(self) -> tuple[int, float] | None:
        """The task that it is at, and for how many seconds; None if it is at none, or out of sight. Any thread."""
        try:
            fd = os.dup(self.fd)
        except OSError:
            return None
        try:
            if _file_of(fd) != self._file:
                return None  # it is gone, and its descriptor's number has become another one's
            page = Page(fd)
            task, since = page.words[TASK], page.words[SINCE]
            page.close()
            return (task, max(0.0, monotonic() - since / 1e9)) if task else None
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of the page."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _file_of(fd: int) -> tuple[int, int]:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino


def await_workers(views: dict[tuple[str, int], WorkerView]) -> None:
    """Wait until the workers of a dead interchange have ended, and make sure that they do.

    A task must not run again while its first run goes on.
    """
    pids = [view.record.pid for view in views.values() if view.fd >= 0]
    while pids := await_ends(pids, _WORKERS_S):
        for pid in pids:
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def harvest(views: dict[tuple[str, int], WorkerView]) -> Iterator[tuple[bytes, list[int]]]:
    """The results in the pages, as bodies of RESULTS frames. Some have been delivered before."""
    for view in views.values():
        if view.fd < 0:
            continue
        page = Page(view.fd)
        try:
            page.position = page.words[CONSUMED]
            _, ids, records = split_records(page.take(page.words[OUT]))
        except ValueError:
            continue  # damaged: its tasks run again
        finally:
            page.close()
        if records:
            yield columns.Results(len(ids) // 8, ids, records).encode(), []


class Resent:
    """Tries that are sent again after a restart of the interchange: each is to pass the outbox once.

    A thread in `submit` may have stood between the table and the outbox meanwhile: its future, which we found in the
    table only, comes to the outbox once from us, and once more from that thread.
    """

    def __init__(self) -> None:
        self._passed: dict[int, bool] = {}  # try -> True once it has passed
        self._until = 0.0  # no thread stands there for that long

    def __bool__(self) -> bool:
        return bool(self._passed)

    def begin(self) -> None:
        """Some are about to come."""
        self._passed[0] = False  # the number of no try
        self._until = monotonic() + _RESENT_S

    def add(self, task: int) -> None:
        """This one is in the outbox, once or soon twice."""
        self._passed[task] = False

    def once(self, batch: list[AppFuture[Any]]) -> list[AppFuture[Any]]:
        """What the outbox held, without those that come for the second time."""
        passed = self._passed
        first = []
        for future in batch:
            task = future._tid
            if not passed.get(task):
                first.append(future)
                if task in passed:
                    passed[task] = True
        if monotonic() > self._until:
            passed.clear()
        return first


class Reunion:
    """After a restart of the interchange: which tasks nobody has been heard to hold, and who is still to come."""

    def __init__(self, unplaced: set[int], managers: set[str], reason: str, *, tells: bool) -> None:
        """tells: if all of them come back, what none of them holds was not begun, whatever the claims table says."""
        self.unplaced, self.reason = unplaced, reason
        self._managers = managers
        self._tells = tells
        self._deadline = monotonic() + _REUNION_S

    def back(self, record: wire.ManagerUp) -> None:
        """A manager has come back, and says what it holds."""
        self.unplaced.difference_update(record.held)
        self._managers.discard(record.manager)

    def gone(self, manager: str) -> None:
        """A manager will not come back."""
        self._tells = self._tells and manager not in self._managers
        self._managers.discard(manager)

    def never_came(self) -> bool:
        """True, once it is over, if what nobody holds had got lost on its way to managers of other hosts.

        Such tasks are claimed when they are sent. No manager gets any before the client has heard of it.
        """
        return self._tells and not self._managers

    def is_over(self) -> bool:
        """True when all have come, or have had their time."""
        return not self._managers or monotonic() >= self._deadline

    def bound(self, timeout: float | None) -> float:
        """How long to wait at most."""
        left = 0.0 if self.is_over() else max(0.0, self._deadline - monotonic())
        return left if timeout is None else min(timeout, left)


def _name(link: Any, future: AppFuture[Any]) -> str:
    """By which its task is known whatever number this try has."""
    number = future._record.task if future._record is not None and future._record.task else future._tid
    return f"task {number} ({link.name_of(future)})"


class Recovery:
    """Brings a link over the loss of managers and interchanges. Belongs to its I/O thread."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._restarts: deque[float] = deque(maxlen=_RESTARTS)
        self._reunion: Reunion | None = None  # after a restart: waiting for managers to come back
        self._blame: Any = None  # what ended with managers inside; for those apart the keeper of the blocks knows it
        link.tries.on_worker_lost = self._worker_lost

    def bound(self, timeout: float | None) -> float | None:
        """How long the link may wait at most, as far as we are concerned."""
        if self._reunion is None:
            return timeout
        bound = self._reunion.bound(timeout)
        self._end_reunion()
        return bound

    def manager_gone(self, record: wire.ManagerGone) -> None:
        """A manager is lost. What it held runs again elsewhere."""
        link = self._link
        level = logging.INFO if record.expected and not record.tasks else logging.WARNING
        level = logging.DEBUG if link.is_stopping() else level
        log.log(level, "pool %s: manager %s on %s is gone: %s", link.label, record.manager, record.host, record.reason)
        facts = {"manager": record.manager, "host": record.host, "block": record.block}
        running = self._place_lost(record.tasks, facts, record.reason)
        link.watcher.other(record)
        held = len(record.tasks)
        link.keeper.manager_gone(
            record.block, record.manager, record.host, record.reason, held=held, running=running
        )  # fmt: skip
        if self._reunion is not None:
            self._reunion.gone(record.manager)

    def tasks_lost(self, record: wire.TasksLost) -> None:
        """Some tasks have got lost on their way to a manager."""
        log.info("pool %s: manager %s was without connection for a while", self._link.label, record.manager)
        facts = {"manager": record.manager, "host": record.host}
        up = self._link.watcher.managers.get(record.manager)
        # One that has no part in the table has said itself that it has not got them: what was sent counted as begun.
        never_came = up is not None and not up.shares
        self._place_lost(record.tasks, facts, "its connection was lost for a while", never_came=never_came)

    def _place_lost(
        self, tasks: list[int], facts: dict[str, str], reason: str, *, never_came: bool = False
    ) -> list[str]:
        """Gives the names of those that had begun there."""
        from parsl_pool.errors import ManagerLost  # with its base class, which only pools with a problem need

        link = self._link
        lost = [task for task in tasks if task in link.tries.table]
        waited = set(lost) if never_came else link.claims.withdraw(lost)
        running = {
            task: _name(link, future) for task in lost
            if task not in waited and (future := link.tries.table.get(task)) is not None
        }  # fmt: skip
        for task in lost:
            is_last = running.get(task) in link.tries.condemned
            link.tries.place_lost(task, task not in waited, facts["host"], ManagerLost(facts, reason), is_last=is_last)
        return list(running.values())

    def _worker_lost(self, future: AppFuture[Any], facts: dict[str, str]) -> None:
        """A worker has died under this try. What has ended by itself has done so because of its task, not its node."""
        keeper = self._link.keeper
        if keeper is not None and "signal" in facts and facts.get("cause") != "place":
            keeper.worker_lost(facts.get("host", ""), _name(self._link, future))

    def manager_up(self, record: wire.ManagerUp) -> None:
        """A manager is there, perhaps again."""
        link = self._link
        log.info("pool %s: manager %s is up with %d workers", link.label, record.manager, record.workers)
        link.watcher.other(record)
        link.keeper.manager_up(record.block, record.manager, record.host)
        if self._reunion is not None:
            self._reunion.back(record)

    def recover(self, process: InterchangeProcess) -> None:
        """Start another interchange, and send it what nobody has the result of."""
        from parsl_pool.errors import InterchangeLost  # as in _place_lost
        from parsl_pool.interchange.launch import describe_status

        link = self._link
        reason = f"it ended with {describe_status(process.status or 0)}"
        if process.stream.has_lost_descriptors:
            reason = "it was ended, since this process had no descriptor free for what it sent: too many open files"
        elif words := process.last_words():
            reason += f", and said: {words}"
        process.close_words()
        is_hopeless = not process.is_ready and (process.was_killed or (process.status or 0) >= 0)
        log.warning("pool %s: the interchange is lost: %s", link.label, reason)
        for body, descriptors in harvest(link.pages):
            link.tries.results(body, descriptors)
        if link.inside:
            self._forget_workers()
        for number, data in list(link.functions.data.items()):  # other threads define more
            link.outgoing.control.append((wire.frame(wire.Function(number, data)), None))
        broken = partial(PoolBroken, executor=link.label)
        problem: BaseException | None = None
        now = monotonic()
        if not link.may_restart:
            problem = InterchangeLost(None, f"{reason}, and the interpreter is exiting")
        elif is_hopeless:
            problem = broken(f"the interchange cannot be started: {reason}\ncommand: {process.command}")
        elif not (link.inside and self._has_culprit()) and (
            len(self._restarts) == _RESTARTS and now - self._restarts[0] < 10.0
        ):
            problem = broken(f"the interchange ended {_RESTARTS + 1} times within 10 s; the last time {reason}")
        else:
            self._restarts.append(now)
            try:
                link.start_process()
            except (StartError, OSError) as error:
                problem = broken(f"the interchange is lost ({reason}) and can't be started again: {error}")
        if problem is not None:
            link.give_up_for_good(problem)
            return
        before = [] if link.inside else list(link.watcher.managers.values())
        managers = set() if link.inside else self._living_managers()
        # All are alive, and for some of them the interchange has claimed. A stream that broke off may have had more.
        tells = len(before) == len(managers) and not all(up.shares for up in before)
        tells = tells and not process.stream.has_lost_descriptors
        # What other threads have submitted meanwhile is still to be sent for the first time.
        link.outbox.extendleft(reversed(link.outgoing.large.leave()))
        unsent = {future._tid for future in list(link.outbox)}
        self._reunion = Reunion(set(link.tries.table) - unsent, managers, reason, tells=tells)
        self._end_reunion()

    def _has_culprit(self) -> bool:
        """True if one task, and no other, was at work in each of the last places that ended: it has one more, and the
        pool need not end for it."""
        from parsl_pool.scaling.blame import Blame  # as in _place_lost

        link = self._link
        self._blame = self._blame or Blame()
        link.tries.condemned.update(self._blame.deadly)  # it has had its chance
        futures = [link.tries.table.get(task) for task in link.claims.are_begun(list(link.tries.table))]
        running = [_name(link, future) for future in futures if future is not None]
        for suspect in self._blame.lost(gethostname(), running):
            if suspect.kind == "deadly":
                log.warning("pool %s: %s", link.label, suspect.text)
        return not self._blame.deadly.isdisjoint(running)

    def _living_managers(self) -> set[str]:
        """Those that will come to the new interchange, as far as can be told."""
        link = self._link
        for up in list(link.watcher.managers.values()):
            if up.shares and not is_alive(up.pid):  # else its number is of another place
                self.manager_gone(wire.ManagerGone(up.manager, up.host, up.block, "its process has ended", [], 0))
        return set(link.watcher.managers)

    def _forget_workers(self) -> None:
        link = self._link
        for view in link.pages.values():
            link.watcher.worker_gone(wire.WorkerGone(view.record.manager, view.record.worker, -9, 0))
            view.close()
        link.pages.clear()

    def _end_reunion(self) -> None:
        """What no manager holds after a restart of the interchange is sent again."""
        reunion = self._reunion
        if reunion is None or not reunion.is_over():
            return
        from parsl_pool.errors import InterchangeLost  # as in _place_lost

        self._reunion = None
        link = self._link
        link.outgoing.resent.begin()
        lost = sorted(reunion.unplaced.intersection(list(link.tries.table)))
        waited = link.claims.withdraw(lost)
        if reunion.never_came():
            waited.update(lost)
        for task in lost:
            future = link.tries.table.get(task)
            error = InterchangeLost(None, reunion.reason)
            is_last = future is not None and _name(link, future) in link.tries.condemned
            host = gethostname() if link.inside else ""
            link.tries.place_lost(task, task not in waited, host, error, is_last=is_last)
            if future is not None:
                link.outgoing.resent.add(future._tid)
