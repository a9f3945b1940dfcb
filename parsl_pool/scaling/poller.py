"""The thread that keeps the blocks of one executor: it starts them, notices their end, and has as many as are wanted.

    managers' news (I/O thread) --> inbox --+
    one status call for all jobs  ----------+--> BlockTable --> decide() --> submit, drain, cancel
    scale_out, scale_in (any thread) -------+

Every call of the provider is made by this thread: no provider needs to be thread-safe. The status of all blocks is
asked for in one call, and never sooner after the last one than the provider says; rarely for blocks that are expected
for long, and hardly ever while all are up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet  # another one than the built-in in Python 3.10
from time import monotonic
from typing import Any

from parsl_pool.errors import ScalingFailed, described
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.states import JobState, JobStatus
from parsl_pool.scaling.decision import Idleness, Limits, View, decide
from parsl_pool.scaling.jobs import Jobs
from parsl_pool.scaling.site import Rules, Site
from parsl_pool.scaling.table import EXPECTED, BlockStage, BlockTable

log = careful_logger("parsl_pool.blocks")

_SHORTEST_S = 0.1  # whatever a provider says
_SLOW_S = 1.0
_CALM_S = 30.0
_UP_S = 10.0
_EMPTY_S = 0.5  # how often to look for tasks while there is no block
_LONG_S = 60.0  # a block that has lasted for so long was of use


class JobStatusPoller:
    """Keeps the blocks of one executor.

    Args:
        label: the executor's.
        provider: where blocks come from.
        site: the executor.
        rules: what the user has said.
        directory: the run's, for the journal.
    """

    def __init__(self, label: str, provider: Any, site: Site, rules: Rules, directory: str) -> None:
        self._label, self._provider, self._site, self._rules = label, provider, site, rules
        self.table = BlockTable()
        self._jobs = Jobs(label, provider, site, rules, self.table, directory)
        self._idleness = Idleness()
        self._inbox: deque[Callable[[], None]] = deque()  # from other threads
        self._kept = provider.limits.init_blocks  # how many "keep" keeps
        self._is_set_up = self._is_retired = self._was_scaled = False
        self._asked = self._decided = float("-inf")  # when the provider was; when the strategy last was
        self._is_changed = True  # a decision is due at once
        self._states: dict[str, JobState] = {}  # of blocks, as they were told
        self._wake, self._may_begin = threading.Event(), threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"parsl-pool-blocks-{label}", daemon=True)

    # -- any thread

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

    def halt(self) -> None:
        """End all blocks, and the thread, without waiting for that."""
        self._stopping = True
        self._wake.set()

    def retire(self) -> None:
        """Replace nothing any more: the managers are being told to end."""
        self._is_retired = True

    def manager_up(self, block: str, manager: str, host: str) -> None:
        """A manager of this block has registered."""
        self._post(lambda: self._manager_up(block, manager, host))

    def worker_up(self, block: str) -> None:
        """A worker of this block is up."""
        known = self.table.blocks.get(block)
        if known is not None and not known.has_worked:
            self._post(lambda: self._worker_up(block))

    def manager_gone(
        self, block: str, manager: str, host: str, reason: str, *, held: int = 0, running: list[str]
    ) -> None:  # fmt: skip
        """The manager of this block is lost; its job may still hang about.

        held: how many tasks it had. running: the names of those that it had begun.
        """
        self._post(lambda: self._manager_gone(block, manager, host, reason, held, running))

    def worker_lost(self, host: str, task: str) -> None:
        """A signal has ended a worker on this host, in which this task was running."""
        self._post(lambda: self._jobs.worker_lost(host, task))

    def scale_out(self, blocks: int) -> list[str]:
        """Start so many more, as far as there may be so many. Gives their numbers.

        Raises:
            ScalingFailed: the provider refuses them.
        """
        return self._answer(lambda: self._scale_out(blocks))

    def scale_in(self, blocks: int, max_idletime: float | None) -> list[str]:
        """End so many; with max_idletime only those that have been idle for so long. Gives their numbers."""
        return self._answer(lambda: self._scale_in(blocks, max_idletime))

    def statuses(self) -> dict[str, JobStatus]:
        """What becomes of each block, as far as it is known by now."""
        return self.table.statuses()

    def job_ids(self) -> dict[str, str]:
        """The provider's name of each block's job, by the block's number; "" while there is none."""
        return {block.number: block.job for block in list(self.table.blocks.values())}

    def poll(self) -> None:
        """Ask the provider now what becomes of the blocks, if it may be asked again."""
        self._answer(self._poll)

    def explain(self) -> list[str]:
        """The blocks, and what became of those that failed."""
        return self._jobs.explain(monotonic())

    def _post(self, event: Callable[[], None]) -> None:
        self._inbox.append(event)
        self._wake.set()

    def _answer(self, call: Callable[[], list[str]]) -> list[str]:
        if threading.current_thread() is self._thread:  # an error handler
            return call()
        answer: Future[list[str]] = Future()

        def run() -> None:
            try:
                answer.set_result(call())
            except Exception as problem:  # raised where it was asked for
                answer.set_exception(problem)

        self._post(run)
        while not answer.done():
            if not self._thread.is_alive():
                raise ScalingFailed(self._label, "its blocks are not looked after any more: it has ended")
            try:
                return answer.result(_SLOW_S)
            except NotYet:
                continue
        return answer.result()

    # -- the thread

    def _run(self) -> None:
        self._may_begin.wait()
        try:
            while not self._stopping:
                self.look()
                if not self._stopping:
                    self._wake.wait(self.pause())
                self._wake.clear()
        except Exception as problem:  # a provider that misbehaves; nobody must wait for ever because of it
            log.exception("pool %s: the thread that keeps its blocks failed", self._label)
            self._site.give_up(f"the thread that keeps the blocks failed: {described(problem)}")
        finally:
            self._jobs.end_all()
            self._tell_states()

    def look(self) -> None:
        """Deal with all that has happened, and do what is to be done about it."""
        now = monotonic()
        if not self._is_set_up and not self._is_retired:
            self._is_set_up = True
            self._jobs.submit(self._kept)
        self._read()
        if self._status_due_s(now) <= 0:
            self._asked = now
            self._jobs.ask(self._read)
        self._jobs.look_at_the_late(monotonic())
        self._read()
        self._jobs.cancel_ending(monotonic())
        self._tell_states()
        problem = self._jobs.hopeless(self._is_left_alone())
        if problem is not None:
            self._stopping = True
            self._site.give_up(problem)
            return
        now = monotonic()
        if not self._is_retired and (self._is_changed or self._jobs.has_news or self._decision_due_s(now) <= 0):
            self._decide(now)

    def _poll(self) -> list[str]:
        interval, now = float(self._provider.status_polling_interval), monotonic()
        if interval > 0 and now - self._asked >= interval:
            self._asked = now
            self._jobs.ask(self._read)
            self._tell_states()
        return []

    def _tell_states(self) -> None:
        """Those that have changed since this was last done."""
        if not self._site.wants_states():
            return
        now = self.table.statuses()
        changed = {number: status for number, status in now.items() if self._states.get(number) is not status.state}
        self._states = {number: status.state for number, status in now.items()}
        if changed:
            self._site.states_changed(changed)

    def _read(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def pause(self) -> float:
        """How long there is nothing to do, unless somebody calls."""
        now = monotonic()
        dues = [self._status_due_s(now), self._jobs.due_s(now)]
        if not self._is_retired:
            dues.append(self._decision_due_s(now))
        if self._jobs.has_news:  # of a refusal: the next one may be taken
            dues.append(max(_SLOW_S, self._jobs.pause_s(now)))
        return max(0.0, min(dues))

    def _status_due_s(self, now: float) -> float:
        """How long until the provider is to be asked. It is not asked if its interval is 0."""
        interval = float(self._provider.status_polling_interval)
        blocks = self.table.to_ask_for(now)
        if interval <= 0 or not blocks:
            return _CALM_S
        interval = max(_SHORTEST_S, interval)
        expected = [now - block.since for block in blocks if block.stage in EXPECTED]
        if expected:
            wanted = min(_SLOW_S, min(expected) / 4)
        elif any(block.stage is not BlockStage.UP for block in blocks):
            wanted = _SLOW_S
        else:
            # The interchange tells when a manager is gone; but of one on another host only after some silence.
            wanted = _UP_S
        return self._asked + max(interval, wanted) - now

    def _decision_due_s(self, now: float) -> float:
        strategy, pause_s = self._rules.strategy, self._jobs.pause_s(now)
        if strategy == "none":
            return _CALM_S
        if strategy == "keep":
            is_short = len(self.table.capacity()) < self._kept
            return max(pause_s, self._decided + _SLOW_S - now) if is_short else _CALM_S
        period = self._rules.period_s if self.table.capacity() else min(_EMPTY_S, self._rules.period_s)
        return max(self._decided + period - now, min(pause_s, _CALM_S))

    # -- what to do about it

    def _limits(self) -> Limits:
        limits = self._provider.limits
        return Limits(
            limits.min_blocks, limits.max_blocks, limits.parallelism,
            max(1, self._site.slots_per_node() * limits.nodes_per_block), self._rules.max_idletime, self._kept,
        )  # fmt: skip

    def _decide(self, now: float) -> None:
        self._decided, self._is_changed, self._jobs.has_news = now, False, False
        limits = self._limits()
        plan = decide(self._rules.strategy, limits, self._view(limits, now))
        if plan.start:
            self._jobs.submit_carefully(plan.start, now)
        for number in plan.release:
            self._jobs.release(self.table.blocks[number], now)

    def _view(self, limits: Limits, now: float) -> View:
        table = self.table
        blocks = {block.number: block.stage is BlockStage.UP for block in table.capacity()}
        needs_loads = self._rules.strategy in ("simple", "htex_auto_scale") and len(blocks) > limits.least
        loads = self._site.loads() if needs_loads and any(blocks.values()) else {}
        return self._idleness.view(
            limits, blocks, loads, self._site.tasks(), self._site.done(), len(table.leaving()), now
        )

    def _is_left_alone(self) -> bool:
        """True if nobody will start a block though tasks wait: with "none", once all have ended."""
        return self._rules.strategy == "none" and not self._was_scaled

    def _scale_out(self, blocks: int) -> list[str]:
        self._was_scaled = True
        table, limits = self.table, self._provider.limits
        room = max(0, limits.max_blocks - len(table.capacity()) - len(table.leaving()))
        before = set(table.blocks)
        refusal = self._jobs.submit(min(blocks, room))
        started = [block.number for block in table.capacity() if block.number not in before]
        if refusal and not started:
            raise ScalingFailed(self._label, refusal)
        self._kept += len(started)
        return started

    def _scale_in(self, blocks: int, max_idletime: float | None) -> list[str]:
        self._was_scaled = True
        now = monotonic()
        chosen = self.table.capacity()
        if max_idletime is None:
            ended = [*reversed([b for b in chosen if b.stage is not BlockStage.UP]),
                     *reversed([b for b in chosen if b.stage is BlockStage.UP])][:blocks]  # fmt: skip
            for block in ended:
                self.table.end(block, now)
            self._jobs.cancel_ending(now)
        else:
            loads = self._site.loads()
            view = self._idleness.view(
                self._limits(), {b.number: b.stage is BlockStage.UP for b in chosen}, loads, self._site.tasks(),
                self._site.done(), 0, now,
            )  # fmt: skip
            idle = [b for b in view.blocks if b.is_up and loads.get(b.number) is not None
                    and not loads[b.number].held and b.idle_s >= max_idletime]  # fmt: skip
            ended = [self.table.blocks[b.number] for b in sorted(idle, key=lambda b: -b.idle_s)[:blocks]]
            for block in ended:
                self._jobs.release(block, now)
        self._kept = max(0, self._kept - len(ended))
        return [block.number for block in ended]

    # -- what others have told

    def _manager_up(self, block: str, manager: str, host: str) -> None:
        self.table.manager_up(block, manager, host, self._site.done(), monotonic())
        known = self.table.blocks.get(block)
        if known is not None:
            if known.stage is not BlockStage.ENDED:  # else it is the last word of one that counts as failed
                self._jobs.streak.manager_up()
            self._jobs.came_up(block, host)
        self._site.managers_changed()

    def _worker_up(self, block: str) -> None:
        if self.table.worker_up(block):
            self._jobs.streak.worker_up()

    def _manager_gone(self, block: str, manager: str, host: str, reason: str, held: int, running: list[str]) -> None:
        known, now = self.table.blocks.get(block), monotonic()
        lasted_s = now - known.since if known is not None else 0.0
        news = self.table.manager_gone(block, manager, reason, now)
        self._is_changed = True
        if self._is_retired or lasted_s >= self._rules.start_s or not held:
            news = []  # it was of use as far as was needed: workers start when there are tasks
        if held and known is not None and known.has_worked and known.is_wanted and not known.managers:
            self._jobs.streak.vanished(lasted_s >= _LONG_S or self._site.done() > known.mark, now)
        self._jobs.tell(news)
        self._jobs.place_lost(block, host, running)
        self._site.managers_changed()
