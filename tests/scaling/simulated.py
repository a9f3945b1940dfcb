"""A cluster that is only counted: blocks that wait in a queue, tasks that only last. For `decide`, without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from parsl_pool.scaling.decision import Idleness, Limits, Load, Plan, View, decide


@dataclass
class SimulatedBlock:
    """One that comes up at a moment, and then runs tasks."""

    up_at: int
    ends: list[int] = field(default_factory=list)  # of the tasks that it runs
    is_leaving: bool = False
    idle_since: int | None = None


@dataclass
class Step:
    """What was seen, and decided, at one moment."""

    now: int
    view: View
    plan: Plan
    held: dict[str, int]


class Simulation:
    """A load on an executor, a second at a time. `steps` has all that was decided."""

    def __init__(self, strategy: str, limits: Limits, init: int, queue_s: int, period: int, exact: bool) -> None:
        self.strategy, self.limits, self.queue_s, self.period = strategy, limits, queue_s, period
        self.exact = exact  # whether managers say since when they have been idle
        self.blocks: dict[str, SimulatedBlock] = {}
        self.waiting: list[int] = []  # durations
        self.done = self.now = self.number = 0
        self.idleness = Idleness()
        self.steps: list[Step] = []
        self._start(init)

    def advance(self, arriving: list[int]) -> None:
        """One second, in which tasks arrive that last so long."""
        self.now += 1
        self.waiting += arriving
        for number, block in list(self.blocks.items()):
            if block.up_at > self.now:
                continue
            running = len(block.ends)
            block.ends = [end for end in block.ends if end > self.now]
            self.done += running - len(block.ends)
            while self.waiting and not block.is_leaving and len(block.ends) < self.limits.slots:
                block.ends.append(self.now + self.waiting.pop(0))
            if block.ends:
                block.idle_since = None
            elif block.idle_since is None:
                block.idle_since = self.now
            if block.is_leaving and not block.ends:
                del self.blocks[number]
        if self.now % self.period == 0:
            self._decide()

    def _decide(self) -> None:
        alive = {number: block for number, block in self.blocks.items() if not block.is_leaving}
        held = {number: len(block.ends) for number, block in alive.items()}
        up = {number: block for number, block in alive.items() if block.up_at <= self.now}
        loads = {number: Load(held[number], self._idle_s(block)) for number, block in up.items()}
        view = self.idleness.view(
            self.limits, {number: number in up for number in alive}, loads,
            len(self.waiting) + sum(len(block.ends) for block in self.blocks.values()), self.done,
            len(self.blocks) - len(alive), self.now,
        )  # fmt: skip
        plan = decide(self.strategy, self.limits, view)
        self.steps.append(Step(self.now, view, plan, held))
        for number in plan.release:
            if self.blocks[number].up_at > self.now:
                del self.blocks[number]
            else:
                self.blocks[number].is_leaving = True
        self._start(plan.start)

    def _idle_s(self, block: SimulatedBlock) -> float | None:
        if not self.exact:
            return None
        return 0.0 if block.idle_since is None else float(self.now - block.idle_since)

    def _start(self, count: int) -> None:
        for _ in range(count):
            self.blocks[str(self.number)] = SimulatedBlock(self.now + self.queue_s)
            self.number += 1


def random_limits(random: Random) -> tuple[Limits, int]:
    """And how many blocks there are at first."""
    least = random.choice([0, 0, 0, 1, 2])
    init = least + random.choice([0, 0, 1, 2])
    most = max(1, init + random.choice([0, 1, 5, 20]))
    parallelism = random.choice([0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1, 1, random.random()])
    return Limits(least, most, parallelism, random.choice([1, 2, 3, 16]), random.choice([0, 3, 30, 120])), init
