"""Keeps the blocks of one executor: starts them, notices their end, and replaces those that are lost.

One thread, one status call for all blocks, and never sooner after the last one than the provider asks for. It looks
rarely at blocks that are expected for long, and hardly ever while all are up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any

from parsl_pool.errors import ExecutionProviderException, describe_fields, described
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.blocks")

_SHORTEST_S = 0.1  # whatever a provider says
_SLOW_S = 1.0
_CALM_S = 30.0
_LATE_S = 10.0
_TRIES = 3
_LONG_TRIES = 2  # of blocks that each use up all their time


class BlockStage(Enum):
    """Where a block is in its life."""

    SUBMITTED = "its job has been submitted, and does not run yet"
    STARTED = "its job runs, nobody has registered yet"
    UP = "its manager has registered"
    ENDED = "its job is over, or has been cancelled"


class Block:
    """One block. Belongs to the keeper's lock."""

    __slots__ = ("failure", "has_worked", "is_late", "job", "number", "since", "stage")

    def __init__(self, number: str, job: str) -> None:
        self.number, self.job = number, job
        self.failure = ""
        self.has_worked = False  # a worker of its has been up
        self.is_late = False  # that is on the log
        self.move(BlockStage.SUBMITTED)

    def move(self, stage: BlockStage) -> None:
        """It is there now."""
        self.stage, self.since = stage, monotonic()

    @property
    def is_expected(self) -> bool:
        """True until its manager has registered, or it has ended."""
        return self.stage in (BlockStage.SUBMITTED, BlockStage.STARTED)


