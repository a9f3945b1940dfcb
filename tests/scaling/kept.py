"""For tests of the thread that keeps blocks: a provider, an executor and a clock that do as a test says."""

from collections.abc import Callable, Mapping
from typing import Any

from parsl_pool.errors import ExecutionProviderException
from parsl_pool.providers import BlockLimits, ExecutionProvider, JobState, JobStatus
from parsl_pool.scaling.decision import Load
from parsl_pool.scaling.poller import JobStatusPoller


class Queue(ExecutionProvider):
    """One whose jobs wait, or are in what state the test says."""

    label = "queue"

    def __init__(self, interval: float = 0.1, **limits: Any) -> None:
        self.limits = BlockLimits(**limits)
        self.status_polling_interval = interval
        self.state = JobState.PENDING
        self.states: dict[str, JobState] = {}  # of single jobs
        self.asked: list[list[str]] = []
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.refuses = self.refuses_cancel = False
        self.room: int | None = None  # for so many jobs
        self.excluded: list[str] = []

    def submit(self, command: str, tasks_per_node: int, job_name: str = "") -> str | None:
        if self.refuses:
            raise ExecutionProviderException("no such partition")
        if self.room is not None and len(self.submitted) - len(self.cancelled) >= self.room:
            return None
        self.submitted.append(job_name)
        return job_name

    def status(self, job_ids: Any) -> list[JobStatus]:
        self.asked.append(list(job_ids))
        return [JobStatus(self.states.get(job, self.state), "(Priority)") for job in job_ids]

    def cancel(self, job_ids: Any) -> list[bool]:
        if self.refuses_cancel:
            return [False for _ in job_ids]
        self.cancelled += job_ids
        return [True for _ in job_ids]

    def exclude(self, host: str) -> bool:
        self.excluded.append(host)
        return True


class Place:
    """An executor as the poller sees it: with as many tasks as the test says."""

    def __init__(self) -> None:
        self.waiting, self.finished, self.can_drain = 1, 0, True
        self.known: dict[str, Load] = {}
        self.drained: list[str] = []
        self.over: list[tuple[str, str]] = []
        self.given_up: list[str | BaseException] = []
        self.changes = 0  # of managers
        self.handled: list[list[str]] = []
        self.condemned: list[str] = []
        self.is_watched = False
        self.states: list[tuple[str, str]] = []

    def command(self, block: str) -> str:
        return f"manager {block}"

    def tasks(self) -> int:
        return self.waiting

    def done(self) -> int:
        return self.finished

    def slots_per_node(self) -> int:
        return 2

    def loads(self) -> Mapping[str, Load]:
        return self.known

    def drain(self, block: str) -> bool:
        self.drained.append(block)
        return self.can_drain

    def block_over(self, block: str, reason: str) -> None:
        self.over.append((block, reason))

    def managers_changed(self) -> None:
        self.changes += 1

    def wants_states(self) -> bool:
        return self.is_watched

    def states_changed(self, status: Mapping[str, JobStatus]) -> None:
        self.states += [(number, one.status_name) for number, one in status.items()]

    def condemn(self, task: str) -> None:
        self.condemned.append(task)

    def give_up(self, problem: str | BaseException) -> None:
        self.given_up.append(problem)

    def handle_errors(self, status: Mapping[str, JobStatus]) -> None:
        self.handled.append([one.status_name for one in status.values()])


Make = Callable[..., JobStatusPoller]


class Clock:
    """Stands still unless a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def look(poller: JobStatusPoller, after: float = 10.0) -> None:
    """Look again some time later."""
    CLOCK.now += after
    poller.look()


def come_up(poller: JobStatusPoller, *blocks: str, host: str = "n1") -> None:
    """Their managers register, and have a worker each."""
    for block in blocks:
        poller.manager_up(block, f"m{block}", host)
        poller._read()
        poller.worker_up(block)
    poller._read()
