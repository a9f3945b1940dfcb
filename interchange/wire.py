"""The messages between the processes of a pool, written down once.

A *frame* is one message: a kind byte, a count of file descriptors that travel beside it, and a body.
On a stream it is preceded by its length. Control messages are the records below, encoded field by field
(nothing is ever executed by decoding); tasks and results are columns of fixed-width numbers followed by
payloads, which only a worker and the client open.

    stream:  u32 size of the rest | u8 kind | u8 descriptors | body
    zmq:     u8 kind | u8 descriptors (0) | body
    TASKS:   i32 priority | u32 walltime in ms (0: no limit) | u32 n |
             n * u64 id | n * u32 function | n * u32 length | payloads
    RESULTS: u32 n | n * u64 id | records, each: u64 id | u32 length | u8 status | payload

All integers are little-endian. A decoder accepts any bytes, and raises `BadMessage` for those that are wrong.
"""

from __future__ import annotations

from struct import Struct, error, pack, unpack_from
from typing import Any

from parsl_pool.errors import BadMessage
from parsl_pool.interchange.named_tuple import NamedTuple

PROTOCOL = 1
"""Version of everything in this file; peers with another one are refused."""

MAX_FRAME = 1 << 31
"""A longer frame is taken for rubbish. Large data travels in shared memory or in pieces below this."""

LENGTH = Struct("<I")
HEAD = Struct("<IBB")
RECORD = Struct("<QIB")
TASKS_HEAD = Struct("<iII")

# Kinds of frames which are not records.
TASKS = 1
RESULTS = 2

# Statuses of a result.
OK = 0  # payload: a pickled value
RAISED = 1  # payload: an exception envelope (serialize.py)
CANCELLED = 2  # skipped, because it was cancelled before it began
SKIPPED = 3  # skipped, because its manager had taken it back (never leaves the manager)
UNREADABLE = 4  # the task could not be rebuilt from its payload; payload: an exception envelope
UNSENDABLE = 5  # the result could not be pickled; payload: an exception envelope
LOST = 6  # the worker died while it ran; payload: a Facts record
KILLED = 7  # the worker was ended on request while it ran; payload: a Facts record
TIMED_OUT = 8  # the worker was ended because the task ran beyond its walltime; payload: a Facts record

NO_TASK = 0
"""Ids of tasks begin with 1."""


class Hello(NamedTuple):
    """Client to interchange, first: who it is and how the pool is to be."""

    protocol: int
    client_pid: int
    inside: int  # 1: the manager is to be inside the interchange; the rest is empty then
    bind: str  # where managers are to connect: an address with a port, or one to choose a port for
    server_secret: str  # keys for CURVE (z85): the interchange's own ...
    server_public: str
    manager_public: str  # ... and the one that every manager of this run has
    run_dir: str  # a temporary directory to remove when the client is killed; "" for none


class Settings(NamedTuple):
    """What a manager needs to know to run workers. Client to interchange to managers."""

    workers: int
    start_method: str
    initializer: bytes
    max_tasks_per_child: int  # 0: no limit
    preload: list[str]
    sys_path: list[str]
    eager: int  # 1: start all workers at once, not each when there is a task for it
    descriptors: list[int]  # what the initializer's arguments need, as numbers in the client's process
    authkey: bytes  # of the client's multiprocessing; b"" if it doesn't use it
    debug: int
    client_host: str  # where the client's claims table can be found by its process id and descriptor
    client_pid: int
    claims_fd: int
    heartbeat_ms: int
    threshold_ms: int  # a side that has been silent for so long is lost


class Ready(NamedTuple):
    """Interchange to client: settings taken, managers may connect here ("" if the manager is inside)."""

    pid: int
    address: str


class Function(NamedTuple):
    """A function's bytes, under the number by which tasks name it. Down to managers; to a worker on Need."""

    number: int
    data: bytes


class Forget(NamedTuple):
    """These functions will not be named again."""

    numbers: list[int]


class Kill(NamedTuple):
    """Stop this task if it runs, by ending its worker."""

    task: int
    status: int  # KILLED or TIMED_OUT
    reason: str


