"""A node for tests of the manager's core: workers that do, step by step, what worker.py and its page do.

Nothing here decides anything: a test says which worker takes its next step, which message arrives, and when
time passes. So every interleaving of worker and manager that the real ones can meet can be drawn.
"""

from collections import Counter, deque
from enum import Enum, auto

from parsl_pool.interchange import manager_core as core
from parsl_pool.interchange.columns import Tasks
from parsl_pool.interchange.manager_core import ManagerCore
from parsl_pool.interchange.seat import SeatState
from parsl_pool.interchange.wire import OK, SKIPPED


class Doing(Enum):
    """What a worker's next step is."""

    START = auto()  # initialise, and say so
    TAKE = auto()  # set TASK, in the next frame or the next task of this one
    COUNT = auto()  # raise STARTED
    LOOK = auto()  # compare with SKIP_FROM and SKIP_TO; run the task, or don't
    PUT = auto()  # commit the record
    CLEAR = auto()  # set TASK to 0
    SAY_IDLE = auto()  # has come to the end of a batch, and is about to say so
    SAY_LAST = auto()  # has run as many tasks as it may, and is about to say so, and to end


class FakeWorker:
    """A worker process, its page, and its socket to the manager."""

    def __init__(self, number: int, max_tasks: int) -> None:
        self.number, self.max_tasks = number, max_tasks
        self.alive = True
        self.is_retired = False  # told to end when it has nothing to do
        self.idle = False  # nothing that was taken back is on its way to it
        self.doing = Doing.START
        self.inbox: deque[list[int]] = deque()
        self.batch: deque[int] = deque()
        self.task = self.started = self.skip_from = self.skip_to = 0
        self.status = OK
        self.records: list[tuple[int, int]] = []
        self.messages: deque[tuple[str, int, bool]] = deque()  # kind, records committed, idle
        self.ran: list[int] = []

    def can_step(self) -> bool:
        return self.alive and (self.is_retired or self.doing is not Doing.TAKE or bool(self.batch or self.inbox))

    def step(self) -> None:
        """The next thing that the worker does, as seen from outside."""
        match self.doing:
            case Doing.START:
                self.messages.append(("up", 0, False))
                self.doing = Doing.TAKE
            case Doing.TAKE if not self.batch and not self.inbox:
                self.alive = False  # it is retired
            case Doing.TAKE:
                if not self.batch:
                    self.batch.extend(self.inbox.popleft())
                self.task = self.batch.popleft()
                self.doing = Doing.COUNT
            case Doing.COUNT:
                self.started += 1
                self.doing = Doing.LOOK
            case Doing.LOOK:
                skipped = self.skip_from <= self.started - 1 < self.skip_to
                self.status = SKIPPED if skipped else OK
                if not skipped:
                    self.ran.append(self.task)
                self.doing = Doing.PUT
            case Doing.PUT:
                self.records.append((self.task, self.status))
                self.doing = Doing.CLEAR
            case Doing.CLEAR:
                self.task = 0
                self.doing = Doing.TAKE
                if not self.batch:
                    self.idle = self.skip_to <= self.started
                    last = self.max_tasks and len(self.ran) >= self.max_tasks
                    self.doing = Doing.SAY_LAST if last else Doing.SAY_IDLE
            case Doing.SAY_IDLE | Doing.SAY_LAST:
                self.messages.append(("flush", len(self.records), self.idle))
                self.alive = self.doing is not Doing.SAY_LAST
                self.doing = Doing.TAKE

    def runs(self) -> bool:
        """True while it is at a task, which may have begun to wait for others."""
        return self.alive and self.doing is Doing.PUT and self.status == OK

    def flush(self) -> None:
        """Say that there are results, in the middle of a batch."""
        self.messages.append(("flush", len(self.records), False))


