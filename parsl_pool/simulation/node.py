"""One simulated node: a manager by its messages, over the real connection, whose workers only let time go by."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable
from itertools import count
from struct import unpack_from
from time import monotonic
from typing import Any

from parsl_pool._version import __version__
from parsl_pool.errors import BadMessage, UnsupportedFeatureError, shown
from parsl_pool.interchange import columns, curve, envelope, lent, resumed, serialize, wire
from parsl_pool.interchange.launch import python_version
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.rubbish import check
from parsl_pool.interchange.uplink import Uplink
from parsl_pool.simulation import last

_PIDS = count(10_000_000)  # no real process has such a number
_MOST_WAITING = 1024


class _Task:
    """A task that a node holds."""

    __slots__ = ("function", "is_over", "number", "payload", "walltime_s")

    def __init__(self, number: int, function: int, payload: memoryview, walltime_s: float) -> None:
        self.number, self.function, self.payload, self.walltime_s = number, function, payload, walltime_s
        self.is_over = False


class SimulatedNode:
    """A manager and its workers, as the interchange sees them. Belongs to the loop's thread.

    Args:
        context: the zmq context that all nodes of this process share.
        ticket: path of the file that says where the interchange is.
        task_s: how long calls of any function last, whose result is None then. None: only those of `last` are run.
        on_gone: called when it has ended in good order, or was refused.
    """

    def __init__(
        self, loop: Loop, context: Any, host: str, ticket: str, block: str, *,
        speed: float, task_s: float | None, on_gone: Callable[[], None],
    ) -> None:  # fmt: skip
        """Raises OSError, ValueError or TypeError: there is no good ticket."""
        self.host, self.block = host, block
        self.name = f"{host}-{random.getrandbits(32):08x}"
        self._loop, self._path, self._ticket = loop, ticket, curve.read_ticket(ticket)
        self._speed, self._task_s, self._on_gone = speed, task_s, on_gone
        self._settings: wire.Settings | None = None
        self._free: list[int] = []  # workers that have nothing to do
        self._known: dict[int, int] = {}  # worker -> its process id
        self._held: dict[int, _Task] = {}
        self._queue: deque[_Task] = deque()
        self._calls: dict[int, Any] = {}  # function -> the callable, or why there is none
        self._stopping = self._ended = False
        self._draining = ""  # why
        self._is_released = False  # and nothing is on its way to it
        self._link = Uplink(loop, self.name, self, context)

    # -- the Owner of the uplink

    def find(self) -> curve.Ticket:
        """Where the interchange is."""
        try:
            self._ticket = curve.read_ticket(self._path)
        except (OSError, ValueError, TypeError):
            pass  # it is being removed: the run ends
        return self._ticket

    def connected(self, address: str, troubles: dict[str, str]) -> None:
        """It has a connection."""

    def greet(self, kept: list[int]) -> None:
        """Say who we are, and what we hold."""
        workers = self._settings.workers if self._settings is not None else 0
        self._link.send(
            wire.Register(
                wire.PROTOCOL, self.name, self.host, next(_PIDS), workers, python_version(), __version__, self.block,
                0, [*kept, *self._held], [workers, 0, 0, 0, 0, 0], [], "",
            )
        )  # fmt: skip
        if workers:
            wanted = 0 if self._draining else min(2 * workers, _MOST_WAITING)
            self._link.send(wire.Window(wanted, 0, max(1, workers // 2)))
        if self._draining:
            self._link.send(wire.Draining(self.name, self._draining))

    def copied(self) -> None:
        """Nothing of ours is lent."""

    def _drain(self, reason: str) -> None:
        """What it holds it finishes, though a real one would give back some of it."""
        if not self._draining and not self._ended:
            self._draining = reason
            self._link.send(wire.Window(0, 0, 1))
            self._link.send(wire.Draining(self.name, reason))

    def delivered(self) -> None:
        """The client has all that we have said."""
        if self._is_released and not self._held:
            self._loop.call_at(monotonic(), self._leave)  # not in the midst of a message

    def _leave(self) -> None:
        if not self._held and self._link.has_delivered():
            self._end()

    def dropped(self, reason: str) -> None:
        """A message of the interchange's was none."""
        if self._settings is not None:
            self._link.send(wire.Dropped(reason))

    def receive(self, kind: int, body: bytes, names: list[lent.Name]) -> None:
        """One message of the interchange's. Raises BadMessage."""
        if kind == wire.TASKS and self._settings is not None and not names:
            self._take(columns.Tasks.decode(body))
            return
        record = wire.decode(kind, body)
        check(record)
        if isinstance(record, wire.Settings):
            if self._settings is None:
                self._begin(record)
        elif isinstance(record, wire.Function):
            self._calls[record.number] = _opened(record.data)
        elif isinstance(record, wire.Forget):
            for number in record.numbers:
                self._calls.pop(number, None)
        elif isinstance(record, wire.Kill):
            self._kill(record)
        elif isinstance(record, wire.Drain):
            self._drain(record.reason)
            self._is_released = True
            self.delivered()
        elif isinstance(record, wire.WhoAreYou):
            self._link.renew()
        elif isinstance(record, wire.Ping):
            self._link.send(wire.Pong(0))
        elif isinstance(record, (wire.Stop, wire.Refused)):
            self.stop()
        elif not isinstance(record, (wire.Pong, wire.ForTask, wire.KillWorkers)):
            raise BadMessage(f"a {type(record).__name__}")

    def _begin(self, settings: wire.Settings) -> None:
        if not settings.workers:  # real ones look at their node
            settings = settings._replace(workers=os.cpu_count() or 1)
        self._settings = settings
        self._free = list(range(settings.workers))[::-1]
        if settings.drain_ms:
            after = settings.drain_ms / 1000 / self._speed
            self._loop.call_at(monotonic() + after, lambda: self._drain("its drain_period is over"))
        self.greet([])
        self._beat()

    def _beat(self) -> None:
        if self._settings is not None and not self._ended:
            self._link.send(wire.Ping(0))
            self._loop.call_at(monotonic() + self._settings.heartbeat_ms / 1000, self._beat)

    # -- tasks

    def _take(self, tasks: columns.Tasks) -> None:
        ids, payload, position = tasks.task_ids(), memoryview(tasks.payload), 0
        functions = unpack_from(f"<{tasks.count}I", tasks.functions)
        for number, function, size in zip(ids, functions, unpack_from(f"<{tasks.count}I", tasks.lengths)):
            task = _Task(number, function, payload[position : position + size], tasks.walltime_ms / 1000)
            position += size
            self._held[number] = task
            self._queue.append(task)
        self._fill()

    def _fill(self) -> None:
        while self._queue and self._free:
            task = self._queue.popleft()
            if not task.is_over:
                self._start(task, self._free.pop())

    def _start(self, task: _Task, worker: int) -> None:
        if worker not in self._known:
            self._known[worker] = next(_PIDS)
            self._link.send(wire.WorkerUp(self.name, worker, self.host, self._known[worker]))
        try:
            seconds, result = self._duration(task)
        except Exception as problem:  # what is in the payload is the user's, and says so to the user
            self._free.append(worker)
            self._finish(task, wire.RAISED, envelope.dump_exception(problem))
            return
        if task.walltime_s and seconds > task.walltime_s:
            after, status = task.walltime_s, wire.TIMED_OUT
            result = wire.encode(wire.Facts(["host"], [self.host]))
        else:
            after, status = seconds, wire.OK
        if after <= 0:
            self._free.append(worker)
            self._finish(task, status, result)
        else:
            self._loop.call_at(monotonic() + after / self._speed, lambda: self._over(task, worker, status, result))

    def _duration(self, task: _Task) -> tuple[float, bytes]:
        """Seconds that it lasts, and the payload of its result."""
        payload: Any = task.payload
        if payload[0] == resumed.FORM:
            payload = resumed.split(payload)[1]
        call = self._calls.get(task.function)
        is_chunk = payload[0] == 0x43
        if call is not last:
            if self._task_s is None:
                assert self._settings is not None
                raise UnsupportedFeatureError(
                    self._settings.label,
                    f"a simulated node can't run {call if isinstance(call, str) else shown(call)}, only "
                    "parsl_pool.simulation.last; with task_s= the SimulatedProvider lets any call last so long",
                )
            calls = len(serialize.load_chunk(payload)) if is_chunk else 1
            return calls * self._task_s, _dumped([None] * calls if is_chunk else None)
        if is_chunk:
            pairs = [_call_of(args, {}) for args in serialize.load_chunk(payload)]
            return sum(seconds for seconds, _ in pairs), _dumped([result for _, result in pairs])
        seconds, result = _call_of(*serialize.load_arguments(payload))
        return seconds, _dumped(result)

    def _over(self, task: _Task, worker: int, status: int, result: bytes) -> None:
        self._free.append(worker)
        if not task.is_over and not self._ended:
            self._finish(task, status, result)
        self._fill()

    def _finish(self, task: _Task, status: int, payload: bytes) -> None:
        task.is_over = True
        self._held.pop(task.number, None)
        self._link.send_results(columns.result_of(task.number, status, payload))
        if self._stopping and not self._held:
            self._end()

    def _kill(self, record: wire.Kill) -> None:
        task = self._held.get(record.task)
        if task is not None:
            self._finish(task, record.status, wire.encode(wire.Facts(["reason"], [record.reason])))

    # -- the end

    def stop(self) -> None:
        """It was told to end."""
        self._stopping = True
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._link.send(wire.Stop(0))
            self._link.close()
            self._on_gone()

    def vanish(self) -> None:
        """It is gone, from one moment to the next, as a node that lost its power."""
        if not self._ended:
            self._ended = True
            self._link.drop()


def _call_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, Any]:
    def of(seconds: float, result: Any = None) -> tuple[float, Any]:
        return float(seconds), result

    return of(*args, **kwargs)


def _dumped(value: object) -> bytes:
    data = serialize.dump_value(value, "the result of last")
    return data if isinstance(data, bytes) else b"".join(data)


def _opened(data: bytes) -> Any:
    """The callable, if it can be opened here; else what it is called."""
    try:
        return serialize.load_function(memoryview(data)[1:])
    except Exception as problem:  # it may need modules that are not here; only `last` is run anyway
        return f"a function that cannot be opened here ({problem})"