class KillWorkers(NamedTuple):
    """End every worker now, by this signal. Tasks that run end as KILLED."""

    signal: int


class Stop(NamedTuple):
    """Finish. Nothing is outstanding, or what is does not matter."""

    now: int  # 1: do not let workers run their exit handlers


class Ping(NamedTuple):
    """Are you there? Answered by Pong with the same number."""

    number: int


class Pong(NamedTuple):
    """The answer to a Ping."""

    number: int


class Register(NamedTuple):
    """Manager to interchange, first, and again after each reconnection: who it is and what it holds."""

    protocol: int
    manager: str
    host: str
    pid: int
    workers: int
    python: str
    version: str
    block: str
    shares: int  # 1: it has the client's claims table
    held: list[int]


class Refused(NamedTuple):
    """Interchange to manager: you can't join. The manager ends, with this text on its stderr."""

    reason: str


class WhoAreYou(NamedTuple):
    """Interchange to a manager that it doesn't know by this connection: begin another one."""

    unused: int


class Taken(NamedTuple):
    """Interchange to manager: the client has so many of the messages that came by this connection. See uplink.py."""

    messages: int


class Window(NamedTuple):
    """Manager to broker: hold up to so many of my tasks' results outstanding. The credit of flow control."""

    tasks: int


class Returned(NamedTuple):
    """Manager to broker: tasks given back without having been started."""

    tasks: list[int]


class WorkerUp(NamedTuple):
    """A worker runs. To the client with the descriptor of its page if the manager is on the same host."""

    manager: str
    worker: int
    host: str
    pid: int


class WorkerGone(NamedTuple):
    """A worker ended. status is as from `Popen.returncode`; expected: it was told to."""

    manager: str
    worker: int
    status: int
    expected: int


class ManagerUp(NamedTuple):
    """Interchange to client: a manager registered."""

    manager: str
    host: str
    pid: int
    workers: int
    block: str
    shares: int
    held: list[int]


class ManagerGone(NamedTuple):
    """Interchange to client: a manager went away, and these tasks with it."""

    manager: str
    host: str
    block: str
    reason: str
    tasks: list[int]


class TasksLost(NamedTuple):
    """Interchange to client: these were on their way to a manager when its connection ended. It is back."""

    manager: str
    host: str
    tasks: list[int]


class Broken(NamedTuple):
    """No worker can work (its initializer fails, or it does not start): the pool is at its end."""

    cause: str  # "initializer" or "start"
    text: str
    traceback_text: str


class Notice(NamedTuple):
    """A line for the client's log. level is as in `logging`."""

    level: int
    text: str


class Ask(NamedTuple):
    """Client to interchange: tell me your state. Answered by State."""

    number: int


class State(NamedTuple):
    """A snapshot of the interchange. `managers`: one line each, fields joined by tabs."""

    number: int
    waiting: int
    placed: int
    dropped_frames: int
    managers: list[str]


class Dropped(NamedTuple):
    """Manager to interchange: a message that made no sense came here. It was dropped, and is to be counted."""

    reason: str


class Facts(NamedTuple):
    """What is known about the end of a worker: names and values, by position."""

    names: list[str]
    values: list[str]


class Spawn(NamedTuple):
    """Manager to fork server: start a worker. Beside it travel its socket, its page and its stderr."""

    worker: int


class Spawned(NamedTuple):
    """Fork server to manager: the worker's process id, 0 and a reason if it could not be started."""

    worker: int
    pid: int
    reason: str


class Exited(NamedTuple):
    """Fork server to manager: a worker ended. status is as from `Popen.returncode`."""

    worker: int
    pid: int
    status: int
    max_rss_kb: int


class Up(NamedTuple):
    """Worker to manager: initialised, ready for tasks."""

    pid: int


class Flush(NamedTuple):
    """Worker to manager: look into your copy of my page; `nanoseconds` were spent on those tasks."""

    committed: int
    idle: int
    nanoseconds: int


class Need(NamedTuple):
    """Worker to manager: send me this function."""

    number: int


class InitializerFailed(NamedTuple):
    """Worker to manager, then it ends: the initializer raised."""

    text: str
    traceback_text: str


