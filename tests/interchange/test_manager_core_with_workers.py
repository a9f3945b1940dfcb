"""The manager's core with workers that run, skip, die and are slow, in every order of their steps."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parsl_pool.interchange import manager_core as core
from parsl_pool.interchange.holdings import RELIEVE_NS
from tests.interchange.drawn import Drawn, run_until_all_is_drawn
from tests.interchange.fake_node import Doing, FakeNode, FakeWorker
from tests.interchange.frames import tasks

WORKERS = st.integers(0, 3)
SHORT_NS, MEDIUM_NS, LONG_NS = 10_000, 300_000, 5_000_000
DURATIONS = st.sampled_from([SHORT_NS, SHORT_NS, MEDIUM_NS, LONG_NS, 0])

# What makes this room worth a machine: each of these has to happen, or the machine tests too little.
SITUATIONS = [
    "single", "batch", "ahead", "taken back", "skipped", "died with tasks", "waits", "goes on", "retired", "given back",
    "drained",
]  # fmt: skip

drawn = Drawn(
    [step.name for step in Doing],
    ["steps", "dies", "is slow", "is read"],
    impossible=[("START", "is read")],  # it has said nothing yet
)
met: set[str] = set()


class NodeMachine(RuleBasedStateMachine):
    """Draws who does what next."""

    def __init__(self) -> None:
        super().__init__()
        self.next_id = 1

    @initialize(
        workers=st.integers(1, 3),
        max_tasks=st.sampled_from([0, 0, 3]),
        first=st.sampled_from(Doing),
        eager=st.booleans(),
    )
    def begin(self, workers: int, max_tasks: int, first: Doing, eager: bool) -> None:
        """With a worker in each of its states; chance alone seldom leads to some of them."""
        self.node = FakeNode(workers, 3 if first is Doing.SAY_LAST else max_tasks, eager)
        self.tasks_arrive(1, (1,))
        if first is not Doing.START:  # all are up and have tasks, which are known to be short
            for worker in list(self.node.workers.values()):
                worker.step()
                self.node.deliver(worker, 0)
            self.node.core.estimates.update({1: SHORT_NS, 2: MEDIUM_NS})
            self.tasks_arrive(8, (1,))
            self.lead_to(first)

    def lead_to(self, first: Doing) -> None:
        """Have the first worker go on until it does that. Its last task may come in a later batch."""
        worker = self.worker(0)
        for _ in range(10):
            self.a_worker_goes_on(0, first, False, 0)
            if worker.doing is first:
                return
            while worker.messages:
                self.node.deliver(worker, SHORT_NS)

    def worker(self, which: int) -> FakeWorker:
        workers = list(self.node.workers.values())
        return workers[which % len(workers)]

    @rule(count=st.integers(1, 8), functions=st.sampled_from([(1,), (1,), (2,), (1, 2)]))
    def tasks_arrive(self, count: int, functions: tuple[int, ...]) -> None:
        ids = range(self.next_id, self.next_id + count)
        self.next_id += count
        self.node.submit(tasks(ids, [functions[task % len(functions)] for task in ids]))

    @precondition(lambda self: self.node.workers)
    @rule(which=WORKERS, upto=st.sampled_from(Doing), whole_batch=st.booleans(), dies=st.sampled_from([0, 0, 0, 0, 1]))
    def a_worker_goes_on(self, which: int, upto: Doing, whole_batch: bool, dies: int) -> None:
        worker = self.worker(which)
        while worker.can_step():
            drawn.note(worker.doing.name, "steps")
            worker.step()
            if worker.doing is upto and not (whole_batch and worker.batch):
                if dies:
                    self.end(worker)
                break

    @precondition(lambda self: self.node.workers)
    @rule(which=WORKERS, nanoseconds=DURATIONS, unasked=st.booleans())
    def a_message_arrives(self, which: int, nanoseconds: int, unasked: bool) -> None:
        worker = self.worker(which)
        if unasked and worker.alive and worker.doing is not Doing.START:
            worker.flush()  # in the middle of a batch
        if worker.messages:
            drawn.note(worker.doing.name, "is read")
            self.node.deliver(worker, nanoseconds)

    @precondition(lambda self: any(worker.runs() for worker in self.node.workers.values()))
    @rule(which=WORKERS, goes_on=st.booleans())
    def a_task_waits_for_others(self, which: int, goes_on: bool) -> None:
        """Perhaps it goes on before the manager has heard of that."""
        running = [worker for worker in self.node.workers.values() if worker.runs()]
        worker = running[which % len(running)]
        worker.messages.append(("waits", 0, False))
        if goes_on:
            worker.messages.append(("goes on", 0, False))

    @precondition(lambda self: any(worker.runs() for worker in self.node.workers.values()))
    @rule()
    def places_are_lent_for_a_while(self) -> None:
        """What takes luck otherwise: there is an extra worker, and it has nothing to do."""
        waiting = [worker for worker in self.node.workers.values() if worker.runs()]
        self.say(waiting, "waits")
        self.tasks_arrive(1, (2,))
        for worker in list(self.node.workers.values()):
            while worker not in waiting and worker.can_step():
                worker.step()
                self.say([worker])
        self.say(waiting, "goes on")
        self.extra_workers_are_looked_at(core.EXTRA_IDLE_NS)

    def say(self, workers: list[FakeWorker], *what: str) -> None:
        """Have them say that, and hear all that they have said."""
        for worker in workers:
            worker.messages.extend((kind, 0, False) for kind in what)
            while worker.messages:
                self.node.deliver(worker, SHORT_NS)

    @rule(nanoseconds=st.sampled_from([0, core.EXTRA_IDLE_NS]))
    def extra_workers_are_looked_at(self, nanoseconds: int) -> None:
        self.node.now += nanoseconds
        self.node.trim()

    @rule(nanoseconds=st.sampled_from([0, RELIEVE_NS]))
    def what_waits_is_looked_at(self, nanoseconds: int) -> None:
        self.node.now += nanoseconds
        self.node.relieve()

    @rule(really=st.sampled_from([False, False, False, False, True]))
    def the_manager_drains(self, really: bool) -> None:
        if really:  # there is no way back: else most runs would soon be in that state
            self.node.drain()

    @precondition(lambda self: self.node.workers)
    @rule(which=WORKERS)
    def a_worker_dies(self, which: int) -> None:
        self.end(self.worker(which))

    def end(self, worker: FakeWorker) -> None:
        if worker.alive:
            drawn.note(worker.doing.name, "dies")
        worker.alive = False

    @precondition(lambda self: not all(worker.alive for worker in self.node.workers.values()))
    @rule()
    def ends_are_noticed(self) -> None:
        for worker in list(self.node.workers.values()):
            if not worker.alive:
                self.node.reap(worker)

    @rule(nanoseconds=st.sampled_from([1, SHORT_NS, core.STUCK_NS // 2, core.STUCK_NS]))
    def time_passes(self, nanoseconds: int) -> None:
        self.node.now += nanoseconds
        for worker in self.node.workers.values():
            drawn.note(worker.doing.name, "is slow")
        self.node.tick()
        self.node.check_nobody_waits_in_vain()

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "node"):
            self.node.check()

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        self.node.finish()
        met.update(self.node.met)
        if not self.node.given_up:
            everything = [*self.node.finished, *self.node.lost, *self.node.returned]
            assert sorted(everything) == sorted(self.node.submitted)


def test_no_task_is_lost_or_run_twice_whatever_the_workers_do() -> None:
    run_until_all_is_drawn(NodeMachine, drawn, examples=100, steps=30)
    assert met == set(SITUATIONS)


def node_with(workers: int, ids: range) -> FakeNode:
    """Workers that are up, and tasks that are known to be short: so the workers have several each."""
    node = FakeNode(workers, 0)
    for worker in node.workers.values():
        worker.step()
        node.deliver(worker, 0)
    node.core.estimates[1] = SHORT_NS
    node.submit(tasks(ids))
    return node


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_worker_that_is_slow_to_begin_does_not_have_its_first_task_run_twice(steps: int) -> None:
    """Others have the processor: it was sent a batch, and for 2 ms it has not even looked at it."""
    node = node_with(1, range(1, 5))
    (worker,) = node.workers.values()
    for _ in range(steps):
        worker.step()
    node.now += core.STUCK_NS
    node.tick()
    node.check()
    node.finish()
    assert sorted(node.finished) == [1, 2, 3, 4]


def test_what_waits_behind_a_long_task_runs_elsewhere() -> None:
    node = node_with(2, range(1, 9))
    slow, quick = node.workers.values()
    for _ in range(3):  # it runs its first task, and that takes long
        slow.step()
    while quick.can_step():
        quick.step()
    while quick.messages:
        node.deliver(quick, SHORT_NS)
    node.now += core.STUCK_NS
    node.tick()
    node.check_nobody_waits_in_vain()
    while len(node.finished) < 7:
        while quick.can_step():
            quick.step()
        while quick.messages:
            node.deliver(quick, SHORT_NS)
    assert slow.ran not in [[], quick.ran] and len(slow.ran) == 1
    node.finish()


def test_a_note_from_before_a_take_back_does_not_end_it() -> None:
    """The worker was about to say that it is idle when it lost the processor. Meanwhile it was sent more, and
    that was taken back. Now its note arrives; what it skips is still to come, and must not be given to it."""
    node = node_with(1, range(1, 3))
    (worker,) = node.workers.values()
    while worker.doing is not Doing.SAY_IDLE:
        worker.step()
    node.submit(tasks([3, 4, 5]))  # it is busy with short ones, as far as is known, and gets these ahead
    node.now += core.STUCK_NS
    node.tick()  # its page is read: it has made progress
    node.now += core.STUCK_NS
    node.tick()
    worker.step()
    node.deliver(worker, SHORT_NS)
    node.check()
    node.core.estimates[1] = SHORT_NS
    node.submit(tasks([6]))
    while worker.can_step():
        worker.step()
        node.check()
    node.finish()
    assert sorted(node.finished) == [1, 2, 3, 4, 5, 6]
