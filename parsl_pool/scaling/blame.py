"""Who is to blame for lost places: the task that was running in them, or the node that they were on.

A task that was running in one lost place after the other ends them, more likely than not. A node that loses the tasks
of several others is bad. Neither is known after one loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PLACES = 2
"""A task that was running in so many lost places is named."""
LOSSES = 3
"""A node that has lost so many places, with tasks that are not to blame themselves, is named."""
_KEPT = 10_000


class Suspect(NamedTuple):
    """What is to be told, once."""

    kind: str  # "task" or "node"
    name: str
    text: str


class Blame:
    """Losses by task and by node. One owner."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}  # task -> the hosts where it was running and was lost
        self._losses: dict[str, list[frozenset[str]]] = {}  # host -> what was running there, loss by loss
        self.tasks: set[str] = set()
        self.nodes: set[str] = set()

    def lost(self, host: str, running: Iterable[str]) -> list[Suspect]:
        """A place on this host is lost, and these tasks were running in it."""
        tasks = frozenset(running)
        if not tasks:
            return []
        news = []
        for task in sorted(tasks):
            places = self._places.setdefault(task, [])
            places.append(host)
            if len(places) >= PLACES and task not in self.tasks:
                self.tasks.add(task)
                news.append(Suspect("task", task, self._of_task(task)))
        self._losses.setdefault(host, []).append(tasks)
        if host not in self.nodes and self._is_bad(host):
            self.nodes.add(host)
            news.append(Suspect("node", host, self._of_node(host)))
        while len(self._places) > _KEPT:
            del self._places[next(iter(self._places))]
        return news

    def _is_bad(self, host: str) -> bool:
        """True if enough was lost there that no task can be blamed for: each time others were running."""
        guiltless = [tasks for tasks in self._losses[host] if not tasks <= self.tasks]
        return len(guiltless) >= LOSSES and len(frozenset().union(*guiltless)) > 1

    def _of_task(self, task: str) -> str:
        places = self._places[task]
        return (
            f"{task} was running in {len(places)} places that were lost (on {', '.join(places)}): "
            "perhaps it is what ends them"
        )

    def _of_node(self, host: str) -> str:
        return f"node {host} has lost {len(self._losses[host])} places with tasks running in them: perhaps it is bad"

    def explain(self) -> list[str]:
        """All that are named, for people."""
        tasks = [self._of_task(task) for task in sorted(self.tasks) if task in self._places]
        return tasks + [self._of_node(host) for host in sorted(self.nodes)]