class Bulk(NamedTuple):
    """Worker to manager: one result too large for the page, whole or (data empty) in a descriptor."""

    task: int
    status: int
    nanoseconds: int
    data: bytes


Record = (
    Hello | Settings | Ready | Function | Forget | Kill | KillWorkers | Stop | Ping | Pong | Register
    | Refused | WhoAreYou | Taken | Window | Returned | WorkerUp | WorkerGone | ManagerUp | ManagerGone | TasksLost
    | Broken | Notice | Ask | State | Facts | Dropped | Spawn | Spawned | Exited | Up | Flush | Need
    | InitializerFailed
    | Bulk
)

RECORDS: dict[int, type[Any]] = {
    16: Hello,
    17: Settings,
    18: Ready,
    19: Function,
    20: Forget,
    21: Kill,
    22: KillWorkers,
    23: Stop,
    24: Ping,
    25: Pong,
    26: Register,
    27: Refused,
    28: WhoAreYou,
    29: Window,
    30: Returned,
    31: WorkerUp,
    32: WorkerGone,
    33: ManagerUp,
    34: ManagerGone,
    35: Broken,
    36: Notice,
    37: Ask,
    38: State,
    39: Facts,
    40: Taken,
    41: Dropped,
    42: TasksLost,
    48: Spawn,
    49: Spawned,
    50: Exited,
    51: Up,
    52: Flush,
    53: Need,
    54: InitializerFailed,
    55: Bulk,
}
"""Kind -> record."""

KIND: dict[type[Any], int] = {cls: kind for kind, cls in RECORDS.items()}
"""Record -> kind."""

_CODES = {"int": "i", "str": "s", "bytes": "b", "list[int]": "I", "list[str]": "S"}

FORMAT: dict[type[Any], str] = {
    cls: "".join([_CODES[kind] for kind in cls.__annotations__.values()]) for cls in RECORDS.values()
}
"""Record -> a letter for the type of each field."""

_INT = Struct("<q")


def encode(record: Record) -> bytes:
    """The body of a record's frame."""
    parts: list[bytes] = []
    value: Any
    for code, value in zip(FORMAT[type(record)], record):
        if code == "i":
            parts.append(_INT.pack(value))
        elif code == "s" or code == "b":
            data = value.encode("utf-8", "surrogatepass") if code == "s" else value
            parts += (LENGTH.pack(len(data)), data)
        elif code == "I":
            parts.append(pack(f"<I{len(value)}q", len(value), *value))
        else:  # "S"
            parts.append(LENGTH.pack(len(value)))
            for item in value:
                data = item.encode("utf-8", "surrogatepass")
                parts += (LENGTH.pack(len(data)), data)
    return b"".join(parts)


class _Reader:
    """Takes fields from a body, checking every bound."""

    __slots__ = ("body", "position")

    def __init__(self, body: bytes) -> None:
        self.body, self.position = body, 0

    def integer(self) -> int:
        value: int = _INT.unpack_from(self.body, self.position)[0]
        self.position += 8
        return value

    def data(self) -> bytes:
        (size,) = LENGTH.unpack_from(self.body, self.position)
        start = self.position + 4
        self.position = start + size
        if self.position > len(self.body):
            raise BadMessage(f"a field of {size} bytes in a body of {len(self.body)}")
        return self.body[start : self.position]

    def text(self) -> str:
        return self.data().decode("utf-8", "surrogatepass")

    def integers(self) -> list[int]:
        (count,) = LENGTH.unpack_from(self.body, self.position)
        if self.position + 4 + 8 * count > len(self.body):
            raise BadMessage(f"{count} integers in a body of {len(self.body)} bytes")
        values = list(unpack_from(f"<{count}q", self.body, self.position + 4))
        self.position += 4 + 8 * count
        return values

    def texts(self) -> list[str]:
        (count,) = LENGTH.unpack_from(self.body, self.position)
        if 4 * count > len(self.body):
            raise BadMessage(f"{count} texts in a body of {len(self.body)} bytes")
        self.position += 4
        return [self.text() for _ in range(count)]


