"""Futures that wait for one another in a circle.

The futures among a call's arguments are older than its own, so that no call can wait for itself. But a join app may
return a future that waits for the join's own, directly or through other tasks and joins; and a call that is taken for
the same as one under way waits for that one, which may be the join app that has made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from time import monotonic
from typing import Any

from parsl_pool.dataflow.flow_task import FlowTask
from parsl_pool.dataflow.helpers import Helpers
from parsl_pool.dataflow.kernel import Kernel, name_of
from parsl_pool.errors import DependencyCycle
from parsl_pool.futures import AppFuture
from parsl_pool.futures.states import TaskState

_PAUSE_S = 1.0


def needs_of(future: Future[Any]) -> list[Future[Any]]:
    """What this future waits for, as far as can be seen from here: not through other executors' futures."""
    if not isinstance(future, AppFuture) or future.done():
        return []
    ask = getattr(future._owner, "needs_of", None)  # executors have none: what they have waits for nothing
    needs: list[Future[Any]] = ask(future) if ask is not None else []
    return needs


def find_cycle(starts: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Futures each of which waits for the next, and the last one for the first; [] if there are none.

    Looks at everything that these wait for, once.
    """
    known: dict[int, Future[Any]] = {}  # what leads to no cycle, by id; the futures keep their ids from being reused
    for start in starts:
        if id(start) in known:
            continue
        path: list[Future[Any]] = [start]
        places = {id(start): 0}
        todo: list[Iterator[Future[Any]]] = [iter(needs_of(start))]
        while todo:
            needed = next(todo[-1], None)
            if needed is None:
                todo.pop()
                last = path.pop()
                del places[id(last)]
                known[id(last)] = last
            elif id(needed) in places:
                return path[places[id(needed)] :]
            elif id(needed) not in known:
                places[id(needed)] = len(path)
                path.append(needed)
                todo.append(iter(needs_of(needed)))
    return []


def is_cycle(futures: list[Future[Any]]) -> bool:
    """True if each of these still waits for the next one, and the last one for the first."""
    following = [*futures[1:], *futures[:1]]
    return all(any(needed is other for needed in needs_of(future)) for future, other in zip(futures, following))


class CycleWatch:
    """Looks for cycles a moment after something has begun to wait that may have closed one.

    Not at once: a look goes over all that waits, and there may be many joins. It takes a twentieth of a thread at most.

    Args:
        helpers: where it looks.
        kernel: where joins wait for what they have returned.
        tasks: tells the flow's tasks.
        fail: ends one of them.
    """

    def __init__(
        self,
        helpers: Helpers,
        kernel: Kernel,
        tasks: Callable[[], list[FlowTask]],
        fail: Callable[[FlowTask, BaseException], None],
    ) -> None:
        self._helpers, self._kernel, self._tasks, self._fail = helpers, kernel, tasks, fail
        self._is_due = False
        self._pause_s = _PAUSE_S

    def look_soon(self) -> None:
        """Something new waits. Any thread."""
        if not self._is_due:
            self._is_due = True
            self._helpers.run_later(self._pause_s, self._look)

    def stop(self) -> None:
        """The helpers have ended, and forgotten what was due."""
        self._is_due = False

    def _look(self) -> None:
        self._is_due = False
        began = monotonic()
        while True:
            joining = {
                id(task.future): task for task in self._tasks() if task.record.status is TaskState.joining
            }
            cycle = find_cycle([task.future for task in joining.values()])
            if not cycle:
                break
            if not (is_cycle(cycle) and self._end_one(cycle, joining)):
                self.look_soon()  # it has changed meanwhile, or is for another pool to end
                break
        self._pause_s = max(_PAUSE_S, 20 * (monotonic() - began))

    def _end_one(self, cycle: list[Future[Any]], joining: dict[int, FlowTask]) -> bool:
        """End one of the join apps in it, and so the rest. False if none of them is this flow's."""
        for place, future in enumerate(cycle):
            task = joining.get(id(future))
            if task is not None and self._kernel.cancel(task.future):
                self._fail(task, DependencyCycle([name_of(other) for other in (*cycle[place:], *cycle[:place])]))
                return True
        return False
