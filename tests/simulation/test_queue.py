"""The queue of a made-up cluster, by jobs drawn at random: nobody gets a node twice, and every job comes to its end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.simulation.queue import CANCELLED, PENDING, RUNNING, TIMEOUT, Begin, Effect, End, Job, SimulatedQueue

TIMES = st.floats(0, 100)


@st.composite
def jobs(draw: st.DrawFn, name: str) -> Job:
    nodes = draw(st.integers(1, 5))
    lost = draw(st.dictionaries(st.integers(0, nodes - 1), TIMES, max_size=2))
    return Job(name, nodes, draw(TIMES), draw(TIMES), draw(TIMES), lost=lost)


class Watched:
    """A queue, and what its effects come to."""

    def __init__(self, nodes: int) -> None:
        self.queue = SimulatedQueue(nodes)
        self.up: set[tuple[str, str]] = set()  # managers that run
        self.broken: set[str] = set()
        self.now = 0.0

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Begin):
                assert effect not in self.up and effect.host not in {host for _, host in self.up} | self.broken
                self.up.add((effect.job, effect.host))
            else:
                self.up.discard((effect.job, effect.host))
        self.check()

    def check(self) -> None:
        running = [job for job in self.queue.jobs.values() if job.state == RUNNING]
        used = [host for job in running for host in job.hosts]
        assert len(used) == len(set(used)) <= self.queue.nodes
        assert {host for _, host in self.up} <= set(used)
        for job in running:
            assert job.started >= job.submitted + job.wait_s

    def run_to(self, end: float) -> None:
        while (when := self.queue.next_time()) is not None and when <= end:
            self.now = max(self.now, when)
            before = [self.queue.status(name) for name in self.queue.jobs], self.queue.next_time()
            effects = self.queue.tick(self.now)
            after = [self.queue.status(name) for name in self.queue.jobs], self.queue.next_time()
            assert effects or before != after, "it asks for a time at which nothing happens"
            self.perform(effects)
        self.now = max(self.now, end)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_nobody_gets_a_node_twice_and_every_job_ends(data: st.DataObject) -> None:
    watched = Watched(data.draw(st.integers(1, 8)))
    queue = watched.queue
    for number in range(data.draw(st.integers(1, 12))):
        watched.run_to(watched.now + data.draw(TIMES))
        watched.perform(queue.submit(data.draw(jobs(str(number))), watched.now))
        if data.draw(st.booleans()):
            watched.perform(queue.cancel(data.draw(st.sampled_from(sorted(queue.jobs))), watched.now))
    watched.run_to(1e6)
    states = {job.state for job in queue.jobs.values()}
    assert RUNNING not in states and not watched.up
    for job in queue.jobs.values():  # what still waits needs more nodes than are left
        assert job.state != PENDING or job.nodes > len(queue._free)


def test_the_life_of_a_job() -> None:
    queue = SimulatedQueue(2)
    assert queue.submit(Job("a", 2, wait_s=10, start_s=5, life_s=100), 0) == []
    assert queue.status("a") == (PENDING, "Priority: others are before it", None)
    assert queue.next_time() == 10
    assert queue.tick(9) == []
    assert queue.tick(10) == [] and queue.status("a")[0] == RUNNING
    assert queue.tick(15) == [Begin("a", "sim00001"), Begin("a", "sim00002")]
    assert queue.submit(Job("b", 1, 0, 0, 10), 20) == []
    assert queue.status("b") == (PENDING, "Resources: 1 nodes asked for, 0 of 2 are free", None)
    assert queue.tick(110) == [End("a", "sim00001"), End("a", "sim00002")]
    assert queue.status("a")[0] == TIMEOUT
    assert queue.status("b") == (RUNNING, "on sim00001", None)
    assert queue.tick(110) == [Begin("b", "sim00001")]
    assert queue.cancel("b", 111) == [End("b", "sim00001")]
    assert queue.status("b") == (CANCELLED, "cancelled", None)


def test_what_can_never_start_says_so() -> None:
    queue = SimulatedQueue(2)
    queue.submit(Job("a", 3, 0, 0, 10), 0)
    assert queue.status("a") == (PENDING, "PartitionNodeLimit: 3 nodes asked for, the cluster has 2", None)
    assert queue.next_time() is None


def test_a_node_that_fails_is_gone_for_good() -> None:
    queue = SimulatedQueue(2)
    queue.submit(Job("a", 2, 0, 0, 100, lost={0: 50}), 0)
    assert queue.tick(0) == [Begin("a", "sim00001"), Begin("a", "sim00002")]
    assert queue.tick(50) == [End("a", "sim00001")] and queue.status("a") == (RUNNING, "on sim00002", None)
    assert queue.tick(100) == [End("a", "sim00002")]
    queue.submit(Job("b", 2, 0, 0, 100), 100)
    assert queue.status("b")[0] == PENDING