class BlockKeeper:
    """Keeps `wanted` blocks alive.

    Args:
        provider: where blocks come from.
        wanted: how many there are to be.
        command: the manager's command for a block's name.
        give_up: called with a text when blocks fail again and again before their managers register, or are of use.
        is_needed: True while there are tasks.
        start_timeout_s: how long a block's job may run until its manager registers.
    """

    def __init__(
        self,
        label: str,
        provider: Any,
        wanted: int,
        command: Callable[[str], str],
        give_up: Callable[[str], None],
        is_needed: Callable[[], bool],
        start_timeout_s: float = 60.0,
    ) -> None:
        self._label, self._provider, self._wanted = label, provider, wanted
        self._command, self._give_up, self._is_needed = command, give_up, is_needed
        self._start_s = start_timeout_s
        self._lock = threading.Lock()  # guards blocks, _failures, _late, _early_ends and _lost
        self.blocks: dict[str, Block] = {}
        self._lost: dict[str, str] = {}  # blocks whose manager is gone, and why: their jobs are to be ended
        self._failures: list[str] = []  # in a row: of blocks whose managers did not register ...
        self._late = 0  # how many of these had a job that went on running
        self._early_ends: list[str] = []  # ... and of those whose managers did, and ended before they had a worker
        self._next = 0
        self._wake, self._may_begin = threading.Event(), threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"parsl-pool-blocks-{label}", daemon=True)

    def start(self) -> None:
        """Start the thread, which waits for `begin`."""
        self._thread.start()

    def begin(self) -> None:
        """Managers can connect now: there may be blocks."""
        self._may_begin.set()

    def stop(self) -> None:
        """End all blocks, and the thread."""
        self._stopping = True
        self._may_begin.set()
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def retire(self) -> None:
        """Replace nothing any more: the managers are being told to end."""
        self._wanted = 0

    def manager_up(self, block: str) -> None:
        """A manager of this block has registered."""
        with self._lock:
            known = self.blocks.get(block)
            if known is not None:
                if known.stage is not BlockStage.UP:
                    known.move(BlockStage.UP)
                self._failures.clear()
                self._late = 0

    def worker_up(self, block: str) -> None:
        """A worker of this block is up."""
        with self._lock:
            known = self.blocks.get(block)
            if known is not None and not known.has_worked:
                known.has_worked = True
                self._early_ends.clear()

    def manager_gone(self, block: str, reason: str) -> None:
        """The manager of this block is lost; its job may still hang about."""
        with self._lock:
            if block in self.blocks:
                self._lost[block] = reason
        self._wake.set()

    def explain(self) -> list[str]:
        """The blocks, and what became of those that failed."""
        now = monotonic()
        with self._lock:
            blocks = list(self.blocks.values())
        return [
            f"block {block.number} (job {block.job}): {block.stage.value}, for {now - block.since:.0f} s"
            + (f"; {block.failure}" if block.failure else "")
            for block in blocks[-5:]
        ]

    # -- the thread

    def _run(self) -> None:
        self._may_begin.wait()
        try:
            while not self._stopping:
                self._look()
                self._wake.wait(self._pause())
                self._wake.clear()
        except Exception as problem:  # a provider that misbehaves; nobody must wait for ever because of it
            log.exception("pool %s: the thread that keeps its blocks failed", self._label)
            self._give_up(f"the thread that keeps the blocks failed: {described(problem)}")
        finally:
            self._cancel([block for block in self.blocks.values() if block.stage is not BlockStage.ENDED])

    def _pause(self) -> float:
        now = monotonic()
        interval = max(_SHORTEST_S, float(self._provider.status_polling_interval))
        with self._lock:
            expected = [now - block.since for block in self.blocks.values() if block.is_expected]
            alive = sum(block.stage is not BlockStage.ENDED for block in self.blocks.values())
        if expected:
            return max(interval, min(_SLOW_S, min(expected) / 4))
        # A block that is up needs no looking after: the interchange tells when its manager is gone.
        return max(interval, _SLOW_S if alive < self._wanted else _CALM_S)

    def _look(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, {}
        for number, reason in lost.items():
            self._end_lost(self.blocks[number], reason)
        self._check_jobs()
        with self._lock:
            text = self._hopeless()
            self._stopping = self._stopping or bool(text)
            alive = sum(block.stage is not BlockStage.ENDED for block in self.blocks.values())
        if text:
            self._give_up(text)
            return
        for _ in range(self._wanted - alive):
            self._submit()

    def _hopeless(self) -> str:
        """Why no block is to be started any more; "" as long as there is hope."""
        count = len(self._failures)
        if count >= _TRIES or self._late >= _LONG_TRIES:
            return f"{count} blocks in a row ended before a manager of theirs registered. {self._failures[-1]}"
        if len(self._early_ends) >= _TRIES:
            return f"{_TRIES} blocks in a row ended before a worker of theirs was up. {self._early_ends[-1]}"
        return ""

    def _end_lost(self, block: Block, reason: str) -> None:
        """End the job of a manager that is gone. If it never was of use, though there are tasks, that counts."""
        is_early = (
            not block.has_worked and self._wanted and monotonic() - block.since < self._start_s and self._is_needed()
        )
        what = f"its manager has registered, and was lost before a worker of it was up: {reason}"
        if is_early:
            try:
                (status,) = self._provider.status([block.job])
            except ExecutionProviderException as problem:
                self._early_ends.append(f"Block {block.number} (job {block.job}): {what}; {problem}")
            else:
                self._fail(block, what, status, self._early_ends)
        if block.stage is not BlockStage.ENDED:
            self._cancel([block])

    def _submit(self) -> None:
        number = str(self._next)
        self._next += 1
        try:
            job = self._provider.submit(self._command(number), 1, f"parsl_pool.{self._label}.{number}")
        except ExecutionProviderException as problem:
            log.warning("pool %s: block %s could not be submitted: %s", self._label, number, problem)
            with self._lock:
                self._failures.append(str(problem))
            return
        log.info("pool %s: block %s: submitted as job %s", self._label, number, job)
        with self._lock:
            self.blocks[number] = Block(number, job)

    def _check_jobs(self) -> None:
        with self._lock:
            live = [block for block in self.blocks.values() if block.stage is not BlockStage.ENDED]
        if not live:
            return
        try:
            statuses = self._provider.status([block.job for block in live])
        except ExecutionProviderException as problem:
            log.warning("pool %s: the provider can't tell the blocks' states: %s", self._label, problem)
            return
        for block, status in zip(live, statuses):
            if status.terminal:
                self._ended(block, status)
            elif block.is_expected and _runs(status):
                self._await_manager(block, status)

    def _await_manager(self, block: Block, status: Any) -> None:
        with self._lock:
            if block.stage is BlockStage.SUBMITTED:
                block.move(BlockStage.STARTED)  # only from now on its manager can be expected
        silent = monotonic() - block.since
        if block.stage is not BlockStage.STARTED:
            return  # it has come
        if silent > self._start_s:
            self._cancel([block])
            self._fail(block, f"its manager has not registered within {self._start_s:g} s", status, self._failures)
            with self._lock:
                self._late += 1
        elif silent > _LATE_S and not block.is_late:
            block.is_late = True
            what = f"its job runs, and its manager has not registered for {silent:.0f} s"
            log.warning("pool %s: %s", self._label, self._description(block, what, status))

    def _ended(self, block: Block, status: Any) -> None:
        before = block.stage
        block.move(BlockStage.ENDED)
        log.log(
            logging.INFO if before is BlockStage.UP else logging.WARNING,
            "pool %s: block %s: job %s ended (%s)", self._label, block.number, block.job, status.status_name,
        )  # fmt: skip
        if before in (BlockStage.SUBMITTED, BlockStage.STARTED):
            what = f"its job ended ({status.status_name}) before its manager registered"
            self._fail(block, what, status, self._failures)

    def _fail(self, block: Block, what: str, status: Any, failures: list[str]) -> None:
        block.failure = self._description(block, what, status)
        with self._lock:
            failures.append(block.failure)

    def _description(self, block: Block, what: str, status: Any) -> str:
        facts = describe_fields({"exit code": status.exit_code, "message": status.message})
        return (
            f"Block {block.number} (job {block.job}): {what}" + (f" ({facts})" if facts else "")
            + f".\ncommand: {self._command(block.number)}"
            + f"\nits stderr ends with:\n{(status.stderr_summary or '').strip() or '(nothing)'}"
            + (f"\nits stdout ends with:\n{out.strip()}" if (out := status.stdout_summary or "").strip() else "")
        )  # fmt: skip

    def _cancel(self, blocks: list[Block]) -> None:
        if not blocks:
            return
        for block in blocks:
            block.move(BlockStage.ENDED)
        try:
            done = self._provider.cancel([block.job for block in blocks])
        except ExecutionProviderException as problem:
            log.error("pool %s: jobs %s could not be cancelled: %s", self._label, [b.job for b in blocks], problem)
            return
        for block, cancelled in zip(blocks, done):
            if not cancelled:
                log.error("pool %s: block %s: job %s could not be cancelled", self._label, block.number, block.job)


def _runs(status: Any) -> bool:
    return bool(status.status_name == "RUNNING")
