"""Tasks and results on the wire: many to a frame, as columns of numbers, followed by payloads that stay closed.

    TASKS:   i32 priority | u32 walltime in ms (0: no limit) | u32 n |
             n * u64 id | n * u32 function | n * u32 length | payloads
    RESULTS: u32 n | n * u64 id | records, each: u64 id | u32 length | u8 status | payload
    ASKING:  u16 size | what its one task asks for (request.py) | as TASKS

All integers are little-endian; statuses are in wire.py.
"""

from __future__ import annotations

from struct import Struct, error, pack, unpack_from
from typing import TYPE_CHECKING

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import fields, wire

if TYPE_CHECKING:
    from parsl_pool.interchange.request import Request

RECORD = Struct("<QIB")
TASKS_HEAD = Struct("<iII")
_SIZE = Struct("<H")


class Tasks:
    """A run of tasks with one priority and walltime: columns of ids, functions and lengths, and the payloads.

    Splitting it is slicing: no payload is looked at.
    """

    __slots__ = (
        "count", "descriptors", "environment", "functions", "ids", "lengths", "order", "payload", "priority",
        "request", "walltime_ms",
    )  # fmt: skip

    def __init__(
        self,
        priority: int,
        walltime_ms: int,
        count: int,
        ids: bytes,
        functions: bytes,
        lengths: bytes,
        payload: bytes,
        descriptors: list[int] | None = None,
    ) -> None:
        self.priority, self.walltime_ms, self.count = priority, walltime_ms, count
        self.ids, self.functions, self.lengths, self.payload = ids, functions, lengths, payload
        # Open file descriptors that its one task refers to; such a frame has one task and is never split.
        self.descriptors = descriptors
        self.request: Request | None = None  # of its one task; such a frame is never split or joined
        self.environment: list[str] | None = None  # what a worker is to add to its own for it: NAME=value
        self.order = 0  # among those that wait in the broker

    @classmethod
    def decode_asking(cls, body: bytes, descriptors: list[int] | None = None) -> Tasks:
        """The task of an ASKING frame. Raises BadMessage."""
        from parsl_pool.interchange import request as requests  # workers need it not

        if len(body) < 2:
            raise BadMessage("Asking: no size")
        end = 2 + _SIZE.unpack_from(body)[0]
        tasks = cls.decode(body[end:], descriptors)
        if tasks.count != 1:
            raise BadMessage(f"Asking: {tasks.count} tasks")
        tasks.request = requests.decode(body[2:end])
        return tasks

    @classmethod
    def decode(cls, body: bytes, descriptors: list[int] | None = None) -> Tasks:
        """Raises BadMessage if the columns do not fit the body."""
        try:
            priority, walltime_ms, count = TASKS_HEAD.unpack_from(body)
        except error as problem:
            raise BadMessage(f"Tasks: {problem}") from None
        ids_end = 12 + 8 * count
        functions_end = ids_end + 4 * count
        lengths_end = functions_end + 4 * count
        if not count or len(body) < lengths_end:
            raise BadMessage(f"Tasks: {count} tasks in {len(body)} bytes")
        lengths = body[functions_end:lengths_end]
        if sum(unpack_from(f"<{count}I", lengths)) != len(body) - lengths_end:
            raise BadMessage(f"Tasks: lengths do not add up to {len(body) - lengths_end}")
        if max(body[19:ids_end:8]) > 0x7F:  # the highest byte of each
            raise BadMessage("Tasks: an id of 64 bits; records have room for 63")
        if descriptors and count > 1:
            raise BadMessage(f"Tasks: {count} tasks with descriptors")
        return cls(
            priority, walltime_ms, count, body[12:ids_end], body[ids_end:functions_end], lengths,
            body[lengths_end:], descriptors,
        )  # fmt: skip

    def encode(self) -> bytes:
        """The body of the frame."""
        return b"".join(
            (self._head(), self.ids, self.functions, self.lengths, self.payload)
        )

    def _head(self) -> bytes:
        return TASKS_HEAD.pack(self.priority, self.walltime_ms, self.count)

    def message(self) -> tuple[int, bytes]:
        """Kind and body, with what its task asks for."""
        if self.request is None:
            return wire.TASKS, self.encode()
        from parsl_pool.interchange import request as requests  # as above

        request = requests.encode(self.request)
        return wire.ASKING, _SIZE.pack(len(request)) + request + self.encode()

    def frame(self) -> bytes:
        """The bytes for a worker's stream: what its task asks for has been set aside."""
        if self.environment:
            return self._settled_frame(self.environment)
        size = 14 + 16 * self.count + len(self.payload)
        head = wire.HEAD.pack(size, wire.TASKS, len(self.descriptors or ())) + self._head()
        return b"".join((head, self.ids, self.functions, self.lengths, self.payload))

    def _settled_frame(self, environment: list[str]) -> bytes:
        variables = fields.write("S", [environment])
        body = b"".join((wire.LENGTH.pack(len(variables)), variables, self.encode()))
        return wire.HEAD.pack(2 + len(body), wire.SETTLED, len(self.descriptors or ())) + body

    def split(self, count: int) -> tuple[Tasks, Tasks]:
        """The first `count` tasks, and the rest; both have at least one."""
        if not 0 < count < self.count:
            raise ValueError(f"cannot split {self.count} tasks at {count}")
        size = sum(unpack_from(f"<{count}I", self.lengths))
        first = Tasks(
            self.priority, self.walltime_ms, count, self.ids[: 8 * count], self.functions[: 4 * count],
            self.lengths[: 4 * count], self.payload[:size],
        )  # fmt: skip
        rest = Tasks(
            self.priority, self.walltime_ms, self.count - count, self.ids[8 * count :],
            self.functions[4 * count :], self.lengths[4 * count :], self.payload[size:],
        )  # fmt: skip
        rest.order = self.order
        return first, rest

    @staticmethod
    def join(frames: list[Tasks]) -> Tasks:
        """Several frames as one; they have one priority and walltime, and no descriptors."""
        first = frames[0]
        return Tasks(
            first.priority,
            first.walltime_ms,
            sum([frame.count for frame in frames]),
            b"".join([frame.ids for frame in frames]),
            b"".join([frame.functions for frame in frames]),
            b"".join([frame.lengths for frame in frames]),
            b"".join([frame.payload for frame in frames]),
        )

    def task_ids(self) -> tuple[int, ...]:
        """The ids, as numbers."""
        return unpack_from(f"<{self.count}Q", self.ids)

    def function_numbers(self) -> set[int]:
        """The functions that its tasks call."""
        if self.functions == self.functions[:4] * self.count:  # the usual case, at the price of a memcmp
            return {wire.LENGTH.unpack_from(self.functions)[0]}
        return set(unpack_from(f"<{self.count}I", self.functions))


