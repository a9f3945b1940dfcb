"""A worker: runs one task at a time, from the first message to the last.

    manager --frames: TASKS, Function, Stop--> worker --its page: results;  frames: Flush, Bulk, Need--> manager

Everything the manager must know after this process has died stands in the page (page.py) before the task begins
and as soon as it ends; a Flush message only says "look". There is no second thread: it could not run while a
task holds the interpreter's lock, and would make `os.fork()` in a task dangerous.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from pickle import dumps, loads
from struct import pack, unpack_from
from time import monotonic_ns
from typing import Any

from parsl_pool.errors import BadMessage, bounded, described
from parsl_pool.interchange import columns, envelope, serialize, wire
from parsl_pool.interchange.envelope import answer_with_error, dump_result
from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.object_records import DropObjects, Object
from parsl_pool.interchange.page import (
    CLAIM_MASK,
    CLAIM_SLOTS,
    CLAIMS_SIZE,
    CONSUMED,
    OUT,
    PAGE_SIZE,
    RING_SIZE,
    RING_START,
    SINCE,
    SKIP_FROM,
    SKIP_TO,
    STARTED,
    STRONG_ORDER,
    TASK,
    WRAP,
    settle,
)
from parsl_pool.interchange.shared_memory import map_shared
from parsl_pool.interchange.worker_connection import Connection, StopWork

_SMALL = 4096
_pack_record = columns.RECORD.pack

FLUSH_NS = 500_000
"""Results wait at most so long for others that are about to be finished."""


class Setup(NamedTuple):
    """What every worker of a manager has in common."""

    initializer: bytes  # a payload of (initializer, initargs); b"" for none
    max_tasks: int  # 0: no limit
    claims: int  # descriptor of the claims table, -1 for none
    descriptors: list[int]  # those that the initializer's arguments need
    label: str  # of the executor
    run_id: str
    log_dir: str  # where each is to say what it does; "" for nowhere


class Worker:
    """The loop of one worker process."""

    def __init__(self, sock: socket.socket, page_fd: int, setup: Setup, rank: int = 0) -> None:
        self.connection = self._connection = Connection(sock)
        self.setup, self.rank = setup, rank
        self.task: Any = None  # the WorkerTask, made when a task has something to say or to ask
        self.resumed: tuple[int, Any] = (-1, None)  # a try, and what it has been told (resumed.Resumed)
        self.for_task: deque[bytes] = deque()  # ForTask that came while the task was being prepared
        self.walltime_ms = 0  # of the tasks of this batch; 0: none
        self._map = map_shared(page_fd, PAGE_SIZE)
        self.words = self._words = memoryview(self._map)[: 8 * 16].cast("Q")
        envelope.page_words = self._words
        self._max_tasks = setup.max_tasks
        if setup.claims >= 0:
            table = memoryview(map_shared(setup.claims, CLAIMS_SIZE))
            self._claims, self._cancels = table[:CLAIM_SLOTS], table[CLAIM_SLOTS:]
        else:  # the client is on another host: claims are told by messages
            self._claims = memoryview(bytearray(CLAIM_SLOTS))
            self._cancels = memoryview(bytes(CLAIM_SLOTS))
        self._functions: dict[int, tuple[Any, bytes]] = {}  # number -> callable or None, bytes to open anew
        self._later: deque[tuple[int, bytes, list[int]]] = deque()  # arrived while waiting for a function
        self._skipped = 0  # tasks that were begun only to be passed over
        self._lent: list[int] = []  # shared memory for the next large result
        self._committed = 0
        self._before = 0  # when the work that has not been announced began
        self._said_at = monotonic_ns()

    # -- messages

    def run(self) -> None:
        """Work until told to stop, or until the manager is gone."""
        self._connection.send(wire.frame(wire.Up(os.getpid())))
        try:
            while True:
                if self._later:
                    kind, body, descriptors = self._later.popleft()
                else:
                    kind, body, descriptors = self._connection.next()
                self._handle(kind, body, descriptors)
        except StopWork:
            return

    def _handle(self, kind: int, body: bytes, descriptors: list[int]) -> None:
        if kind == wire.TASKS:
            self._run_batch(body, descriptors)
            if self._max_tasks and self._words[STARTED] - self._skipped >= self._max_tasks:
                self._flush(idle=True)
                raise StopWork
            # Tasks to be skipped may still be on their way to us: until they have passed we are not idle.
            self._flush(idle=self._words[SKIP_TO] <= self._words[STARTED])
        elif kind == wire.SETTLED:
            from parsl_pool.interchange import surroundings  # only for tasks that ask for something

            with surroundings.entered(body) as tasks:
                self._handle(wire.TASKS, tasks, descriptors)
        elif kind == wire.KIND[wire.Function]:
            self._learn(body)
        elif kind == wire.KIND[wire.Forget]:
            record = wire.decode(kind, body)
            assert isinstance(record, wire.Forget)
            for number in record.numbers:
                self._functions.pop(number, None)
        elif kind == wire.KIND[wire.Stop]:
            raise StopWork
        elif kind == wire.KIND[wire.ForTask]:
            return  # that task is over
        elif kind == wire.KIND[DropObjects]:
            self._drop_objects(body)
        elif kind == wire.KIND[Object]:
            for fd in descriptors:  # a thread has asked for it that is no more
                os.close(fd)
        else:
            raise BadMessage(f"a worker was sent a message of kind {kind}")

    def _drop_objects(self, body: bytes) -> None:
        from parsl_pool.interchange import object_values  # only those who have opened some are told

        record = wire.decode(wire.KIND[DropObjects], body)
        assert isinstance(record, DropObjects)
        object_values.drop(record.keys)

    def _learn(self, body: bytes) -> None:
        record = wire.decode(wire.KIND[wire.Function], body)
        assert isinstance(record, wire.Function)
        self._functions[record.number] = (None, record.data)

    def announce(self) -> None:
        """Others may wait for what is finished: it must not wait for us."""
        self._flush(idle=False)

    def _flush(self, idle: bool) -> None:
        now = monotonic_ns()
        worked = now - self._before if self._before else 0
        self._connection.send(columns.flush_frame(self._words[OUT], idle, worked))
        self._before = 0 if idle else now
        self._said_at = now

    # -- functions

    def _function(self, number: int) -> Any:
        """The callable of that number. Raises whatever unpickling it raises."""
        known = self._functions.get(number)
        if known is None:
            self._fetch(number)
            known = self._functions[number]
        call, data = known
        if call is None:
            call = serialize.load_function(memoryview(data)[1:])
            if recall is not None:
                recall(call)
            if data[:1] == serialize.REUSE:
                self._functions[number] = (call, b"")
        return call

    def _fetch(self, number: int) -> None:
        self._flush(idle=False)  # others may wait for what is finished
        self._connection.send(wire.frame(wire.Need(number)))
        while number not in self._functions:
            self.put_off(*self._connection.next())

    def put_off(self, kind: int, body: bytes, descriptors: list[int]) -> None:
        """A message has come while the task waits for another one. Raises StopWork, if it is to wait no more."""
        if kind == wire.KIND[wire.Function]:
            self._learn(body)
        elif kind == wire.KIND[wire.ForTask]:
            self.for_task.append(body)
        else:
            self._later.append((kind, body, descriptors))
            if kind == wire.KIND[wire.Stop]:
                raise StopWork

    # -- tasks

    def _run_batch(self, body: bytes, descriptors: list[int]) -> None:
        """Run the tasks of one frame, in order.

        The hot loop: what is usual happens right here, at little more than the price of pickling.
        """
        _, self.walltime_ms, count = columns.TASKS_HEAD.unpack_from(body)
        numbers = unpack_from(f"<{count}Q{2 * count}I", body, 12)
        position = 12 + 16 * count
        words, claims, cancels, functions = self._words, self._claims, self._cancels, self._functions
        started = words[STARTED]
        last = numbers[count - 1]
        self._before = now = monotonic_ns()
        for task, number, length in zip(numbers, numbers[count:], numbers[2 * count :]):
            words[SINCE] = now  # before its task: who sees the new task must not count the old one's time
            words[TASK] = task
            words[STARTED] = started = started + 1
            end = position + length
            if words[SKIP_TO] >= started and _is_skipped(words, started):
                status, result = wire.SKIPPED, b""
                self._skipped += 1
            else:
                claims[task & CLAIM_MASK] = mark = (task >> 22) % 255 + 1
                if cancels[task & CLAIM_MASK] == mark:
                    status, result = wire.CANCELLED, b""
                else:
                    known = functions.get(number)
                    call = known[0] if known is not None else None
                    if call is not None and body[position] == 0x80 and length < _SMALL:
                        status, result = _call_plain(call, body[position:end])
                    else:
                        status, result = self._call(call, number, memoryview(body)[position:end], descriptors)
            position = end
            now = monotonic_ns()
            self._put(task, status, result)
            if (now - self._said_at > FLUSH_NS or not STRONG_ORDER) and task != last:
                self._flush(idle=False)
        descriptors += self._lent
        self._lent.clear()
        for fd in descriptors:  # of a task that did not run, or had no large result; the others have been taken
            os.close(fd)
        # Only now: the manager reads the ring before it asks what ran, so a finished task here does no harm.
        words[TASK] = 0

    def _call(self, call: Any, number: int, payload: Any, descriptors: list[int]) -> tuple[int, Any]:
        """Run one task: its status, and the payload of its result (whole, or in parts)."""
        try:
            if payload[0] == 0x54:  # T
                payload = self._resume(payload)
            if len(descriptors) > 1:
                self._lent.append(descriptors.pop())
            if payload[0] == 0x4D and not serialize.is_plain(descriptors[0]):  # M
                payload = serialize.from_shared_memory(descriptors.pop(0))
                if payload[0] == 0x54:
                    payload = self._resume(payload)
            if call is None:
                begin = monotonic_ns()
                call = self._function(number)
                self._before += monotonic_ns() - begin  # imports count once, and not as the function's own time
            if payload[0] == 0x43:  # C
                return _call_chunk(call, serialize.load_chunk(payload))
            if payload[0] == 0x4D:
                args, kwargs = serialize.load_shared_arguments(descriptors.pop(0))
            else:
                args, kwargs = serialize.load_arguments(payload)
        except StopWork:
            raise
        except BaseException as problem:  # told to the client; it is user code that unpickles
            return wire.UNREADABLE, answer_with_error(problem, 0)
        payload = None
        try:
            value = call(*args, **kwargs)
        except BaseException as problem:  # the task's own error, SystemExit and KeyboardInterrupt included
            _look_before_end()
            return wire.RAISED, answer_with_error(problem)
        _look_before_end()
        return dump_result(value, call)

    def _resume(self, payload: Any) -> Any:
        """Note what a try is told of those before it. Returns the payload proper."""
        from parsl_pool.interchange import resumed  # only for tasks of more than one try, or of more than one step

        told, payload = resumed.split(payload)
        self.resumed = (self._words[TASK], told)
        return payload

    # -- results

    def _put(self, task: int, status: int, result: Any) -> None:
        """Make a result safe: in the ring, or handed to the manager if it is too large for that."""
        words = self._words
        if type(result) is bytes:
            size = 13 + len(result)
            if size <= RING_SIZE // 4:
                start = self._committed % RING_SIZE
                gap = RING_SIZE - start if start + size > RING_SIZE else 0
                end = self._committed + gap + size
                if end - words[CONSUMED] <= RING_SIZE:
                    if gap or start == 0:
                        words[WRAP] = start or RING_SIZE
                        start = 0
                    offset = RING_START + start
                    self._map[offset : offset + size] = _pack_record(task, size - 13, status) + result
                    self._committed = end
                    words[OUT] = end
                    return
        self._send_bulk(task, status, result)

    def _send_bulk(self, task: int, status: int, result: Any) -> None:
        """A result by the socket, after those in the ring; large ones in shared memory."""
        self._flush(idle=False)
        if serialize.size_of(result) >= serialize.LARGE:
            try:
                if self._lent:
                    fd = self._lent.pop()
                    serialize.write_again(fd, result)
                    short = serialize.stand_in(serialize.size_of(result))
                else:
                    short, fd = serialize.to_shared_memory(result, "result")
            except OSError:  # no shared memory left: through the socket, if that can take it
                size = serialize.size_of(result)
                if size > serialize.MAX_PAYLOAD:
                    status, result = wire.UNSENDABLE, answer_with_error(serialize.too_large("the result", size), 0)
            else:
                self._connection.send_descriptor(wire.frame(wire.Bulk(task, status, 0, short), 1), fd)
                os.close(fd)
                return
        self._connection.send(wire.frame(wire.Bulk(task, status, 0, serialize.join(result))))


def _is_skipped(words: Any, started: int) -> bool:
    """True if the manager has taken this task back: SKIP_TO says that it took some, SKIP_FROM which."""
    if not STRONG_ORDER:  # our look at the one may have been made before our look at the other
        settle()
    return bool(started > words[SKIP_FROM])


def _call_plain(call: Any, payload: bytes) -> tuple[int, Any]:
    """Run a task whose arguments are a small plain pickle."""
    try:
        arguments = loads(payload)
        if type(arguments) is not tuple:
            call, arguments = partial(call, **arguments[1]), arguments[0]
    except BaseException as problem:  # told to the client; it is user code that unpickles
        return wire.UNREADABLE, answer_with_error(problem, 0)
    try:
        value = call(*arguments)
    except BaseException as problem:  # the task's own error, SystemExit and KeyboardInterrupt included
        if before_end is not None:
            before_end()
        return wire.RAISED, answer_with_error(problem)
    if before_end is not None:
        before_end()
    if type(value) in serialize.PLAIN:
        data = dumps(value, 5)
        if len(data) < _SMALL:
            return wire.OK, data
    return dump_result(value, call)


def _call_chunk(call: Any, calls: list[tuple[Any, ...]]) -> tuple[int, Any]:
    values: list[Any] = []
    try:
        for args in calls:
            values.append(call(*args))
    except BaseException as problem:  # the results before it are not lost by it
        _look_before_end()
        told = answer_with_error(problem)
        status, before = dump_result(values, call)
        if status != wire.OK:
            return status, before
        data = serialize.join(before)
        return wire.OK, b"P" + pack("<Q", len(data)) + data + told
    _look_before_end()
    return dump_result(values, call)


before_end: Callable[[], None] | None = None
"""To be called when a task's function has ended, before anybody is told: here and not for each task."""

