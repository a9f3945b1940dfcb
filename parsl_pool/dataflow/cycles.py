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

from parsl_pool.dataflow.helpers import Helpers
from parsl_pool.futures import AppFuture

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
        joining: tells the futures of the join apps that wait for what they have returned.
        refuse: ends one of a cycle's futures; False if none of them is its.
    """

    def __init__(
        self,
        helpers: Helpers,
        joining: Callable[[], list[AppFuture[Any]]],
        refuse: Callable[[list[Future[Any]]], bool],
    ) -> None:
        self._helpers, self._joining, self._refuse = helpers, joining, refuse
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
        while cycle := find_cycle(self._joining()):
            if not (is_cycle(cycle) and self._refuse(cycle)):
                self.look_soon()  # it has changed meanwhile, or is for another pool to end
                break
        self._pause_s = max(_PAUSE_S, 20 * (monotonic() - began))
