"""What a line is, and what it works with: one peer, in a process that nothing else was measured in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks import tasks
from benchmarks.peers import Peer, Pool

START_S = 0.1    # a task that sleeps so long keeps its worker from taking another, so that all workers start
WARM_UP = 500


class WrongResult(Exception):
    """A pool gave back something else than it should, or computed it at home."""


@dataclass(frozen=True)
class Metric:
    """One figure of a line."""

    name: str
    unit: str
    title: str
    more_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing to measure. `measure` runs once a sample, in a fresh process."""

    name: str
    metrics: Sequence[Metric]
    measure: Callable[[Trial], Mapping[str, float]]
    size: int = 1                     # for the fastest peer; others get their share of it
    least: int = 1                    # no share is smaller than this
    quick_size: int = 1               # of everybody, in quick mode
    needs: frozenset[str] = frozenset()
    only: frozenset[str] | None = None    # names of the peers it makes sense for; None: all that can
    most_rounds: int = 1_000          # for lines that take long and hardly vary
    limit_s: float = 120.0
    is_rare: bool = False             # takes so long that it is only measured by name, or in a run without a limit

    def wants(self, peer: Peer) -> bool:
        """Whether the peer can and should be measured here."""
        if self.only is not None:
            return peer.name in self.only
        return self.needs <= peer.traits and "start only" not in peer.traits and not peer.command

    def size_for(self, peer: Peer, quick: bool) -> int:
        """How many tasks (or whatever the line counts) one sample of the peer takes."""
        full = max(self.least, int(self.size * peer.share))
        return min(self.quick_size, full) if quick else full


@dataclass
class Trial:
    """One sample being taken."""

    peer: Peer
    workers: int
    size: int
    quick: bool
    worker_pids: set[int] = field(default_factory=set)

    @contextmanager
    def pool(self) -> Iterator[Pool]:
        """A warm pool; afterwards it is certain that its tasks ran elsewhere."""
        self.peer.load()
        pool = self.peer.starts(self.workers)
        try:
            self.warm(pool)
            yield pool
            self.check_home()
        finally:
            pool.close()

    def warm(self, pool: Pool) -> None:
        """See every worker start, and the measured path run."""
        naps = [pool.submit(tasks.pid_after, START_S) for _ in range(self.workers)]
        self.worker_pids = set(pool.gather(naps))
        if os.getpid() in self.worker_pids:
            raise WrongResult("a task ran in the client")
        count = max(20, int(WARM_UP * self.peer.share))
        expect(pool.gather([pool.submit(tasks.noop, i) for i in range(count)]), list(range(count)))

    def check_home(self) -> None:
        """Raise if this process ran a task itself."""
        if tasks.calls[0]:
            raise WrongResult(f"{tasks.calls[0]} tasks ran in the client")


def expect(actual: Any, right: Any) -> None:
    """Raise unless both are equal; the text is short, whatever their size."""
    if actual != right:
        raise WrongResult(f"expected {right!r:.80}, got {actual!r:.80}")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by more than `1 - share` of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