recall: Callable[[Any], None] | None = None
"""Lets a function of `__main__` see what an initializer has set there, if there is one."""

here: Worker | None = None
"""The worker that this process is."""


_endings: list[Callable[[], None]] = []  # what before_end calls


def at_end(call: Callable[[], None]) -> None:
    """Have this called once when the function of the task that runs has ended, and before anybody is told."""
    global before_end
    if call not in _endings:
        _endings.append(call)
    if before_end is None:  # else this is a fork of the worker, or it calls them already
        before_end = _end_task


def _end_task() -> None:
    global before_end
    before_end = None
    while _endings:
        _endings.pop()()


def _note_fork() -> None:
    global before_end, here
    before_end = _leave
    here = None  # what the task says there would break into what we say


def _leave() -> None:
    """A child that the task forked, and that came back from it, must not go on as a second worker."""
    os._exit(0)


def _look_before_end() -> None:
    if before_end is not None:
        before_end()


# ---- start


def _initialize(setup: Setup, connection: Connection) -> None:
    """Run the user's initializer. Ends the process if it raises, having told the manager."""
    global recall
    if not setup.initializer:
        return
    from parsl_pool.interchange import main_names  # most workers have no initializer

    recall = main_names.recall
    try:
        if setup.descriptors:
            from parsl_pool.interchange import inherited  # only pools with multiprocessing locks need it

            inherited.provide(setup.descriptors)
        function, args = serialize.load_value(setup.initializer)
        names = main_names.of(function)
        before = dict(names)
        function(*args)
        main_names.remember(before, names)
    except BaseException as problem:  # reported to the client, on this process's stderr and to its logger
        import logging  # these two only when something is wrong
        import traceback

        logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
        text = bounded(traceback.format_exc())
        connection.send(wire.frame(wire.InitializerFailed(described(problem), text)))
        raise StopWork from None


def main(worker: int, sock: socket.socket, page_fd: int, stacks_fd: int, setup: Setup, kind: type[Worker]) -> None:
    """Be a worker: returns when there is no more work. Runs in a process of its own, in a session of its own."""
    global here
    os.register_at_fork(after_in_child=_note_fork)
    # A handler, not SIG_IGN: what a task starts must not inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, lambda signum, frame: None)
    faulthandler.enable(stacks_fd, all_threads=True)
    try:
        _initialize(setup, Connection(sock))
        here = kind(sock, page_fd, setup, worker)
        here.run()
    except StopWork:
        pass


def end(code: int = 0) -> None:
    """Leave as a Python program does, its exit handlers run and its output written, but without the teardown."""
    import atexit  # at the end only

    try:
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue  # closed or replaced by the user
        os._exit(code)
