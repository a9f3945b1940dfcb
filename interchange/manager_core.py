"""Which worker gets which tasks: the decisions of a manager, without sockets, processes or clocks.

Each method is an event; it returns effects, which the shell (manager.py) performs. Not thread-safe: one owner.

A worker gets several tasks at once only while they are known to be short (about a millisecond of work), and is
sent more before it is done only then. When it makes no progress, what it has not begun is taken back, so that
no task waits behind a long one while a worker is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack_from

from parsl_pool.interchange.columns import Tasks, goes_with, single
from parsl_pool.interchange.estimates import Estimates
from parsl_pool.interchange.holdings import Holdings
from parsl_pool.interchange.manager_effects import Drained as Drained
from parsl_pool.interchange.manager_effects import Effect as Effect
from parsl_pool.interchange.manager_effects import GiveBack as GiveBack
from parsl_pool.interchange.manager_effects import GiveUp as GiveUp
from parsl_pool.interchange.manager_effects import Lost as Lost
from parsl_pool.interchange.manager_effects import Release as Release
from parsl_pool.interchange.manager_effects import Retire as Retire
from parsl_pool.interchange.manager_effects import Send as Send
from parsl_pool.interchange.manager_effects import SetWindow as SetWindow
from parsl_pool.interchange.manager_effects import Start as Start
from parsl_pool.interchange.manager_effects import TakeBack as TakeBack
from parsl_pool.interchange.packing import Has
from parsl_pool.interchange.places import at_work, crowds, open_places, take_idle
from parsl_pool.interchange.seat import Seat, SeatState
from parsl_pool.interchange.set_aside import SetAside
from parsl_pool.interchange.widening import NO_WAY, find_way
from parsl_pool.interchange.wire import SKIPPED

NS = 1_000_000_000
BATCH_NS = 1_000_000
"""A batch holds about so much work, judged by the slowest recent calls."""

BATCH_MOST = 64
STUCK_NS = 2_000_000
"""Without any result for so long, a worker's waiting tasks are taken back."""

WINDOW_NS = 8_000_000
WINDOW_MOST = 1024
REFUSED_NS = NS  # between two tries to start a worker that the system refuses
EXTRA_LEAST = 8
EXTRA_IDLE_NS = NS
"""An extra worker ends when it has had nothing to do for so long."""


