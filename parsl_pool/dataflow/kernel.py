"""The dataflow kernel: tasks wait here for the futures among their arguments.

Whoever submits, and whoever brings a result, calls in; what is to be done is decided under one lock, and done
after it. Results travel on as the bytes that came. Only what has been opened, or comes from another executor's
future, has to be pickled (again): that is user code, and runs in a helper thread of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from time import sleep
from typing import Any, Protocol

from parsl_pool.dataflow import graph
from parsl_pool.dataflow.record import Options, TaskRecord
from parsl_pool.errors import DependencyError, PropagatedException, SerializationError, shown
from parsl_pool.futures import AppFuture, Failure, frameless, has_failed
from parsl_pool.interchange import serialize

_MOMENT_S = 5e-5


class Launcher(Protocol):
    """Where a task goes when it has all that it needs."""

    wants_payloads: bool

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        """Run it. The results, in the order in which submit() got the futures, are payloads if the launcher
        wants those, else the futures themselves."""

    def name_of(self, future: AppFuture[Any]) -> str:
        """What people know the task by."""


class _Task:
    """A task that waits."""

    __slots__ = ("arguments", "future", "futures", "launcher", "refuse")

    def __init__(
        self,
        future: AppFuture[Any],
        arguments: Any,
        futures: list[Future[Any]],
        launcher: Launcher,
        refuse: Callable[[AppFuture[Any], list[Future[Any]]], object] | None,
    ) -> None:
        self.future, self.arguments, self.futures, self.launcher = future, arguments, futures, launcher
        self.refuse = refuse  # makes the outcome when some of the futures have failed; None: a DependencyFailure


class DependencyFailure:
    """The outcome of a task whose dependencies failed; the error is made when somebody asks."""

    __slots__ = ("causes", "kind", "name", "task")
    failed = True

    def __init__(
        self, task: int, name: str, causes: list[Future[Any]], kind: type[PropagatedException] = DependencyError
    ) -> None:
        self.task, self.name, self.causes, self.kind = task, name, causes, kind

    def open(self) -> Any:
        """Raises the error."""
        for future in reversed(self._unopened()):  # those at the start of a chain first: it may be very long
            future.exception(0)
        pairs = [(_error_of(future), name_of(future)) for future in self.causes]
        error = self.kind(pairs, self.task, self.name)
        error.__cause__ = error.root_cause
        raise error

    def _unopened(self) -> list[AppFuture[Any]]:
        """What failed in the same way, on the way to the first failures."""
        found: dict[int, AppFuture[Any]] = {}
        todo: list[Future[Any]] = list(self.causes)
        while todo:
            future = todo.pop()
            if isinstance(future, AppFuture) and id(future) not in found:
                data = future._data
                if type(data) is DependencyFailure:
                    found[id(future)] = future
                    todo += data.causes
        return list(found.values())


class Kernel:
    """Holds the tasks of one pool that wait for something."""

    holds_back = True  # a future that is ours has not been launched

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _graph and _tasks, nothing else
        self._graph = graph.Graph()
        self._tasks: dict[int, _Task] = {}  # id(future) -> task
        self._helper: threading.Thread | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._local = threading.local()  # .settled: what this thread has been told and not dealt with
        self._on_settled = self._settled  # one object for all
        self.emptied: Callable[[], object] = _do_nothing
        """Called when the last task has gone, in whichever thread."""

    def __len__(self) -> int:
        return len(self._tasks)

    def is_waiting(self) -> bool:
        """True while any task waits here."""
        return bool(self._tasks)

    def submit(
        self,
        future: AppFuture[Any],
        arguments: Any,
        futures: list[Future[Any]],
        launcher: Launcher,
        refuse: Callable[[AppFuture[Any], list[Future[Any]]], object] | None = None,
    ) -> None:
        """Run the task when all these futures are done."""
        me = id(future)
        task = _Task(future, arguments, futures, launcher, refuse)
        missing = [needed for needed in futures if not needed.done()]  # the others need not tell us
        failed = [id(needed) for needed in futures if needed.done() and has_failed(needed)]
        numbers = list(map(id, missing))
        if self._lock.locked():
            _stand_back(self._lock)
        with self._lock:
            self._tasks[me] = task
            known = list(map(self._graph.is_awaited, numbers))
            effects = self._graph.submitted(me, set(numbers), failed)
            future._owner = self  # not before: cancel() has to find it here
        if future.done():  # cancelled before it came here: a join app's may be
            self.cancel(future)
        for effect in effects:
            self._perform(effect, task)
        for needed, already in zip(missing, known):
            if not already:
                needed.add_done_callback(self._on_settled)

    def _settled(self, needed: Future[Any]) -> None:
        settled = getattr(self._local, "settled", None)
        if settled is not None:  # we are called by what we do below: one after the other, for chains are long
            settled.append(needed)
            return
        self._local.settled = deque([needed])
        try:
            self._work_off(self._local.settled)
        finally:
            self._local.settled = None

    def _work_off(self, settled: deque[Future[Any]]) -> None:
        while settled:
            needed = settled.popleft()
            failed = has_failed(needed)
            if self._lock.locked():
                _stand_back(self._lock)
            with self._lock:
                effects = self._graph.settled(id(needed), failed)
                tasks = [self._tasks[effect.task] for effect in effects]
            for effect, task in zip(effects, tasks):
                self._perform(effect, task)

    def _perform(self, effect: graph.Effect, task: _Task) -> None:
        if isinstance(effect, graph.Refuse):
            bad = set(effect.failed)
            self._forget(effect.task, task)
            self._refuse(task, [future for future in task.futures if id(future) in bad])
        else:
            self._launch(effect.task, task)

    def _refuse(self, task: _Task, causes: list[Future[Any]]) -> None:
        number = task.future.tid
        if task.future._record is None:  # errors will name it, and then it has no owner any more
            name = task.launcher.name_of(task.future)
            task.future._record = TaskRecord(number, Options(), name, 0.0)
        refuse = task.refuse
        label = task.future._record.label
        task.future.finish(refuse(task.future, causes) if refuse else DependencyFailure(number, label, causes))
        task.future._owner = None  # not before: then it could still be cancelled

    def _launch(self, me: int, task: _Task) -> None:
        if not task.launcher.wants_payloads:
            if any(map(_may_raise, task.futures)):
                self.in_helper(lambda: self._open_and_launch(me, task))
            else:
                self._hand_over(me, task, list(task.futures))
            return
        payloads = [payload_of(needed) for needed in task.futures]
        if None in payloads:
            self.in_helper(lambda: self._pickle_and_launch(me, task))
        else:
            self._hand_over(me, task, payloads)

    def _open_and_launch(self, me: int, task: _Task) -> None:
        if not self._refused_after_all(me, task):
            self._hand_over(me, task, list(task.futures))

    def _refused_after_all(self, me: int, task: _Task) -> bool:
        """A lifted future has turned out to have no value: it had to be opened for that."""
        failed = [needed for needed in task.futures if _may_raise(needed) and needed.exception() is not None]
        if failed:
            self._forget(me, task)
            self._refuse(task, failed)
        return bool(failed)

    def _pickle_and_launch(self, me: int, task: _Task) -> None:
        if self._refused_after_all(me, task):
            return
        try:
            payloads = [payload_of(needed) or pickled(needed) for needed in task.futures]
        except BaseException as error:  # the result's own __reduce__; the dependent sees it
            self._forget(me, task)
            task.future._owner = None
            task.future.finish(Failure(frameless(error)))
        else:
            self._hand_over(me, task, payloads)

    def _hand_over(self, me: int, task: _Task, payloads: list[Any]) -> None:
        if task.future.done():  # cancelled at the last moment
            self._forget(me, task)
            return
        try:
            task.launcher.launch(task.future, task.arguments, payloads)
        except BaseException as error:  # the pool is broken or has ended; the future says so
            task.future.finish(Failure(error.with_traceback(None)))  # our frames have the future: a cycle
        finally:
            self._forget(me, task)  # only now: a pool that is shutting down waits for those it finds here

    def _forget(self, me: int, task: _Task) -> None:
        if self._lock.locked():
            _stand_back(self._lock)
        with self._lock:
            if self._tasks.get(me) is task:  # a join app's future may wait here again already, for what it joins
                del self._tasks[me]
            is_last = not self._tasks
        if is_last:
            self.emptied()

    def in_helper(self, job: Callable[[], None]) -> None:
        """Have the helper thread do this: it is the user's code."""
        with self._lock:
            if self._helper is None:
                self._helper = threading.Thread(target=self._help, name="parsl-pool-kernel", daemon=True)
                self._helper.start()
        self._jobs.put(job)

    def _help(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job

    def explain(self) -> list[str]:
        """For a few of the tasks that wait: for what."""
        with self._lock:
            some = [task for _, task in zip(range(5), self._tasks.values())]
        lines = []
        for task in some:
            missing = [future for future in task.futures if not future.done()]
            names = ", ".join(map(name_of, missing[:3]))
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            lines.append(f"{name_of(task.future)} waits for {len(missing)} of its dependencies: {names}{more}")
        return lines

    def disown(self, error: BaseException) -> None:
        """In a forked child: what waits here waits in the parent."""
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # private, and made for that
        self._local, self._helper, self._jobs = threading.local(), None, SimpleQueue()
        for task in self._tasks.values():
            task.future.disown(error)
        self._tasks.clear()
        self._graph = graph.Graph()

    def close(self) -> None:
        """End the helper thread, when nothing waits any more."""
        with self._lock:
            helper, self._helper = self._helper, None
        if helper is not None:
            self._jobs.put(None)
            if helper is not threading.current_thread():
                helper.join()

    # -- the Owner of its futures

    def cancel(self, future: AppFuture[Any]) -> bool:
        """Withdraw a task that waits."""
        with self._lock:
            if not self._graph.withdrawn(id(future)):
                return False
            del self._tasks[id(future)]
            is_last = not self._tasks
        if is_last:
            self.emptied()
        return True

    def needs_of(self, future: AppFuture[Any]) -> list[Future[Any]]:
        """What it waits for."""
        with self._lock:
            task = self._tasks.get(id(future))
        return list(task.futures) if task is not None else []

    def functions(self) -> set[int]:
        """The numbers of the functions that waiting tasks will call."""
        with self._lock:
            return {task.future._fn for task in self._tasks.values()}

    def waiting(self) -> list[AppFuture[Any]]:
        """The futures of the tasks that wait here."""
        with self._lock:
            return [task.future for task in self._tasks.values()]

    def cancel_all(self) -> None:
        """Cancel every task that waits here."""
        for future in self.waiting():
            future.cancel()

    def kill(self, future: AppFuture[Any]) -> bool:
        """It does not run: there is nothing to stop."""
        return False

    def is_running(self, future: AppFuture[Any]) -> bool:
        """It does not."""
        return False

    def name_of(self, future: AppFuture[Any]) -> str:
        """As its launcher knows it."""
        with self._lock:
            task = self._tasks.get(id(future))
        return task.launcher.name_of(future) if task is not None else ""

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """A task that could not run is its dependencies' failure, which are counted elsewhere."""

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """Results are brought by others; but if this thread is one of those, let it."""
        settled = getattr(self._local, "settled", None)
        if settled:  # a callback waits for what only its own thread will end
            self._work_off(settled)
            if future.done():
                return True
        with self._lock:
            task = self._tasks.get(id(future))
        pump = getattr(task.launcher, "pump", None) if task is not None else None
        return bool(pump(future, deadline)) if pump is not None else False


def _do_nothing() -> None:
    pass


def _stand_back(lock: threading.Lock) -> None:
    """Wait until nobody has a lock that is only ever held for a moment, without standing in line for it.

    Whoever has it has lost the interpreter in that moment. A thread that waits in the lock is given it long before it
    gets the interpreter; meanwhile the other one comes again, and waits in its turn: from then on each step of either
    is a change of threads.
    """
    while lock.locked():
        sleep(_MOMENT_S)


def _may_raise(future: Future[Any]) -> bool:
    """True for what has to be opened before it is known whether it has a value, or was just opened and has none."""
    if not isinstance(future, AppFuture):
        return False
    data = future._data
    return type(data) is Failure or getattr(data, "may_raise", False)


def payload_of(future: Future[Any]) -> Any:
    """The result as a payload, if it is one; None if it has to be pickled."""
    if isinstance(future, AppFuture):
        data = future._data
        if type(data) is bytes:
            return data
        return getattr(data, "view", None)
    return None


def pickled(future: Future[Any]) -> bytes:
    """The result as a payload, pickled here and now: the user's code."""
    value = future.result()
    try:
        return serialize.join(serialize.dump_value(value, "a result that another task needs"))
    except SerializationError:
        raise
    except BaseException as problem:  # SystemExit and the like from a __reduce__
        raise SerializationError("a result that another task needs", "", shown(problem)) from problem


def _error_of(future: Future[Any]) -> BaseException:
    try:
        return future.exception(0) or SerializationError("a result", "", "it failed, and then did not")
    except CancelledError as error:
        return error.with_traceback(None)  # our caller will have it in a variable: a cycle of frames


def name_of(future: Future[Any]) -> str:
    """What people know the task by, whose ever it is."""
    if not isinstance(future, AppFuture):
        return repr(future)
    record, owner = future._record, future._owner
    name = record.label if record is not None else owner.name_of(future) if owner is not None else ""
    number = f"task {future.tid}" if future.tid else "a task that could not be sent"
    return f"{number} ({name})" if name else number
