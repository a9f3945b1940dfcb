"""Who is to blame for lost places and workers: the task that was running there, or the node that they were on.

A task that was running in one lost place after the other ends them, more likely than not. A node that loses the tasks
of several others is bad. Neither is known after one loss.

A worker that dies says less of its node than a place does: its own task may have ended it, and many calls of one
function may have the same flaw. So a node is named for lost workers only if it stands out among the nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

PLACES = 2
"""A task that was running in so many lost places is named."""
FATAL = 4
"""The one task that was running in each of the last so many lost places has no more than one try."""
LOSSES = 3
"""A node that has lost so many places, with tasks that are not to blame themselves, is named."""
WORKERS = 5
"""A node is named that has lost the workers of so many tasks, and so many times as many as all others together."""
_KEPT = 10_000
_TOLD = 10


class Suspect(NamedTuple):
    """What is to be told, once."""

    kind: str  # "task", "node", or "deadly": a task that is not to be tried again once another place is lost
    name: str
    text: str


class Blame:
    """Losses by task and by node. One owner."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}  # task -> the hosts where it was running and was lost
        self._losses: dict[str, list[frozenset[str]]] = {}  # host -> what was running there, loss by loss
        self._last: deque[frozenset[str]] = deque(maxlen=FATAL)  # what was running in the places lost last
        self._workers: dict[str, set[str]] = {}  # host -> the tasks whose workers were lost there
        self.tasks: set[str] = set()
        self.nodes: set[str] = set()
        self.deadly: set[str] = set()

    def lost(self, host: str, running: Iterable[str]) -> list[Suspect]:
        """A place on this host is lost, and these tasks were running in it."""
        tasks = frozenset(running)
        self._last.append(tasks)
        if not tasks:
            return []
        news = self._ran_there(host, tasks)
        self._losses.setdefault(host, []).append(tasks)
        in_all = frozenset.intersection(*self._last)
        if len(self._last) == FATAL and len(in_all) == 1 and not in_all <= self.deadly:
            (task,) = in_all
            self.deadly.add(task)
            news.append(Suspect("deadly", task, self._of_deadly(task)))
        if host not in self.nodes and self._is_bad(host):
            self.nodes.add(host)
            news.append(Suspect("node", host, self._of_node(host)))
        self._forget_old()
        return news

    def worker_lost(self, host: str, task: str, hosts: Collection[str]) -> list[Suspect]:
        """A signal has ended a worker on this host, and this task was running in it. hosts: where managers are now."""
        news = self._ran_there(host, (task,))
        tasks = self._workers.setdefault(host, set())
        if len(tasks) < _KEPT:
            tasks.add(task)
        if host not in self.nodes and self._stands_out(host, hosts):
            self.nodes.add(host)
            news.append(Suspect("node", host, self._of_node(host)))
        self._forget_old()
        return news

    def _ran_there(self, host: str, tasks: Iterable[str]) -> list[Suspect]:
        news = []
        for task in sorted(tasks):
            places = self._places.setdefault(task, [])
            places.append(host)
            if len(places) >= PLACES and task not in self.tasks:
                self.tasks.add(task)
                news.append(Suspect("task", task, self._of_task(task)))
        return news

    def _is_bad(self, host: str) -> bool:
        """True if enough was lost there that no task can be blamed for: each time others were running."""
        guiltless = [tasks for tasks in self._losses[host] if not tasks <= self.tasks and tasks.isdisjoint(self.deadly)]
        return len(guiltless) >= LOSSES and len(frozenset().union(*guiltless)) > 1

    def _stands_out(self, host: str, hosts: Collection[str]) -> bool:
        """True if the workers of many tasks were lost there, hardly any elsewhere, and there is an elsewhere."""
        if not any(other != host and other not in self.nodes for other in hosts):
            return False
        elsewhere = {
            task for other, tasks in self._workers.items() if other != host and other not in self.nodes
            for task in tasks
        }  # fmt: skip
        here = len(self._workers[host] - elsewhere)  # the others take their deaths with them
        return here >= WORKERS * max(1, len(elsewhere))

    def _of_task(self, task: str) -> str:
        places = self._places[task]
        return (
            f"{task} was running in {len(places)} places that were lost (on {', '.join(places[-_TOLD:])}): "
            "perhaps it is what ends them"
        )

    def _of_deadly(self, task: str) -> str:
        return (
            f"{task} was running in each of the last {FATAL} places that were lost (on "
            f"{', '.join(self._places[task][-FATAL:])}), and no other task was: if it loses another one, it is not "
            "tried again"
        )

    def _of_node(self, host: str) -> str:
        places, workers = len(self._losses.get(host, ())), len(self._workers.get(host, ()))
        lost = f"{places} places with tasks running in them" if places else ""
        lost += " and " if places and workers else ""
        lost += f"the workers of {workers} tasks" if workers else ""
        return f"node {host} has lost {lost}: perhaps it is bad"

    def _forget_old(self) -> None:
        while len(self._places) > _KEPT:
            old = next(iter(self._places))
            del self._places[old]
            self.tasks.discard(old)

    def explain(self) -> list[str]:
        """All that are named, for people."""
        tasks = [self._of_task(task) for task in sorted(self.tasks)[:_TOLD] if task in self._places]
        if len(self.tasks) > _TOLD:
            tasks.append(f"so were {len(self.tasks) - _TOLD} more tasks")
        return tasks + [self._of_node(host) for host in sorted(self.nodes)]