class ManagerCore(Holdings):
    """The bookkeeping of one manager."""

    def __init__(
        self, workers: int, max_tasks_per_child: int = 0, *, eager: bool = True, start_failures: int = 3,
        aside: SetAside | None = None, prefetch: int | None = None, exclusive: bool = False,
        devices: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__(aside or SetAside(Has(workers, workers, 0, 0, 0, 0, 0)))
        self.workers = workers
        self.extra = 0  # places that tasks have beyond one each
        self.eager = eager  # all workers at once, rather than each when there is a task for it
        self.max_tasks = max_tasks_per_child
        self.start_failures = start_failures
        self.prefetch = prefetch  # tasks beyond those that are run; None: for short ones only, as many as is good
        self.exclusive = exclusive  # no two workers may be at work in one place: it has an accelerator
        self._devices = devices  # which one each place has; none: another one each
        self._kept: frozenset[int] = frozenset()  # places for a worker that is to have several
        self.idle: dict[int, Seat] = {}  # ready, and holding nothing
        self.estimates = Estimates()
        self.window = self._depth = workers + (prefetch or 0)
        self.least = self._least()  # of the window are to be free before we are sent more
        self.waiting = 0  # seats that wait: the window is larger by what they hold
        self.most_extra = max(EXTRA_LEAST, 2 * workers)  # workers in the places of those that wait
        self._sent = 0  # what all seats had been sent when that was last asked
        self.stopping = False
        self.draining = False
        self.failures = 0  # workers in a row that ended before they were ready
        self._refused_until = 0  # the system has just refused to start one
        self._next = 0

    # -- the life of workers

    def begin(self, now: int) -> list[Effect]:
        """The manager starts: so do its workers."""
        return [*self._fill(now), SetWindow(self.window, 0, self.least)]

    def fill(self, now: int) -> list[Effect]:
        """Start the workers that are missing, after the system would not let us for a moment."""
        return self._fill(now)

    def _fill(self, now: int) -> list[Effect]:
        effects: list[Effect] = []
        if self.stopping or self.draining:
            return effects
        if self.seats and now < self._refused_until:  # with none there is nobody to wait for
            return effects
        if self.exclusive:
            effects += self._make_way(now)
        alive = starting = 0
        for seat in self.seats.values():
            alive += seat.state is not SeatState.LEAVING
            starting += seat.state is SeatState.STARTING
        missing = self.workers - alive
        room = self.most_extra if self.exclusive else min(self.waiting, self.most_extra)
        wanted = min(missing + room, self.queued - starting)
        if self.eager:
            wanted = max(wanted, missing)
        for _, rank in zip(range(wanted), open_places(self.seats.values(), self.workers, exclusive=self.exclusive)):
            if rank not in self._kept:
                effects.append(self._start(now, rank))
        return effects

    def _start(self, now: int, *ranks: int) -> Start:
        seat = self.seats[self._next] = Seat(self._next, now, *ranks)
        self._next += 1
        return Start(seat.number)

    def _make_way(self, now: int) -> list[Effect]:
        """See that there is, or will be, a worker with as many accelerators as the first task asks for."""
        way = NO_WAY
        width = self._width(self.queue[0]) if self.queue else 0
        if 0 < width <= self.workers - self._at_work():
            way = find_way(self.seats.values(), self.idle, self.workers, width, self._devices)
        self._kept = way.kept
        effects: list[Effect] = []
        for number in way.retire:
            self.idle.pop(number).state = SeatState.LEAVING
            effects.append(Retire(number))
        if way.ranks and len(self.seats) < self.workers + self.most_extra:
            effects.append(self._start(now, *way.ranks))
        return effects

    def _width(self, tasks: Tasks) -> int:
        """How many accelerators its worker is to have."""
        request = tasks.request
        return max(1, min(request.gpus, self.aside.has.gpus)) if self.exclusive and request is not None else 1

    def worker_ready(self, worker: int, now: int) -> list[Effect]:
        """A worker has initialised."""
        seat = self.seats.get(worker)
        if seat is None or seat.state is not SeatState.STARTING:
            return []
        seat.state = SeatState.READY
        seat.progress = now
        self.failures = 0
        self.idle[worker] = seat
        return self._dispatch(now)

    def worker_refused(self, worker: int, now: int) -> list[Effect]:
        """The system would not start it: too many processes, or files. Those that are there do the work meanwhile."""
        if len(self.seats) > 1:
            self._refused_until = now + REFUSED_NS
            return self.worker_ended(worker, 0, now, blame=False)
        return self.worker_ended(worker, 0, now)

    def worker_ended(
        self, worker: int, running: int, now: int, *, started: int = 0, blame: bool = True
    ) -> list[Effect]:
        """A worker's process is gone; `running` is the task that it had begun and not finished, or 0.

        started: how many it had begun, by its own count. What it has begun and is still held here has been lost on
            its way to us; it must not run again as if nothing had happened.
        blame: it ended by itself, rather than with the process that it was forked from.
        Everything else that it held goes back to the head of the queue.
        """
        seat = self.seats.pop(worker, None)
        self.idle.pop(worker, None)
        if seat is None:
            return []
        self.waiting -= seat.waits
        if seat.settled:
            self._unsettle(seat)
        effects: list[Effect] = []
        if started > seat.sent:
            started = 0  # a task wrote over it
        begun = [task for task, (_, place, base) in seat.held.items() if task == running or base + place < started]
        for task in begun:
            effects.append(Lost(worker, task))
            self._over(seat, task, effects)
        self._requeue(seat, list(seat.held))
        if seat.state is SeatState.STARTING and blame and not (self.stopping or self.draining):
            self.failures += 1
            if self.failures >= self.start_failures:
                return [*effects, GiveUp(f"{self.failures} workers in a row ended before they were ready")]
        return effects + self._fill(now) + self._dispatch(now)

    def waits(self, worker: int, waits: bool, now: int) -> list[Effect]:
        """What a worker runs waits for other tasks, or goes on. Meanwhile others may have its place.

        When it goes on there is one more at work than there should be, until the next task is done.
        """
        seat = self.seats.get(worker)
        if seat is None or seat.waits == waits or (waits and not seat.held):
            return []
        seat.waits = waits
        self.waiting += 1 if waits else -1
        if seat.settled:
            self._count_extra()
        return self._dispatch(now)

    def trim(self, now: int) -> list[Effect]:
        """End the extra workers that nobody has needed for a while; add one if all that there may be wait in vain."""
        if self._is_stuck():
            self.most_extra += 1
            return self._fill(now)
        alive = sum(seat.state is not SeatState.LEAVING for seat in self.seats.values())
        extra = alive - self.workers - min(self.waiting, self.most_extra)
        effects: list[Effect] = []
        shared = crowds(self.seats.values())
        for number, seat in list(self.idle.items()):
            if extra <= 0:
                break
            if now - seat.progress >= EXTRA_IDLE_NS and min(map(shared.__getitem__, seat.ranks)) > 1:  # none is empty
                extra -= 1
                shared.subtract(seat.ranks)
                seat.state = SeatState.LEAVING
                del self.idle[number]
                effects.append(Retire(number))
        return effects

    def _is_stuck(self) -> bool:
        """True if tasks wait, all workers do, too, and none has been given anything since this was last asked."""
        before, self._sent = self._sent, sum(seat.sent for seat in self.seats.values())
        return bool(self.queue) and before == self._sent and all(seat.waits for seat in self.seats.values())

    def has_extra(self) -> bool:
        """True while there are more workers than the manager was made for: call `trim` before long."""
        return len(self.seats) > self.workers

    def _is_full(self) -> bool:
        """True if as many are at work as may be. Those that wait are not."""
        return self._at_work() >= self.workers

    def _at_work(self) -> int:
        return sum([seat.places for seat in self.seats.values() if seat.held and not seat.waits])

    def stop(self) -> None:
        """Start nothing any more."""
        self.stopping = True
        self.queue.clear()
        self.queued = 0

    def drain(self, now: int) -> list[Effect]:
        """Begin nothing more, and give back what no worker has begun; what runs goes on, and then all is done."""
        self.draining = True
        effects: list[Effect] = [
            self._take_back(seat) for seat in self.seats.values() if len(seat.held) > 1 and not seat.taking_back
        ]
        return effects + self._dispatch(now)

    def relieve(self, now: int) -> list[Effect]:
        """Give back what no worker has, if all are at long tasks. We don't get it again before one of these is done."""
        # Tasks that wait for others may wait for these; and with prefetch= so many are to wait here.
        if self.draining or self.idle or self.waiting or self.prefetch is not None or not self.is_jammed(now):
            return []
        self._depth = self.workers
        return self._empty_queue(self.workers)

    def _empty_queue(self, window: int) -> list[Effect]:
        effects: list[Effect] = []
        if self.window != window:  # first: else they would be sent to us again
            self.window, self.least = window, 1
            effects.append(SetWindow(window, 0, 1))
        return [*effects, *[GiveBack(tasks) for tasks in self.taken_queue()]]

    def _hand_back(self) -> list[Effect]:
        is_done = not any(seat.held for seat in self.seats.values())
        return [*self._empty_queue(0), *([Drained()] if is_done else [])]

    # -- tasks

    def tasks_arrived(self, tasks: Tasks, now: int) -> list[Effect]:
        """The broker sends tasks."""
        self.queue.append(tasks)
        self.queued += tasks.count
        return self._dispatch(now)

    def finished(
        self, worker: int, done: list[tuple[int, int]], nanoseconds: int, idle: bool, now: int
    ) -> list[Effect]:
        """A worker has finished tasks: pairs of id and status. SKIPPED ones go back to the queue.

        `nanoseconds` is the work that went into them, 0 if not known.
        """
        seat = self.seats.get(worker)
        if seat is None:
            return []
        seat.progress = now
        if seat.waits and done:  # what waited is over, and has not said so
            seat.waits = False
            self.waiting -= 1
        effects: list[Effect] = []
        functions: set[int] = set()
        skipped: list[int] = []
        for task, status in done:
            place = seat.held.get(task)
            if place is None:
                seat.to_skip -= status == SKIPPED  # taken back before the worker could skip it
                continue
            if status == SKIPPED:
                skipped.append(task)
                seat.skipped += 1
            else:
                functions.add(unpack_from("<I", place[0].functions, 4 * place[1])[0])
                self._over(seat, task, effects)
        if seat.settled and seat.settled not in seat.held:
            self._unsettle(seat)
        if nanoseconds and functions:
            self.estimates.learn(functions, len(done), nanoseconds)
        self._requeue(seat, skipped)
        if seat.to_skip <= 0:
            seat.taking_back = False
        if self.max_tasks and seat.sent - seat.skipped >= self.max_tasks and not seat.held:
            seat.state = SeatState.LEAVING
            self.idle.pop(worker, None)
            return effects + self._fill(now) + self._dispatch(now)
        # After a TakeBack its SKIPPED records are still to come: until all are here, one of them could be taken
        # for the answer to the same task given to it again. (Its saying that it is idle tells nothing: that may
        # have been on its way since before the TakeBack.)
        if not seat.held and seat.state is SeatState.READY and not seat.taking_back:
            self.idle[worker] = seat
        return effects + self._dispatch(now)

    def _over(self, seat: Seat, task: int, effects: list[Effect]) -> None:
        descriptors = seat.held.pop(task)[0].descriptors
        if descriptors:
            effects.append(Release(descriptors))

    def _requeue(self, seat: Seat, ids: list[int]) -> None:
        back = []
        for task in ids:
            frame, place, _ = seat.held.pop(task)
            back.append(single(frame, place))
        self.queue.extendleft(reversed(back))
        self.queued += len(back)

    def _batch(self, tasks: Tasks, share: int) -> int:
        expected = self.estimates.of(tasks)
        if not expected or expected >= BATCH_NS or tasks.descriptors or tasks.walltime_ms:
            return 1
        return max(1, min(BATCH_MOST if self.prefetch is None else self.prefetch + 1, BATCH_NS // expected, share))

    def _dispatch(self, now: int) -> list[Effect]:
        if self.draining:
            return self._hand_back()
        effects: list[Effect] = []
        while self.queue and self.idle and (len(self.seats) + self.extra <= self.workers or not self._is_full()):
            if self.queue[0].request is not None:
                if not self._settle(effects, now):
                    break
                continue
            seat = take_idle(self.idle, self.seats.values(), exclusive=self.exclusive)
            if seat is None:
                break
            share = -(-self.queued // max(1, self.workers))
            effects.append(self._give(seat, self._batch(self.queue[0], share), now))
        if self.queue:
            if self.max_tasks or self.waiting or self.exclusive or len(self.seats) < self.workers:  # some LEAVING
                effects += self._fill(now)
            self._prefetch(effects, now)
        self._resize(effects)
        return effects

    def _prefetch(self, effects: list[Effect], now: int) -> None:
        """Give busy workers the next batch before they ask, if it is short work that they are at."""
        expected = self.estimates.of(self.queue[0])
        if not expected or expected >= BATCH_NS or self.prefetch == 0:
            return
        busy = at_work(self.seats.values()) if self.exclusive else {}
        for seat in self.seats.values():
            if not self.queue or self.queue[0].request is not None:
                return
            if len(seat.ranks) > 1 or busy.get(seat.rank, 0) > 1:
                continue  # it is for others, or one of them is to be the last there for now
            if seat.state is not SeatState.READY or seat.taking_back or seat.waits or self.max_tasks:
                continue
            if not seat.held:
                continue  # idle, and to stay so: as many are at work as may be
            batch = self._batch(self.queue[0], self.queued)
            if len(seat.held) <= batch:
                effects.append(self._give(seat, batch, now))

    def _give(self, seat: Seat, count: int, now: int) -> Send:
        if self.max_tasks:
            count = min(count, self.max_tasks - seat.sent + seat.skipped)
        tasks = self.queue.popleft()
        if tasks.count < count and self.queue:
            tasks, count = self._merge(tasks, count)
        if count < tasks.count:
            tasks, rest = tasks.split(count)
            self.queue.appendleft(rest)
        self.queued -= tasks.count
        if not seat.held:
            seat.progress = now
        base = seat.sent
        for place, task in enumerate(tasks.task_ids()):
            seat.held[task] = (tasks, place, base)
        seat.sent = base + tasks.count
        return Send(seat.number, tasks)

    def _settle(self, effects: list[Effect], now: int) -> bool:
        """Give the first task, which asks for something, to a worker. False if there is no room: all wait then."""
        tasks = self.queue[0]
        seat = take_idle(self.idle, self.seats.values(), exclusive=self.exclusive, width=self._width(tasks))
        if seat is None:
            return False
        places = self.aside.take(tasks, self.workers - self._at_work())
        if not places:
            self.idle[seat.number] = seat
            return False
        seat.settled, seat.places = tasks.task_ids()[0], places
        effects.append(self._give(seat, 1, now))
        self._count_extra()
        return True

    def _unsettle(self, seat: Seat) -> None:
        self.aside.give_back(seat.settled)
        seat.settled, seat.places = 0, 1
        self._count_extra()

    def _count_extra(self) -> None:
        self.extra = sum([seat.places - 1 for seat in self.seats.values() if not seat.waits])

    def _merge(self, first: Tasks, count: int) -> tuple[Tasks, int]:
        """Add frames from the head of the queue until there are `count` tasks, while they are short work too.

        Returns the tasks, and how many of them make a batch: fewer, if slower ones have joined.
        """
        frames, total, queue = [first], first.count, self.queue
        while total < count and queue and goes_with(queue[0], first):
            expected = self.estimates.of(queue[0])
            if not expected or expected * (total + 1) > BATCH_NS:
                break
            count = min(count, BATCH_NS // expected)
            frames.append(queue.popleft())
            total += frames[-1].count
        return (Tasks.join(frames) if len(frames) > 1 else first), count

    def _resize(self, effects: list[Effect]) -> None:
        """Ask for as much as keeps the workers busy for some milliseconds, and no more; or as we have been told."""
        if self.prefetch is None:
            self._set_depth()
        lent = self.lent() if self.waiting else 0
        window, least = self._depth + lent, self._least()
        if (window, least) != (self.window, self.least):
            self.window, self.least = window, least
            effects.append(SetWindow(window, lent, least))

    def _set_depth(self) -> None:
        expected = self.estimates.of(self.queue[0]) if self.queue else self.estimates.of_recent()
        depth = 1 if not expected else max(1, min(WINDOW_MOST, WINDOW_NS // expected))
        wanted = self.workers * (depth if depth > 4 else 1)
        if wanted >= 2 * self._depth or 2 * wanted <= self._depth:
            self._depth = wanted

    def _least(self) -> int:
        """How much of the window is to be free before more is sent: no worker is to be idle till then."""
        return max(1, min(self._depth // 4, self._depth - self.workers + 1))

    # -- taking back

    def tick(self, now: int) -> list[Effect]:
        """Time has passed. Take back what waits behind a task that turned out to be long."""
        effects: list[Effect] = []
        for seat in self.seats.values():
            if len(seat.held) > 1 and not seat.taking_back and now - seat.progress >= STUCK_NS:
                effects.append(self._take_back(seat))
        return effects

    def _take_back(self, seat: Seat) -> TakeBack:
        seat.taking_back = True
        _, place, base = next(iter(seat.held.values()))
        seat.taken_from = base + place + 1
        return TakeBack(seat.number, seat.taken_from, seat.sent)

    def taken_back(self, worker: int, started: int, now: int) -> list[Effect]:
        """The worker can no longer begin what had an index of at least `started`."""
        seat = self.seats.get(worker)
        if seat is None or not seat.taking_back:
            return []
        started = max(started, seat.taken_from)  # it may not even have begun the one that we left to it
        ids = [task for task, (_, place, base) in seat.held.items() if base + place >= started]
        if ids:  # the one before them runs longer than we thought
            frame, place, _ = next(iter(seat.held.values()))
            number = unpack_from("<I", frame.functions, 4 * place)[0]
            self.estimates.learn({number}, 1, now - seat.progress)
        seat.to_skip += len(ids)
        seat.skipped += len(ids)
        seat.taking_back = seat.to_skip > 0
        self._requeue(seat, ids)
        return self._dispatch(now)
