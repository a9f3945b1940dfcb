"""The messages between the processes of a pool, written down once.

A *frame* is one message: a kind byte, a count of file descriptors that travel beside it, and a body.
On a stream it is preceded by its length. Control messages are the records below, encoded field by field
(nothing is ever executed by decoding). Tasks and results have a form of their own, see columns.py.

    stream:  u32 size of the rest | u8 kind | u8 descriptors | body
    zmq:     u8 kind | u8 descriptors (0) | body, in numbered pieces (pieces.py)

All integers are little-endian. A decoder accepts any bytes, and raises `BadMessage` for those that are wrong.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import fields
from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.object_records import OBJECT_RECORDS, ObjectRecord

PROTOCOL = 1
"""Version of everything in this file and columns.py; peers with another one are refused."""

MAX_FRAME = 1 << 31
"""A longer frame is taken for rubbish. Large data travels in shared memory or in pieces below this."""

LENGTH = Struct("<I")
HEAD = Struct("<IBB")

# Kinds of frames which are not records: columns.py has their form.
TASKS = 1
RESULTS = 2
ASKING = 3  # one task that asks for something: u16 size | Request | as TASKS
SETTLED = 4  # one task, to its worker, with variables for its environment: u32 size | NAME=value, ... | as TASKS

# Statuses of a result.
OK = 0  # payload: a pickled value
RAISED = 1  # payload: an exception envelope (serialize.py)
CANCELLED = 2  # skipped, because it was cancelled before it began
SKIPPED = 3  # skipped, because its manager had taken it back (never leaves the manager)
UNREADABLE = 4  # the task could not be rebuilt from its payload; payload: an exception envelope
UNSENDABLE = 5  # the result could not be pickled; payload: an exception envelope
LOST = 6  # the worker died while it ran; payload: a Facts record
KILLED = 7  # the worker was ended on request while it ran; payload: a Facts record
REFUSED = 9  # no manager can hold what it asks for (never comes from a manager); payload: a Facts record
TIMED_OUT = 8  # the worker was ended because the task ran beyond its walltime; payload: a Facts record

NO_TASK = 0
"""Ids of tasks begin with 1."""

BY_HAND = "by-hand"
"""The block of managers that somebody has started himself."""

STOP = "stop"
"""The topic of a ForTask that the manager itself acts upon: it writes into the worker's page that the task is asked to
stop."""


class Hello(NamedTuple):
    """Client to interchange, first: who it is and how the pool is to be."""

    protocol: int
    client_pid: int
    inside: int  # 1: the manager is to be inside the interchange; the rest is empty then
    bind: list[str]  # where managers are to connect: the first address that is free, a port of * being any
    server_secret: str  # keys for CURVE (z85): the interchange's own ...
    server_public: str
    manager_public: str  # ... and the one that every manager of this run has
    remove: list[str]  # files and directories that are to be removed when the client is killed


class Settings(NamedTuple):
    """What a manager needs to know to run workers. Client to interchange to managers."""

    workers: int  # at most; 0: as many as its node is good for (node.py)
    start_method: str
    initializer: bytes
    max_tasks_per_child: int  # 0: no limit
    preload: list[str]
    sys_path: list[str]
    eager: int  # 1: start all workers at once, not each when there is a task for it
    descriptors: list[int]  # what the initializer's arguments need, as numbers in the client's process
    authkey: bytes  # of the client's multiprocessing; b"" if it doesn't use it
    log_dir: str  # where the interchange is to keep its log; "" for nowhere
    worker_log_dir: str  # the same for managers apart, and for workers ...
    worker_debug: int  # ... if this is 1
    client_place: str  # where the client's claims table can be found by its process id and descriptor
    client_pid: int
    claims_fd: int
    heartbeat_ms: int
    threshold_ms: int  # a side that has been silent for so long is lost
    label: str  # of the executor
    run_id: str  # what tasks know the run by
    manager: str  # what its workers' environment says of it; managers apart put in themselves ...
    block: str  # ... and their block
    drain_ms: int  # when a manager drains, counted from its start; 0: never
    lasts_ms: int  # how long its node is there; 0: nobody knows
    managers_most: int  # so many managers there can be at once; 0: nobody knows
    mpi_launcher: str  # managers give the nodes of their block to MPI programs, which this starts; "": they don't
    cores_per_worker: int  # billionths of a core that each worker is to have; 0: any number
    memory_per_worker: int  # bytes; 0: any
    accelerators: list[str]  # each worker gets one of these
    accelerator_count: int  # instead of names: so many; -1: those that the manager finds
    affinity: str  # how cores are given to workers (affinity.py)
    prefetch: int  # tasks beyond those that workers are at; -1: as many as is good for short ones


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
    node: list[int]  # what there is for tasks that ask for something (packing.Has), without the number of workers
    settled: list[int]  # what those that are held have of it (set_aside.settled_of)
    place: str  # see place.py


class Refused(NamedTuple):
    """Interchange to manager: you can't join. The manager ends, with this text on its stderr."""

    reason: str


class WhoAreYou(NamedTuple):
    """Interchange to a manager that it doesn't know by this connection: begin another one."""

    unused: int


class Taken(NamedTuple):
    """Interchange to manager: the client has so many of the messages that came by this connection. See uplink.py."""

    messages: int


class Unfit(NamedTuple):
    """Manager to interchange, instead of a second Register: no worker can run on this node. Then it ends."""

    host: str
    block: str
    reason: str


