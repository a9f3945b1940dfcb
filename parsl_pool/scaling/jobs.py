"""The jobs of one executor's blocks: what is asked of the provider, and what is told of them to people.

Belongs to the thread that keeps the blocks (poller.py), but for `explain`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from parsl_pool.errors import ExecutionProviderException, ParslPoolError, describe_fields, described
from parsl_pool.loggers import careful_logger
from parsl_pool.providers import reasons
from parsl_pool.providers.states import JobState, JobStatus
from parsl_pool.scaling.blame import Blame, Suspect
from parsl_pool.scaling.fuses import Budget
from parsl_pool.scaling.journal import Journal
from parsl_pool.scaling.site import Rules, Site
from parsl_pool.scaling.streak import Streak
from parsl_pool.scaling.table import Block, BlockStage, BlockTable, Failed, Fault, News

log = careful_logger("parsl_pool.blocks")

_NAMED = 20  # tasks that may be to blame: they are told of in the log
_TOLD = 5  # blocks that `explain` tells of
_AGAIN_S = 5.0  # after a cancel that the scheduler has not taken
_LAST_TRIES = 3
_FOREVER_S = 3600.0


class Jobs:
    """Submits, asks for and cancels the jobs of blocks.

    Attributes:
        streak: what is held against the latest blocks.
        has_news: a block has ended, or failed, since this was last set to False.
    """

    def __init__(
        self, label: str, provider: Any, site: Site, rules: Rules, table: BlockTable, directory: str
    ) -> None:  # fmt: skip
        self._label, self._provider, self._site, self._rules = label, provider, site, rules
        self._table = table
        self.streak = Streak()
        self._budget = Budget(rules.fuses, provider.limits.nodes_per_block)
        self._journal = Journal(directory, label, provider)
        self._blame = Blame()
        self._losses: list[tuple[Block, str, list[str]]] = []  # of places, until it is known how their jobs ended
        self._named = 0  # tasks that have been told of
        self._excluded: set[str] = set()
        self.has_news = self._has_failed = False
        self._is_blown = self._is_slowed = self._is_full = False
        self._cancelled = float("-inf")  # when we last tried to

    # -- submitting

    def submit(self, count: int) -> str:
        """Start so many blocks. Gives what the provider said when it refused; "" if it did not."""
        for _ in range(count):
            now = monotonic()
            block = self._table.reserve(now)
            block.is_probe = self.streak.is_cautious
            name = f"parsl_pool.{self._label}.{block.number}"
            self._journal.submitting(block.number, name)
            try:
                job = self._provider.submit(self._site.command(block.number), 1, name)
            except ExecutionProviderException as problem:
                log.warning("pool %s: block %s could not be submitted: %s", self._label, block.number, problem)
                self._budget.submitted(now)
                now = monotonic()
                self._table.refused(block, str(problem), now)
                self.streak.failed(Fault.REFUSED, str(problem), now)
                self._journal.ended(block.number, "REFUSED")
                self.has_news = self._has_failed = True
                return str(problem)
            if not job:
                self._no_room(block)
                return ""
            self._budget.submitted(now)
            self._is_full = False
            self._journal.submitted(block.number, job)
            self._table.submitted(block, job, monotonic())
            log.info("pool %s: block %s: submitted as job %s", self._label, block.number, job)
        return ""

    def _no_room(self, block: Block) -> None:
        """The provider has none for this block now. Nobody's fault: it is as if it had not been asked."""
        self._journal.ended(block.number, "NO ROOM")
        self._table.forget(block)
        if not self._is_full:
            self._is_full = True
            log.info("pool %s: the provider has no room for another block now", self._label)

    def submit_carefully(self, count: int, now: float) -> None:
        """Start so many, as far as the fuses allow; only one, and not at once, after several have failed."""
        if self._is_blown or self.streak.pause_s(now) > 0:
            return
        if self.streak.is_cautious:
            count = 1
        room = self._budget.room(now)
        if room is not None and room < count:
            if not self._is_slowed:
                self._is_slowed = True
                log.warning(
                    "pool %s: max_submissions_per_hour=%s: no more blocks for %.0f s (told once)",
                    self._label, self._rules.fuses.submissions_per_hour, self._budget.free_in_s(now),
                )  # fmt: skip
            count = room
        self.submit(count)

    def pause_s(self, now: float) -> float:
        """How long no block is to be started."""
        if self._is_blown:
            return _FOREVER_S
        return max(self.streak.pause_s(now), self._budget.free_in_s(now))

    def due_s(self, now: float) -> float:
        """How long until there is something to do here."""
        due = self._budget.next_look_s(self._table.blocks.values(), now) if not self._is_blown else None
        for block in self._table.at(BlockStage.ENDING):
            wait_s = 0.0 if block.since > self._cancelled else max(0.0, self._cancelled + _AGAIN_S - now)
            due = wait_s if due is None else min(due, wait_s)
        return _FOREVER_S if due is None else due

    # -- asking

    def ask(self, before_taking: Callable[[], None]) -> None:
        """One call for all jobs. before_taking: what has happened meanwhile is dealt with first."""
        asked = self._table.to_ask_for(monotonic())
        if not asked:
            return
        try:
            statuses = self._provider.status([block.job for block in asked])
        except ExecutionProviderException as problem:
            log.warning("pool %s: the provider can't tell the blocks' states: %s", self._label, problem)
            return
        before_taking()
        now = monotonic()
        for block, status in zip(asked, statuses):
            was_over = block.stage is BlockStage.ENDED
            self.tell(self._table.seen(block, status, now))
            if block.is_settled and block.managers:
                self._site.block_over(block.number, f"its block's job has ended ({_words(status)})")
            if block.stage is BlockStage.ENDED and not was_over:
                self.has_news = True
                self._journal.ended(block.number, status.status_name)
        self._weigh_losses()

    def look_at_the_late(self, now: float) -> None:
        """Those whose managers should have registered by now; and what all have cost."""
        self.tell(self._table.overdue(self._rules.start_s, now))
        if not self._is_blown and self._budget.is_blown(self._table.blocks.values(), now):
            self._is_blown = True
            log.error(
                "pool %s: max_node_hours=%g are used up: its blocks end, and there will be no others",
                self._label, self._rules.fuses.node_hours,
            )  # fmt: skip
            for block in self._table.capacity():
                self.release(block, now)

    def tell(self, news: News) -> None:
        """Log it, and hold against the blocks what is to be held against them."""
        for item in news:
            block = item.block
            if isinstance(item, Failed):
                status = self._fresh(block) if item.fault is Fault.USELESS else block.status
                block.failure = self._description(block, item.what, status)
                block.verdict = block.verdict or JobState.FAILED
                log.warning("pool %s: %s", self._label, block.failure)
                self.streak.failed(item.fault, block.failure, monotonic())
                self.has_news = self._has_failed = True
            elif item.is_late:
                log.warning("pool %s: %s", self._label, self._description(block, item.what, block.status))
            else:
                level = logging.WARNING if item.is_warning else logging.INFO
                log.log(level, "pool %s: block %s (job %s): %s", self._label, block.number, block.job, item.what)

    def _fresh(self, block: Block) -> JobStatus:
        """The job's state just now: it may have words to say."""
        try:
            (status,) = self._provider.status([block.job])
        except ExecutionProviderException as problem:
            return JobStatus(JobState.UNKNOWN, str(problem))
        block.status = status
        return status  # type: ignore[no-any-return]  # the provider is any

    def _description(self, block: Block, what: str, status: JobStatus) -> str:
        facts = describe_fields({"exit code": status.exit_code, "message": status.message})
        return (
            f"Block {block.number} (job {block.job}): {what}" + (f" ({facts})" if facts else "")
            + f".\ncommand: {self._site.command(block.number)}"
            + f"\nits stderr ends with:\n{(status.stderr_summary or '').strip() or '(nothing)'}"
            + (f"\nits stdout ends with:\n{out.strip()}" if (out := status.stdout_summary or "").strip() else "")
        )  # fmt: skip

    # -- ending

    def release(self, block: Block, now: float) -> None:
        """It is to end: when its managers have done what they hold, if it has any."""
        log.info("pool %s: block %s (job %s): is to end", self._label, block.number, block.job)
        if block.stage is BlockStage.UP and self._site.drain(block.number):
            self._table.drain(block, now)
        else:
            self._table.end(block, now)

    def cancel_ending(self, now: float) -> None:
        """Cancel what is to be cancelled; what the scheduler does not take is tried again."""
        blocks = self._table.at(BlockStage.ENDING)
        if any(block.since > self._cancelled for block in blocks) or now >= self._cancelled + _AGAIN_S:
            self._cancel(blocks)

    def _cancel(self, blocks: list[Block]) -> None:
        if not blocks:
            return
        self._cancelled = monotonic()
        try:
            done = self._provider.cancel([block.job for block in blocks])
        except ExecutionProviderException as problem:
            log.error("pool %s: jobs %s could not be cancelled: %s", self._label, [b.job for b in blocks], problem)
            return
        now = monotonic()
        for block, cancelled in zip(blocks, done):
            if cancelled:
                self._table.cancelled(block, now)
                self._journal.ended(block.number, "CANCELLED")
                self.has_news = True
            else:
                log.error("pool %s: block %s: job %s could not be cancelled", self._label, block.number, block.job)

    def end_all(self) -> None:
        """Cancel all that is left. What the scheduler does not take is in the journal."""
        for block in self._table.at(*BlockStage):
            self._table.end(block, monotonic())
        for attempt in range(_LAST_TRIES):
            left = self._table.at(BlockStage.ENDING, BlockStage.DRAINING)
            if not left:
                break
            if attempt:
                sleep(1.0)  # the scheduler may be busy
            self._cancel([block for block in left if block.job])
        self._journal.close()
        if left := self._table.at(BlockStage.ENDING):
            log.error(
                "pool %s: jobs %s are left: 'parsl-pool blocks cancel' with the run's directory ends them",
                self._label, ", ".join(block.job for block in left),
            )  # fmt: skip

    # -- what is to be said

    def hopeless(self, is_left_alone: bool) -> str | None:
        """Why everything is to fail; None if there is hope. Calls the user's own handler."""
        table, handler = self._table, self._rules.handler
        if not table.has_managers() and not table.capacity() and not table.leaving() and self._site.tasks():
            if self._is_blown:
                return f"max_node_hours={self._rules.fuses.node_hours:g} are used up, and tasks are left"
            if is_left_alone and self._is_full and not table.blocks and handler is not False:
                return "the provider has no room for a block, and strategy='none' does not ask for one again"
            if is_left_alone and table.blocks and handler is not False:
                last = list(table.blocks.values())[-1]
                why = last.failure or f"The last was block {last.number} (job {last.job}): {last.now().message}"
                return f"all {len(table.blocks)} blocks have ended, and strategy='none' starts no others. {why}"
        if handler is True:
            text = self.streak.hopeless()
            is_hope = table.has_managers() or any(not block.is_probe for block in table.capacity())
            return text if text and not is_hope else None
        if handler and self._has_failed:
            self._has_failed = False
            self._site.handle_errors(table.statuses())
        return None

    def explain(self, now: float) -> list[str]:
        """The blocks, and what became of those that failed. Any thread."""
        lines = []
        for block in list(self._table.blocks.values())[-_TOLD:]:
            says = block.status.message if block.stage is BlockStage.PENDING else ""
            lines.append(
                f"block {block.number} (job {block.job}): {block.stage.value}, for {now - block.since:.0f} s"
                + (f"; its scheduler says: {reasons.with_meaning(says)}" if says and says != "submitted" else "")
                + (f"; {block.failure}" if block.failure else "")
            )
        if self._is_full:
            lines.append("the provider has no room for another block now")
        if self._is_blown:
            lines.append(f"max_node_hours={self._rules.fuses.node_hours} are used up: no more blocks are started")
        elif (pause_s := self.pause_s(now)) > 0:
            lines.append(f"no block is started for {pause_s:.0f} s: {self._why_paused()}")
        return lines + self._blame.explain()

    def _why_paused(self) -> str:
        if self.streak.is_cautious:
            return f"the last {self.streak.count} were of no use"
        return f"max_submissions_per_hour={self._rules.fuses.submissions_per_hour}"

    # -- who is to blame

    def place_lost(self, number: str, host: str, running: list[str]) -> None:
        """These tasks were running there. Whether somebody is to blame is known when the job's end is."""
        block = self._table.blocks.get(number)
        if block is None:
            self._accuse(self._blame.lost(host, running))
        elif block.is_wanted:
            self._losses.append((block, host, running))

    def worker_lost(self, host: str, task: str) -> None:
        """A signal has ended a worker there, in which this task was running."""
        blocks = list(self._table.blocks.values())
        hosts = {one for block in blocks for one in block.managers.values()}.union(self._table.others.values())
        self._accuse(self._blame.worker_lost(host, task, hosts))

    def _weigh_losses(self) -> None:
        open_ones = []
        for block, host, running in self._losses:
            if not block.is_settled:
                open_ones.append((block, host, running))
            elif running or block.status.state is JobState.FAILED:  # else it had nothing to do, and left
                if not _is_usual(block.status):
                    self._accuse(self._blame.lost(host, running))
        self._losses = open_ones

    def _accuse(self, suspects: list[Suspect]) -> None:
        for suspect in suspects:
            self._tell_of(suspect)
            if suspect.kind == "deadly":
                self._site.condemn(suspect.name)
            if suspect.kind == "node" and self._exclude(suspect.name):
                self._excluded.add(suspect.name)
                log.warning("pool %s: no further block is to be on node %s", self._label, suspect.name)
                for block in self._table.at(BlockStage.UP):
                    if suspect.name in block.managers.values():
                        self.release(block, monotonic())

    def _tell_of(self, suspect: Suspect) -> None:
        if suspect.kind == "task":
            self._named += 1
        if suspect.kind != "task" or self._named <= _NAMED:
            log.warning("pool %s: %s", self._label, suspect.text)
        elif self._named == _NAMED + 1:
            log.warning("pool %s: more such tasks are told of by pool.explain() alone", self._label)

    def _exclude(self, host: str) -> bool:
        try:
            return bool(self._provider.exclude(host))
        except ParslPoolError as problem:
            log.warning("pool %s: node %s can't be excluded: %s", self._label, host, described(problem))
            return False

    def came_up(self, number: str, host: str) -> None:
        """A manager of this block is up there. On a node that is bad its block is no good."""
        block = self._table.blocks[number]
        if host in self._excluded and block.stage is BlockStage.UP:
            self.release(block, monotonic())


def _is_usual(status: JobStatus) -> bool:
    """True if a job with this end says nothing of its tasks and nodes: its time was over, or others went before it."""
    return status.state is JobState.TIMEOUT or "preempt" in (status.message or "").lower()


def _words(status: JobStatus) -> str:
    return f"{status.status_name}: {status.message}" if status.message else status.status_name
