"""The tries that are under way, as the client knows them: what came of each, and what to do about it.

`table` is the arbiter: whoever pops a try's id from it decides the future's end, be it the thread that reads
results, or one that cancels.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any

from parsl_pool import futures
from parsl_pool.dataflow.failures import summary_of
from parsl_pool.dataflow.record import Fault, Options, TaskRecord
from parsl_pool.errors import BadMessage, DeserializationError, InternalError, PlaceLost
from parsl_pool.executors.high_throughput import outcomes
from parsl_pool.executors.high_throughput.large_arguments import SharedPayload
from parsl_pool.executors.high_throughput.resumed_payload import ResumedPayload, resume
from parsl_pool.executors.high_throughput.warm_memory import WarmMemory
from parsl_pool.futures import FINISHED, OVER, PENDING, AppFuture
from parsl_pool.futures.told import known_of
from parsl_pool.interchange import columns, serialize, wire
from parsl_pool.interchange.free_memory import give_back, shrink_if_empty

futures.set_opener(outcomes.open_value)


class Tries:
    """Every try that has no result yet."""

    def __init__(self, options: Options, send: Callable[[AppFuture[Any]], None], name_of: Callable[[int], str]) -> None:
        self.table: dict[int, AppFuture[Any]] = {}
        self.options = options
        self._send = send  # gives a future a new id, enters it here, and queues it
        self._name_of = name_of
        self._ending: deque[Callable[[], object]] = deque()
        self.warm = WarmMemory()
        self.finished = 0
        self.last_result = time.monotonic()
        self.failed = 0
        self.retried = 0
        self.late = 0
        self._passed: list[int] = []
        self.cancelled = 0
        self.seen = 0  # failures that somebody has looked at
        self.withdrawn: set[int] = set()  # tries that were asked back and had been begun: a worker may skip them yet
        self.on_failed: Callable[[AppFuture[Any]], object] | None = None  # told of a try that has, first of all
        # Told of each worker that has died under a try, and the facts.
        self.on_worker_lost: Callable[[AppFuture[Any], dict[str, str]], object] | None = None
        self.condemned: set[str] = set()  # names of tasks that are not tried again; the keeper of blocks adds them
        self.first_failures: dict[int, Any] = {}  # a few that nobody has looked at: try's id -> outcome

    def results(self, body: bytes, descriptors: list[int]) -> None:
        """A RESULTS frame has come. Futures that nobody watches end in one go, under one lock.

        Raises:
            BadMessage: it is no such frame.
        """
        end = len(body)
        count = wire.LENGTH.unpack_from(body)[0] if end >= 4 else 0
        position = 4 + 8 * count
        unpack = columns.RECORD.unpack_from
        pop = self.table.pop
        watched: list[tuple[AppFuture[Any], bytes]] = []
        others: list[tuple[AppFuture[Any], int, int, bytes]] = []
        if not count or position + 13 * count > end:
            raise BadMessage(f"{count} results in {end} bytes")
        handled = 0
        shared = bool(self.warm.out)
        with futures._BURST:
            for _ in range(count):
                if position + 13 > end:
                    break
                task, size, status = unpack(body, position)
                position += 13
                data = body[position : position + size]
                position += size
                if position > end:
                    break
                handled += 1
                future = pop(task, None)
                if future is None:
                    self.late += 1  # of a try that was given up, or cancelled
                    if status == wire.CANCELLED:
                        self._passed.append(task)
                elif status or data[:1] in (b"M", b"") or (shared and type(future._data) is SharedPayload):
                    # Not OK, in shared memory, damaged; or its arguments are in shared memory.
                    others.append((future, task, status, data))
                elif future._cond is None:
                    if future._state not in OVER:  # a leader may have been broken off just after that: `lone_result`
                        future._data = data
                        future._state = FINISHED
                else:
                    watched.append((future, data))
        self.finished += handled
        self.last_result = time.monotonic()
        self._ending.extend(partial(future.finish, data) for future, data in watched)
        self._ending.extend(partial(self._end, *other, descriptors) for other in others)
        self._ending.append(partial(_close, descriptors))
        self.drain()
        if not self.table and shrink_if_empty(self.table):
            give_back()
        if handled < count or position != end:
            raise BadMessage(f"{count} results, of which {handled} fit into {end} bytes")

    def passed(self) -> list[int]:
        """Cancelled tasks that a worker has passed since this was last asked."""
        if not self._passed:
            return []
        passed, self._passed = self._passed, []
        return passed

    def drain(self) -> None:
        """End the futures that are out of the table. A callback of one may wait for another: it comes back here."""
        while self._ending:
            self._ending.popleft()()

    def _end(self, future: AppFuture[Any], task: int, status: int, data: bytes, descriptors: list[int]) -> None:
        try:
            self._not_plain(future, task, status, data, descriptors)
        except (BadMessage, IndexError, ValueError) as problem:  # from a worker whose memory is damaged
            self._fail(future, outcomes.Known(DeserializationError(f"its result is damaged: {problem}")))

    def lone_result(self, received: bytes) -> bool:
        """If that is a frame with one plain result, which nobody is to be told of, keep it. False if it isn't.

        May be broken off by an exception anywhere, and done again from the start by whoever comes next.
        """
        if len(received) <= _LONE_RESULT.size:
            return False
        size, kind, descriptors, count, _, task, length, status = _LONE_RESULT.unpack_from(received)
        if kind != wire.RESULTS or descriptors or count != 1 or status or size + 4 != len(received):
            return False
        data = received[_LONE_RESULT.size :]
        future = self.table.get(task)
        if future is None or length != len(data) or data[0] == 0x4D:  # M
            return False
        kept = False
        with futures._BURST:
            if future._cond is None:
                kept = True
                if future._state not in OVER:
                    future._data = data
                    future._state = FINISHED
        if not kept:
            return False
        if self.table.pop(task, None) is not None:
            self.finished += 1
        self.last_result = time.monotonic()
        return True

    def _not_plain(self, future: AppFuture[Any], task: int, status: int, data: bytes, descriptors: list[int]) -> None:
        if status == wire.OK and not data:
            raise BadMessage("no value")
        if status == wire.OK:
            arguments = future._data
            is_kept = future._record is not None and future._record.options.result == "ref"
            future.finish(self._shared_value(data, descriptors, is_kept) if data[:1] == b"M" else data)
            if isinstance(arguments, SharedPayload):
                arguments.was_used()
        elif status == wire.CANCELLED and task in self.withdrawn:  # it was to run elsewhere, not to be cancelled
            self.withdrawn.discard(task)
            self._send(future)
        elif status == wire.CANCELLED:
            future._become_cancelled()
        else:
            if data[:1] == b"M":
                data = bytes(serialize.from_shared_memory(descriptors.pop(0)))
            self._try_failed(future, status, data)

    def _shared_value(self, data: bytes, descriptors: list[int], is_kept: bool) -> outcomes.SharedValue:
        size = int.from_bytes(data[1:9], "little")
        return outcomes.SharedValue(descriptors.pop(0), size, self.warm, is_kept)

    def _try_failed(self, future: AppFuture[Any], status: int, data: bytes) -> None:
        if self.on_failed is not None:
            self.on_failed(future)
        if status == wire.KILLED and future._record is not None and future._record.label == _KILLED:
            future._become_cancelled()
            return
        facts = outcomes.facts_in(data) if status in outcomes.WITH_FACTS else {}
        if status == wire.LOST and self.on_worker_lost is not None:
            self.on_worker_lost(future, facts)
        fault = Fault.PLACE if facts.get("cause") == "place" else Fault.TASK
        failure = outcomes.Failed(status, data, self._describer(future))
        if not self._again(future, fault, "", failure, is_last=status in (wire.KILLED, wire.TIMED_OUT, wire.REFUSED)):
            self._fail(future, failure)

    def _fail(self, future: AppFuture[Any], failure: Any) -> None:
        self.failed += 1
        if len(self.first_failures) < _KEEP_FAILURES:
            self.first_failures[future._tid] = failure
        future.finish(failure)

    def _describer(self, future: AppFuture[Any]) -> Callable[[], dict[str, str]]:
        task, number, record = future._tid, future._fn, future._record

        def describe() -> dict[str, str]:
            first = record.task if record is not None and record.task else task  # as it is known by
            facts = {"task": f"{first} ({record.label if record is not None else self._name_of(number)})"}
            if record is not None and len(record.attempts) > 1:
                facts["tries"] = "\n".join(
                    f"{attempt.number}: {attempt.host or '?'}, {attempt.ended - attempt.began:.3f} s: {attempt.error}"
                    for attempt in record.attempts
                )
            return facts

        return describe

    def _again(self, future: AppFuture[Any], fault: Fault, host: str, failure: Any, is_last: bool = False) -> bool:
        """Note the failed try, and begin another one if a budget has room."""
        record = future._record
        if record is None:
            if is_last or (fault is Fault.TASK and not self.options.retries):
                return False  # the only try: the outcome knows as much of it as we
            record = self.record_of(future)
        if not _noted(record, fault, host, failure) or is_last:
            return False
        told = known_of(record)
        if told is not None and told.is_stopping:
            return False
        self.retried += fault is not Fault.NONE
        record.task = record.task or future._tid
        if fault is not Fault.NONE or (told is not None and told.state is not None):
            state = told.state if told is not None else None
            future._data = resume(future._data, record.task, record.tries, state)
        self._send(future)
        return True

    def record_of(self, future: AppFuture[Any]) -> TaskRecord:
        """Its record, made now if it had none. Any thread."""
        made = TaskRecord(future._tid, self.options, self._name_of(future._fn), time.time())
        with futures._BURST:
            if future._record is None:
                future._record = made
            record: TaskRecord = future._record
        return record

    def ended_elsewhere(self, future: AppFuture[Any], status: int, data: bytes) -> None:
        """A try that was withdrawn has been run after all. The worker that skips it tells us too, and is counted."""
        self._end(future, future._tid, status, data, [])

    def place_lost(self, task: int, began: bool, host: str, error: PlaceLost, *, is_last: bool = False) -> None:
        """What held this try is gone. It runs again elsewhere, for free unless it had begun.

        is_last: not if it had; it is to blame for its places, more likely than not.
        """
        future = self.table.pop(task, None)
        if future is None:
            return
        if self.on_failed is not None:
            self.on_failed(future)
        fault = Fault.PLACE if began else Fault.NONE
        if not self._again(future, fault, host, outcomes.Known(error), is_last=is_last and began):
            told = outcomes.with_places(error, self._describer(future)(), future.attempts, is_last)
            self._fail(future, outcomes.Known(told))

    def end_all(self, error: Callable[[], BaseException]) -> None:
        """The user has ended the pool: as fail_all, but nobody need be told of these failures."""
        self.seen += len(self.table)
        self.fail_all(error)

    def fail_all(self, error: Callable[[], BaseException]) -> None:
        """Nothing can run any more. Each future gets an error of its own: tracebacks pile up on shared ones."""
        while self.table:
            try:
                _, future = self.table.popitem()
            except KeyError:
                return  # a thread that cancels was faster
            self._fail(future, outcomes.Known(error()))

    def disown(self, error: BaseException) -> None:
        """In a forked child: these are copies, whose waiters would wait for ever. Nothing is called back."""
        self.warm.close()
        for future in self.table.values():
            future.disown(error)
        self.table.clear()

    def mark_killed(self, future: AppFuture[Any]) -> None:
        """The user has asked for this running task to be stopped: it ends as cancelled."""
        record = TaskRecord(future.tid, self.options._replace(retries=0, label=_KILLED), "", time.time())
        with futures._BURST:
            record.told = known_of(future._record)
            future._record = record


_KILLED = "\0killed"
_NO_OPTIONS = Options()
_KEEP_FAILURES = 100
_LARGE_FRAME = 1 << 26  # bytes; from here on each task goes by itself: a message has a limit
_LONE_TASK = Struct("<IBBiIIQII")  # the frame of one task, without its payload
_LONE_RESULT = Struct("<IBBIQQIB")  # the frame of one result, without its payload


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:  # of results that came too late
        os.close(fd)


def _noted(record: TaskRecord, fault: Fault, host: str, failure: Any) -> bool:
    """Put the failed try on record. True: another one may follow."""
    attempt = getattr(failure, "attempt", None)
    if attempt is None or fault is Fault.NONE:
        return record.failed(fault, host, summary_of(failure) if fault is not Fault.NONE else "", time.time())
    _, host, began, ended, error, worker = attempt
    return record.failed(fault, host, error, ended, worker=worker, began=began or None)


def frames_of(batch: list[AppFuture[Any]], singly: bool) -> list[tuple[bytes, list[int] | None]]:
    """Futures as TASKS frames of at most 256, in order. Those cancelled meanwhile are left out.

    singly: some have priorities, walltimes or requests, which belong to a frame.
    """
    frames: list[tuple[bytes, list[int] | None]] = []
    for start in range(0, len(batch), 256):
        run = batch[start : start + 256]
        if not singly:
            try:
                payload = b"".join([future._data for future in run])
            except TypeError:
                pass  # one is in shared memory, or cancelled
            else:
                if len(payload) < _LARGE_FRAME:
                    frames.append((_frame(run, 0, 0, payload), None))
                    continue
        for future in run:
            _add_single(frames, future)
    return frames


def _frame(run: list[AppFuture[Any]], priority: int, walltime_ms: int, payload: bytes) -> bytes:
    count = len(run)
    numbers = Struct(f"<{count}Q{2 * count}I").pack(
        *[future._tid for future in run],
        *[future._fn for future in run],
        *[len(future._data) for future in run],
    )
    head = wire.HEAD.pack(14 + 16 * count + len(payload), wire.TASKS, 0)
    return head + columns.TASKS_HEAD.pack(priority, walltime_ms, count) + numbers + payload


def lone_frame(future: AppFuture[Any]) -> bytes | None:
    """The frame of one task; None if there is anything special about it."""
    data = future._data
    if type(data) is not bytes or future._record is not None:
        return None
    size = _LONE_TASK.size - 4 + len(data)
    return _LONE_TASK.pack(size, wire.TASKS, 0, 0, 0, 1, future._tid, future._fn, len(data)) + data


def _add_single(frames: list[tuple[bytes, list[int] | None]], future: AppFuture[Any]) -> None:
    data = future._data
    options = future._record.options if future._record is not None else _NO_OPTIONS
    walltime_ms = math.ceil(options.walltime * 1000) if options.walltime else 0
    request = options.resources.request if options.resources is not None else None
    if isinstance(data, bytes):
        frame = _frame([future], options.priority, walltime_ms, data)
        frames.append((frame if request is None else columns.asking(frame, request), None))
    elif data is not None and future._state == PENDING:
        if not isinstance(data, (SharedPayload, ResumedPayload)):
            raise InternalError(f"a task's payload is a {type(data).__name__}")
        payload, descriptors = data.to_send()
        tasks = columns.Tasks(
            options.priority, walltime_ms, 1, Struct("<Q").pack(future._tid), wire.LENGTH.pack(future._fn),
            wire.LENGTH.pack(len(payload)), payload, descriptors,
        )  # fmt: skip
        frame = tasks.frame()
        frames.append((frame if request is None else columns.asking(frame, request), descriptors))