class Window(NamedTuple):
    """Manager to broker: hold up to so many of my tasks' results outstanding. The credit of flow control.

    Small tasks come in handfuls: nothing more is to be sent before `least` of them are free.
    """

    tasks: int
    lent: int  # places of tasks there that wait for others
    least: int


class Hold(NamedTuple):
    """Client to interchange: give this manager no more tasks. It goes on with those that it has, and stays."""

    manager: str


class BlockOver(NamedTuple):
    """Client to interchange: the job of this block is over. So its managers are, though they can't say so."""

    block: str
    reason: str


class Ranks(NamedTuple):
    """Client to interchange: of the managers that have room, these get tasks first, in this order; none: in turn."""

    managers: list[str]


class Drain(NamedTuple):
    """Client to interchange to manager: finish what runs, give back the rest, deliver, and end.

    From the interchange it also says: all that was sent to you has been sent before this.
    """

    manager: str
    reason: str


class Draining(NamedTuple):
    """Manager to interchange to client: I am doing that, because I was told to or my time is nearly over.

    The interchange answers with a Drain; not before that has come can the manager end.
    """

    manager: str
    reason: str


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


class ManagerRefused(NamedTuple):
    """Interchange to client: somebody wanted to be a manager, and can't: its versions are others."""

    manager: str
    host: str
    block: str
    reason: str


class ManagerGone(NamedTuple):
    """Interchange to client: a manager went away, and these tasks with it."""

    manager: str
    host: str
    block: str
    reason: str
    tasks: list[int]
    expected: int  # it, or all, had been told to end


class TasksLost(NamedTuple):
    """Interchange to client: these were on their way to a manager when its connection ended. It is back."""

    manager: str
    host: str
    tasks: list[int]


class Broken(NamedTuple):
    """No worker can work (its initializer fails, or it does not start): the pool is at its end."""

    cause: str  # "initializer", "start" or "version"
    text: str
    traceback_text: str


class Notice(NamedTuple):
    """A line for the client's log. level is as in `logging`."""

    level: int
    text: str


class Ask(NamedTuple):
    """Client to interchange: tell me your state. Answered by State."""

    number: int


class ForTask(NamedTuple):
    """Client to the worker that runs this task: a message of that topic. Dropped where the task is not known, or not
    begun. The body is the topic's own business, here and in FromTask; it is opened by nobody on the way."""

    task: int  # NO_TASK: all that run; only for the topic STOP
    topic: str
    body: bytes


class FromTask(NamedTuple):
    """A running task to its client: a message of that topic. Dropped where the task is not known.

    A large body travels in a descriptor beside the frame, where links carry these; `body` is empty then.
    """

    task: int
    topic: str
    body: bytes


class State(NamedTuple):
    """A snapshot of the interchange. `managers`: one line each, see standing.py."""

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
    cores: list[int]  # those that it may use; none: all that the manager may
    variables: list[str]  # of its environment, beyond what all workers have: NAME=value


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


class Waiting(NamedTuple):
    """Worker to manager: my task waits for others (1), so my place is free meanwhile. Or it goes on (0)."""

    waiting: int


Record = (
    Hello | Settings | Ready | Function | Forget | Kill | KillWorkers | Stop | Ping | Pong | Register
    | Refused | WhoAreYou | Taken | Window | WorkerUp | WorkerGone | ManagerUp | ManagerGone | TasksLost
    | Broken | Notice | Ask | State | ForTask | FromTask | Facts | Dropped | Spawn | Spawned | Exited | Up | Flush
    | Need | InitializerFailed | Bulk | Waiting | Hold | Drain | Draining
    | ManagerRefused | Unfit | BlockOver | Ranks | ObjectRecord
)

_IN_ORDER = (
    Hello, Settings, Ready, Function, Forget, Kill, KillWorkers, Stop, Ping, Pong, Register, Refused, WhoAreYou, Window,
    WorkerUp, WorkerGone, ManagerUp, ManagerGone, Broken, Notice, Ask, State, Facts, Taken, Dropped, TasksLost, ForTask,
    FromTask, Spawn, Spawned, Exited, Up, Flush, Need, InitializerFailed, Bulk, Waiting, Hold, Drain, Draining,
    ManagerRefused, Unfit, BlockOver, Ranks, *OBJECT_RECORDS,
)  # fmt: skip

RECORDS: dict[int, type[Any]] = dict(enumerate(_IN_ORDER, 16))
"""Kind -> record."""

KIND: dict[type[Any], int] = {cls: kind for kind, cls in RECORDS.items()}
"""Record -> kind."""

FORMAT: dict[type[Any], str] = {
    cls: "".join([fields.CODES[kind] for kind in cls.__annotations__.values()]) for cls in RECORDS.values()
}
"""Record -> a letter for the type of each field."""

def encode(record: Record) -> bytes:
    """The body of a record's frame."""
    return fields.write(FORMAT[type(record)], record)


def decode(kind: int, body: bytes) -> Record:
    """The record in a frame.

    Raises:
        BadMessage: an unknown kind, or a body that is not of that kind.
    """
    if kind not in RECORDS:
        raise BadMessage(f"unknown kind of message {kind}")
    cls = RECORDS[kind]
    try:
        record: Record = cls(*fields.read(FORMAT[cls], body))
    except BadMessage as problem:
        raise BadMessage(f"{cls.__name__}: {problem}") from None
    return record


def frame(record: Record, descriptors: int = 0) -> bytes:
    """A record as bytes for a stream."""
    body = encode(record)
    return HEAD.pack(len(body) + 2, KIND[type(record)], descriptors) + body