class Results:
    """A run of results: the ids for those who keep books, the records for the client."""

    __slots__ = ("count", "descriptors", "ids", "records")

    def __init__(self, count: int, ids: bytes, records: bytes, descriptors: list[int] | None = None) -> None:
        self.count, self.ids, self.records = count, ids, records
        self.descriptors = descriptors

    @classmethod
    def decode(cls, body: bytes, descriptors: list[int] | None = None) -> Results:
        """Raises BadMessage if the column does not fit the body. Records are checked by who reads them."""
        if len(body) < 4:
            raise BadMessage("Results: no count")
        (count,) = wire.LENGTH.unpack_from(body)
        end = 4 + 8 * count
        if not count or len(body) < end + RECORD.size * count:
            raise BadMessage(f"Results: {count} results in {len(body)} bytes")
        return cls(count, body[4:end], body[end:], descriptors)

    def encode(self) -> bytes:
        """The body of the frame."""
        return wire.LENGTH.pack(self.count) + self.ids + self.records

    def frame(self) -> bytes:
        """The bytes for a stream."""
        size = 6 + len(self.ids) + len(self.records)
        head = wire.HEAD.pack(size, wire.RESULTS, len(self.descriptors or ())) + wire.LENGTH.pack(self.count)
        return b"".join((head, self.ids, self.records))

    def task_ids(self) -> tuple[int, ...]:
        """The ids, as numbers."""
        return unpack_from(f"<{self.count}Q", self.ids)


def result_of(task: int, status: int, payload: bytes, descriptors: list[int] | None = None) -> Results:
    """One result as a frame."""
    return Results(1, pack("<Q", task), RECORD.pack(task, len(payload), status) + payload, descriptors)


_FLUSH = Struct("<IBBqqq")
_FLUSH_BODY = Struct("<qqq")


def flush_frame(committed: int, idle: bool, nanoseconds: int) -> bytes:
    """`wire.frame(wire.Flush(...))`, faster: there is one for each batch of tasks."""
    return _FLUSH.pack(26, wire.KIND[wire.Flush], 0, committed, idle, nanoseconds)


def read_flush(body: bytes) -> tuple[int, int, int]:
    """`wire.decode(...)` of a Flush, faster. Raises BadMessage."""
    if len(body) != 24:
        raise BadMessage(f"Flush: {len(body)} bytes")
    return _FLUSH_BODY.unpack(body)


def goes_with(tasks: Tasks, first: Tasks) -> bool:
    """True if both may travel in one frame."""
    return tasks.priority == first.priority and not (
        tasks.walltime_ms or first.walltime_ms or tasks.descriptors or first.descriptors
        or tasks.request or first.request
    )  # fmt: skip


def single(frame: Tasks, place: int) -> Tasks:
    """One task of a frame, as a frame."""
    if frame.count == 1:
        return frame
    lengths = unpack_from(f"<{place + 1}I", frame.lengths)
    end = sum(lengths)
    return Tasks(
        frame.priority,
        frame.walltime_ms,
        1,
        frame.ids[8 * place : 8 * place + 8],
        frame.functions[4 * place : 4 * place + 4],
        frame.lengths[4 * place : 4 * place + 4],
        frame.payload[end - lengths[place] : end],
        frame.descriptors,
    )


def asking(frame: bytes, request: Request) -> bytes:
    """The stream's bytes of a TASKS frame with one task, as those of an ASKING one."""
    from parsl_pool.interchange import request as requests  # as above

    size, _, descriptors = wire.HEAD.unpack_from(frame)
    asked = requests.encode(request)
    head = wire.HEAD.pack(size + 2 + len(asked), wire.ASKING, descriptors)
    return b"".join((head, _SIZE.pack(len(asked)), asked, frame[wire.HEAD.size :]))