_TAKE = {"i": _Reader.integer, "s": _Reader.text, "b": _Reader.data, "I": _Reader.integers, "S": _Reader.texts}


def decode(kind: int, body: bytes) -> Record:
    """The record in a frame.

    Raises:
        BadMessage: an unknown kind, or a body that is not of that kind.
    """
    if kind not in RECORDS:
        raise BadMessage(f"unknown kind of message {kind}")
    cls = RECORDS[kind]
    reader = _Reader(body)
    try:
        values = [_TAKE[code](reader) for code in FORMAT[cls]]
    except (error, UnicodeDecodeError) as problem:
        raise BadMessage(f"{cls.__name__}: {problem}") from None
    if reader.position != len(body):
        raise BadMessage(f"{cls.__name__}: {len(body) - reader.position} bytes too many")
    record: Record = cls(*values)
    return record


_FLUSH = Struct("<IBBqqq")


def flush_frame(committed: int, idle: bool, nanoseconds: int) -> bytes:
    """`frame(Flush(...))`, faster: there is one for each batch of tasks."""
    return _FLUSH.pack(26, KIND[Flush], 0, committed, idle, nanoseconds)


def read_flush(body: bytes) -> tuple[int, int, int]:
    """`decode(...)` of a Flush, faster. Raises BadMessage."""
    if len(body) != 24:
        raise BadMessage(f"Flush: {len(body)} bytes")
    return _FLUSH_BODY.unpack(body)


_FLUSH_BODY = Struct("<qqq")


def frame(record: Record, descriptors: int = 0) -> bytes:
    """A record as bytes for a stream."""
    body = encode(record)
    return HEAD.pack(len(body) + 2, KIND[type(record)], descriptors) + body


class Tasks:
    """A run of tasks with one priority and walltime: columns of ids, functions and lengths, and the payloads.

    Splitting it is slicing: no payload is looked at.
    """

    __slots__ = ("count", "descriptors", "functions", "ids", "lengths", "payload", "priority", "walltime_ms")

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

    def frame(self) -> bytes:
        """The bytes for a stream."""
        size = 14 + 16 * self.count + len(self.payload)
        head = HEAD.pack(size, TASKS, len(self.descriptors or ())) + self._head()
        return b"".join((head, self.ids, self.functions, self.lengths, self.payload))

    def split(self, count: int) -> tuple[Tasks, Tasks]:
        """The first `count` tasks, and the rest; both have at least one."""
        if not 0 < count < self.count:
            raise ValueError(f"cannot split {self.count} tasks at {count}")
        size = sum(unpack_from(f"<{count}I", self.lengths))
        return (
            Tasks(
                self.priority, self.walltime_ms, count, self.ids[: 8 * count], self.functions[: 4 * count],
                self.lengths[: 4 * count], self.payload[:size],
            ),
            Tasks(
                self.priority, self.walltime_ms, self.count - count, self.ids[8 * count :],
                self.functions[4 * count :], self.lengths[4 * count :], self.payload[size:],
            ),
        )  # fmt: skip

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
            return {LENGTH.unpack_from(self.functions)[0]}
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
        (count,) = LENGTH.unpack_from(body)
        end = 4 + 8 * count
        if not count or len(body) < end + RECORD.size * count:
            raise BadMessage(f"Results: {count} results in {len(body)} bytes")
        return cls(count, body[4:end], body[end:], descriptors)

    def encode(self) -> bytes:
        """The body of the frame."""
        return LENGTH.pack(self.count) + self.ids + self.records

    def frame(self) -> bytes:
        """The bytes for a stream."""
        size = 6 + len(self.ids) + len(self.records)
        head = HEAD.pack(size, RESULTS, len(self.descriptors or ())) + LENGTH.pack(self.count)
        return b"".join((head, self.ids, self.records))

    def task_ids(self) -> tuple[int, ...]:
        """The ids, as numbers."""
        return unpack_from(f"<{self.count}Q", self.ids)


def result_of(task: int, status: int, payload: bytes, descriptors: list[int] | None = None) -> Results:
    """One result as a frame."""
    return Results(1, pack("<Q", task), RECORD.pack(task, len(payload), status) + payload, descriptors)
