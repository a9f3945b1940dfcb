"""Frames of tasks and results for tests."""

from collections.abc import Sequence
from struct import pack

from parsl_pool.interchange.columns import RECORD, Results, Tasks
from parsl_pool.interchange.request import Request
from parsl_pool.interchange.wire import OK


def tasks(
    ids: Sequence[int],
    functions: int | Sequence[int] = 1,
    priority: int = 0,
    payloads: Sequence[bytes] | None = None,
    walltime_ms: int = 0,
) -> Tasks:
    """Tasks with these ids; functions: one for all, or one each. A payload tells its task, unless given."""
    numbers = [functions] * len(ids) if isinstance(functions, int) else list(functions)
    parts = [b"task %d" % task for task in ids] if payloads is None else list(payloads)
    count = len(ids)
    return Tasks(
        priority,
        walltime_ms,
        count,
        pack(f"<{count}Q", *ids),
        pack(f"<{count}I", *numbers),
        pack(f"<{count}I", *map(len, parts)),
        b"".join(parts),
    )


def request(
    cores: int = 0, memory_mb: int = 0, disk_mb: int = 0, gpus: int = 0, running_ms: int = 0, num_nodes: int = 0,
    ranks_per_node: int = 0, num_ranks: int = 0, launcher_options: str = "",
) -> Request:  # fmt: skip
    """What a task asks for."""
    return Request(
        cores, memory_mb, disk_mb, gpus, running_ms, num_nodes, ranks_per_node, num_ranks, launcher_options
    )


def asking(task: int, wanted: Request, priority: int = 0, function: int = 1) -> Tasks:
    """A task that asks for something."""
    frame = tasks([task], function, priority)
    frame.request = wanted
    return frame


def results(ids: Sequence[int], status: int = OK, payload: bytes = b"result") -> Results:
    """Results of these tasks."""
    records = b"".join(RECORD.pack(task, len(payload), status) + payload for task in ids)
    return Results(len(ids), pack(f"<{len(ids)}Q", *ids), records)