class FakeNode:
    """The manager's shell with fake workers. Checks each effect of the core against what is possible."""

    def __init__(self, workers: int, max_tasks: int, eager: bool = True) -> None:
        self.core = ManagerCore(workers, max_tasks, eager=eager)
        self.max_tasks = max_tasks
        self.workers: dict[int, FakeWorker] = {}
        self.read: dict[int, int] = {}  # worker -> records that the manager has read
        self.now = 1
        self.submitted: list[int] = []
        self.ran = Counter[int]()  # by workers that are gone
        self.finished: list[int] = []
        self.lost: list[int] = []
        self.returned: list[int] = []  # to the broker
        self.has_lent = False  # a worker's place, while its task waited
        self.given_up = False
        self.met: set[str] = set()
        self.perform(self.core.begin(self.now))

    # -- the shell

    def perform(self, effects: list[core.Effect]) -> None:
        for effect in effects:
            match effect:
                case core.Send():
                    self._send(effect)
                case core.Start():
                    assert effect.worker not in self.workers
                    self.workers[effect.worker] = FakeWorker(effect.worker, self.max_tasks)
                    self.read[effect.worker] = 0
                case core.TakeBack():
                    worker = self.workers[effect.worker]
                    assert effect.first < effect.last <= self.core.seats[effect.worker].sent
                    worker.skip_from, worker.skip_to = effect.first, effect.last
                    self.perform(self.core.taken_back(effect.worker, worker.started, self.now))
                case core.SetWindow():
                    lent = 2 * self.core.waiting
                    assert self.core.workers <= effect.tasks <= self.core.workers * core.WINDOW_MOST + lent or (
                        self.core.draining and not effect.tasks
                    )
                case core.Retire():
                    self.met.add("retired")
                    self.workers[effect.worker].is_retired = True
                case core.GiveBack():
                    self.met.add("given back")
                    self.returned += effect.tasks.task_ids()
                case core.Drained():
                    assert self.core.draining and not self.core.held_tasks()
                    self.met.add("drained")
                case core.Lost():
                    self.lost.append(effect.task)
                case core.GiveUp():
                    self.given_up = True

    def _send(self, effect: core.Send) -> None:
        seat, tasks = self.core.seats[effect.worker], effect.tasks
        assert seat.state is SeatState.READY
        assert tasks.count <= core.BATCH_MOST
        if tasks.count > 1:
            slowest = max(self.core.estimates.get(number, 0) for number in tasks.function_numbers())
            assert all(self.core.estimates.get(number) for number in tasks.function_numbers()), "of unknown length"
            assert slowest * tasks.count <= core.BATCH_NS, "more than a batch's worth of work"
        assert tasks.payload == b"".join(b"task %d" % task for task in tasks.task_ids())
        self.met.add("ahead" if len(seat.held) > tasks.count else "batch" if tasks.count > 1 else "single")
        self.workers[effect.worker].inbox.append(list(tasks.task_ids()))

    def read_page(self, worker: FakeWorker, upto: int, idle: bool, nanoseconds: int) -> None:
        start = self.read[worker.number]
        done = worker.records[start : max(upto, start)]
        self.read[worker.number] = start + len(done)
        self.finished += [task for task, status in done if status == OK]
        if any(status == SKIPPED for _, status in done):
            self.met.add("skipped")
        if done or idle:
            self.perform(self.core.finished(worker.number, done, nanoseconds * len(done), idle, self.now))

    def deliver(self, worker: FakeWorker, nanoseconds: int) -> None:
        """The worker's next message arrives."""
        kind, committed, idle = worker.messages.popleft()
        if kind == "up":
            self.perform(self.core.worker_ready(worker.number, self.now))
        elif kind in ("waits", "goes on"):
            self.met.add(kind)
            self.has_lent = True
            self.perform(self.core.waits(worker.number, kind == "waits", self.now))
        else:
            self.read_page(worker, committed, idle, nanoseconds)

    def tick(self) -> None:
        for number in self.core.watched():
            self.read_page(self.workers[number], len(self.workers[number].records), False, 0)
        effects = self.core.tick(self.now)
        if effects:
            self.met.add("taken back")
        self.perform(effects)

    def trim(self) -> None:
        """As is done now and then while there are more workers than places."""
        if self.core.has_extra():
            self.perform(self.core.trim(self.now))

    def relieve(self) -> None:
        self.perform(self.core.relieve(self.now))

    def drain(self) -> None:
        self.perform(self.core.drain(self.now))

    def reap(self, worker: FakeWorker) -> None:
        """Its end is noticed."""
        assert not worker.alive
        while worker.messages:
            self.deliver(worker, 0)
        self.read_page(worker, len(worker.records), False, 0)
        if self.core.seats[worker.number].held:
            self.met.add("died with tasks")
        self.ran.update(worker.ran)
        del self.workers[worker.number]
        self.perform(self.core.worker_ended(worker.number, worker.task, self.now))

    def submit(self, tasks: Tasks) -> None:
        self.submitted += tasks.task_ids()
        self.perform(self.core.tasks_arrived(tasks, self.now))

    # -- what has to be true

    def check(self) -> None:
        here = self.core.held_tasks()
        everything = [*here, *self.finished, *self.lost, *self.returned]
        assert sorted(everything) == sorted(self.submitted), "each task is in exactly one place"
        ran = self.ran + Counter(task for worker in self.workers.values() for task in worker.ran)
        assert not [task for task, times in ran.items() if times > 1], "a task ran twice"
        queued = [task for frame in self.core.queue for task in frame.task_ids()]
        assert self.core.queued == len(queued)
        assert not {*queued, *self.returned} & set(ran), "what has been begun waits for nobody"
        for worker in self.workers.values():
            assert not self.max_tasks or len(worker.ran) <= self.max_tasks
        assert not (queued and self.core.idle) or self.core.has_extra()  # who has got a place may have to wait for it
        for number, seat in self.core.idle.items():
            assert seat.state is SeatState.READY and not seat.held and self.core.seats[number] is seat
        if self.core.draining:
            assert not queued and not self.core.window
        elif not self.given_up:
            self._check_workers(len(queued))
        assert all(len(seat.held) <= 2 * core.BATCH_MOST for seat in self.core.seats.values())

    def _check_workers(self, queued: int) -> None:
        states = Counter(seat.state for seat in self.core.seats.values())
        able = states[SeatState.STARTING] + states[SeatState.READY]
        extra = able - self.core.workers
        enough = extra >= 0 if self.core.eager else states[SeatState.STARTING] >= queued
        assert enough or extra >= 0, "a worker is missing"
        assert extra <= (self.core.most_extra if self.has_lent else 0), "there are too many workers"

    def check_nobody_waits_in_vain(self) -> None:
        """After a tick: what has not been begun waits behind another task only while that may be short."""
        for number, seat in self.core.seats.items():
            worker = self.workers[number]
            if self.core.idle and worker.alive and self.now - seat.progress >= core.STUCK_NS:
                unbegun = [task for task in (*worker.batch, *(task for batch in worker.inbox for task in batch))]
                wanted = [task for task in unbegun if task in seat.held]
                # What is in the ring is over, though the worker may not have come to the next one yet.
                runs = worker.task in seat.held
                assert not wanted[1:] and not (runs and wanted), f"{wanted} wait while {self.core.idle} idle"

    def finish(self) -> None:
        """Let everything come to its end, unless no worker can be started any more."""
        for _ in range(100_000):
            self.now += core.STUCK_NS
            self.tick()
            self.trim()
            busy = False
            for worker in list(self.workers.values()):
                while worker.can_step():
                    worker.step()
                while worker.messages:
                    self.deliver(worker, 10_000)
                    busy = True
                if not worker.alive:
                    self.reap(worker)
                    busy = True
            self.check()
            if self.given_up or not (busy or self.core.held_tasks()):
                return
        raise AssertionError(f"never finished: {self.core.held_tasks()}")
