"""The blocks of one executor, and what is known of each. A plain table: no clock, no thread, no provider.

Each method is an event, with the time at which it happened; some return what is to be told of it. Not thread-safe: one
owner calls them. Any event is legal in any state: a manager may register from a job that is said to have ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

from parsl_pool.providers.states import JobState, JobStatus

LATE_S = 10.0  # a job that runs for so long without its manager is told of
_SETTLE_S = 120.0  # how long we ask for the last state of a job that we have ended
_KEPT = 1000  # blocks that have ended: a run of months must not fill the memory


class BlockStage(Enum):
    """Where a block is in its life."""

    SUBMITTING = "its job is being submitted"
    PENDING = "its job has been submitted, and does not run yet"
    RUNNING = "its job runs, nobody has registered yet"
    UP = "its manager has registered"
    DRAINING = "it takes no more tasks, and ends when it has done those that it holds"
    ENDING = "its job is to be cancelled"
    ENDED = "its job is over, or has been cancelled"


_S = BlockStage
MOVES: Mapping[BlockStage, frozenset[BlockStage]] = {
    _S.SUBMITTING: frozenset({_S.PENDING, _S.ENDED}),
    _S.PENDING: frozenset({_S.RUNNING, _S.UP, _S.ENDING, _S.ENDED}),
    _S.RUNNING: frozenset({_S.PENDING, _S.UP, _S.ENDING, _S.ENDED}),  # PENDING: it was put back into the queue
    _S.UP: frozenset({_S.DRAINING, _S.ENDING, _S.ENDED}),
    _S.DRAINING: frozenset({_S.ENDING, _S.ENDED}),
    _S.ENDING: frozenset({_S.ENDED}),
    _S.ENDED: frozenset(),
}
EXPECTED = frozenset({_S.PENDING, _S.RUNNING})
"""Their managers have not registered yet."""
CAPACITY = frozenset({_S.SUBMITTING, _S.PENDING, _S.RUNNING, _S.UP})
"""These do work, or will: they count from the moment of the submit call."""


class Fault(Enum):
    """In which way a block was of no use."""

    REFUSED = "the provider refused its job"
    MISSING = "its job ended before its manager registered"
    LATE = "its manager did not register in time"
    USELESS = "its manager was lost before a worker of it was up"


class Failed(NamedTuple):
    """A block was of no use."""

    block: Block
    what: str
    fault: Fault


class Told(NamedTuple):
    """Something that people may want to know of a block."""

    block: Block
    what: str
    is_warning: bool
    is_late: bool = False  # its job's output may say why


News = list["Failed | Told"]


class Block:
    """One block: a job, and the managers in it.

    Attributes:
        number: its name in the executor.
        job: the provider's name of it; "" until there is one.
        since: when it came to this stage.
        managers: those that are registered now, and their hosts.
        has_registered, has_worked: a manager of it, a worker of it, has ever been up.
        is_probe: it was started to see whether blocks work at all, after several had failed.
        is_wanted: False once we have decided to end it.
        verdict: what is to be said of its end, whatever the provider says; None: what that says.
        is_settled: the last state of its job is known, or will never be.
    """

    __slots__ = (
        "began", "ended", "failure", "has_registered", "has_worked", "is_late", "is_probe", "is_settled", "is_wanted",
        "job", "managers", "mark", "number", "since", "stage", "status", "submitted", "verdict",
    )  # fmt: skip

    def __init__(self, number: str, now: float) -> None:
        self.number, self.job = number, ""
        self.stage, self.since, self.submitted = BlockStage.SUBMITTING, now, now
        self.began: float | None = None
        self.ended: float | None = None
        self.status = JobStatus(JobState.PENDING, "it is being submitted")
        self.managers: dict[str, str] = {}
        self.has_registered = self.has_worked = self.is_late = self.is_settled = False
        self.is_probe, self.is_wanted = False, True
        self.verdict: JobState | None = None
        self.failure = ""
        self.mark = 0  # how many tasks had been done when it came up

    def move(self, stage: BlockStage, now: float) -> bool:
        """It is there now. False: from where it is, there is no way to that."""
        if stage not in MOVES[self.stage]:
            return False
        self.stage, self.since = stage, now
        if stage in (BlockStage.RUNNING, BlockStage.UP) and self.began is None:
            self.began = now
        if stage is BlockStage.ENDED:
            self.ended = now
        return True

    @property
    def is_expected(self) -> bool:
        """True until its manager has registered, or it has ended."""
        return self.stage in EXPECTED

    def now(self) -> JobStatus:
        """Its state, as far as it is known."""
        if self.verdict is not None and self.stage is BlockStage.ENDED:
            return replace(self.status, state=self.verdict, message=self.failure or self.status.message)
        if self.stage is BlockStage.UP and self.status.state is not JobState.RUNNING:
            return replace(self.status, state=JobState.RUNNING)  # the provider has not been asked since
        if self.stage is BlockStage.ENDED and not self.status.terminal:
            return replace(self.status, state=JobState.CANCELLED)
        return self.status


class BlockTable:
    """All blocks of one executor.

    Attributes:
        blocks: by number, the oldest first. Other threads may read a copy.
        others: managers of no block of ours, started by hand.
    """

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self.others: dict[str, str] = {}
        self._next = 0
        self._unknown_told = False

    # -- what there is

    def at(self, *stages: BlockStage) -> list[Block]:
        """The blocks in these stages."""
        return [block for block in list(self.blocks.values()) if block.stage in stages]

    def capacity(self) -> list[Block]:
        """Those that work, or will."""
        return self.at(*CAPACITY)

    def leaving(self) -> list[Block]:
        """Those that end, and may still hold nodes."""
        return self.at(BlockStage.DRAINING, BlockStage.ENDING)

    def to_ask_for(self, now: float) -> list[Block]:
        """Those of whose jobs the provider may have news."""
        found = []
        for block in self.blocks.values():
            if block.stage is BlockStage.ENDED and not block.is_settled and now - block.since > _SETTLE_S:
                block.is_settled = True
            if block.job and not block.is_settled:
                found.append(block)
        return found

    def has_managers(self) -> bool:
        """True while any manager is registered."""
        return bool(self.others) or any(block.managers for block in self.blocks.values())

    def statuses(self) -> dict[str, JobStatus]:
        """What becomes of each block, the oldest first. Any thread."""
        return {block.number: block.now() for block in list(self.blocks.values())}

    # -- what we do

    def reserve(self, now: float) -> Block:
        """A block is about to be submitted. It counts from now on."""
        block = Block(str(self._next), now)
        self._next += 1
        self.blocks[block.number] = block
        self._forget_old()
        return block

    def submitted(self, block: Block, job: str, now: float) -> None:
        """The provider has taken it."""
        block.job = job
        block.status = JobStatus(JobState.PENDING, "submitted")
        block.move(BlockStage.PENDING, now)
        if block.managers:  # the scheduler was faster than its own answer
            block.move(BlockStage.UP, now)

    def refused(self, block: Block, reason: str, now: float) -> None:
        """The provider has not."""
        block.failure, block.verdict, block.is_settled = reason, JobState.FAILED, True
        block.status = JobStatus(JobState.FAILED, reason)
        block.move(BlockStage.ENDED, now)

    def forget(self, block: Block) -> None:
        """The provider has no room for it: there is no such block."""
        del self.blocks[block.number]

    def drain(self, block: Block, now: float) -> bool:
        """It is to take no more tasks, and then to end. False: it has no manager that could be told."""
        block.is_wanted = False
        return block.move(BlockStage.DRAINING, now)

    def end(self, block: Block, now: float) -> None:
        """Its job is to be cancelled, whatever it does."""
        block.is_wanted = False
        block.move(BlockStage.ENDING, now)

    def cancelled(self, block: Block, now: float) -> None:
        """The provider has promised that its job ends."""
        block.move(BlockStage.ENDED, now)

    # -- what happens

    def seen(self, block: Block, status: JobStatus, now: float) -> News:
        """The provider says this of its job."""
        if block.is_settled:
            return []
        if status.terminal:
            return self._over(block, status, now)
        block.status = status
        if status.state is JobState.RUNNING and block.stage is BlockStage.PENDING:
            block.move(BlockStage.RUNNING, now)  # only from now on its manager can be expected
        elif status.state in (JobState.PENDING, JobState.HELD) and block.stage is BlockStage.RUNNING:
            block.move(BlockStage.PENDING, now)
        elif status.state is JobState.UNKNOWN and not self._unknown_told:
            self._unknown_told = True
            return [Told(block, "the provider can't tell its state; it counts as alive (told once)", True)]
        return []

    def _over(self, block: Block, status: JobStatus, now: float) -> News:
        block.status, block.is_settled = status, True
        expected, was_up = block.is_expected, block.stage is BlockStage.UP
        if not block.move(BlockStage.ENDED, now):
            return []
        if not expected or block.verdict is not None:
            # Its managers may have left in good order a moment before: at the pool's end the two race.
            is_usual = was_up or not block.is_wanted or status.state is JobState.COMPLETED
            return [Told(block, f"its job ended ({status.status_name})", not is_usual)]
        block.verdict = JobState.MISSING
        return [Failed(block, f"its job ended ({status.status_name}) before its manager registered", Fault.MISSING)]

    def overdue(self, start_s: float, now: float) -> News:
        """Look whose managers should have registered by now."""
        news: News = []
        for block in self.at(BlockStage.RUNNING):
            silent = now - block.since
            if silent > start_s:
                block.verdict = JobState.MISSING
                self.end(block, now)
                news.append(Failed(block, f"its manager has not registered within {start_s:g} s", Fault.LATE))
            elif silent > LATE_S and not block.is_late:
                block.is_late = True
                what = f"its job runs, and its manager has not registered for {silent:.0f} s"
                news.append(Told(block, what, True, is_late=True))
        return news

    def manager_up(self, number: str, manager: str, host: str, done: int, now: float) -> None:
        """A manager has registered, perhaps again. done: how many tasks have been done so far."""
        block = self.blocks.get(number)
        if block is None:
            self.others[manager] = host
            return
        if block.stage is BlockStage.ENDED:
            return
        block.managers[manager] = host
        block.has_registered = True
        if block.move(BlockStage.UP, now):
            block.mark = done

    def worker_up(self, number: str) -> bool:
        """A worker of this block is up. True if it is the first."""
        block = self.blocks.get(number)
        is_first = block is not None and not block.has_worked
        if block is not None:
            block.has_worked = True
        return is_first

    def manager_gone(self, number: str, manager: str, reason: str, now: float) -> News:
        """A manager is lost, or has ended. With the last one of a block its job is of no use any more."""
        self.others.pop(manager, None)
        block = self.blocks.get(number)
        if block is None:
            return []
        had = block.managers.pop(manager, None) is not None
        if block.managers:
            return []
        if block.stage in (BlockStage.UP, BlockStage.DRAINING):
            block.move(BlockStage.ENDING, now)
        if not had or block.has_worked or not block.is_wanted or block.verdict is not None:
            return []
        what = f"its manager has registered, and was lost before a worker of it was up: {reason}"
        return [Failed(block, what, Fault.USELESS)]

    def _forget_old(self) -> None:
        if len(self.blocks) <= 2 * _KEPT:
            return
        old = [block.number for block in self.blocks.values() if block.stage is BlockStage.ENDED and block.is_settled]
        for number in old[: len(self.blocks) - _KEPT]:
            del self.blocks[number]
