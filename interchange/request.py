"""What a task asks of the place where it runs, on its way from the call to the worker.

The client checks it (parsl_pool/resources.py), the broker looks for a manager that has so much, the manager sets it
aside while the task runs. A frame of tasks that ask for nothing says nothing of it; one that does has one task.
"""

from __future__ import annotations

from typing import Any

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import fields
from parsl_pool.interchange.named_tuple import NamedTuple

_CODES = "iiiiiiiis"
_MOST = 1 << 40
_LONGEST_OPTIONS = 4096


class Request(NamedTuple):
    """So much of each is for this task alone; 0: it has not said."""

    cores: int
    memory_mb: int
    disk_mb: int
    gpus: int
    running_ms: int  # so long it may take: its place must last for that
    num_nodes: int  # of an MPI program, as the next two
    ranks_per_node: int
    num_ranks: int
    launcher_options: str  # more for the command that starts it


class Asked(NamedTuple):
    """A specification, as the user gave it, and what it comes to."""

    given: dict[str, Any]
    request: Request | None  # None: nothing of the place
    priority: int | None  # None: it has not said


def encode(request: Request) -> bytes:
    """As bytes."""
    return fields.write(_CODES, request)


def decode(data: bytes) -> Request:
    """Raises BadMessage."""
    request = Request(*fields.read(_CODES, data))
    numbers = request[:8]
    if min(numbers) < 0 or max(numbers) > _MOST or len(request.launcher_options) > _LONGEST_OPTIONS:
        raise BadMessage(f"a Request of {request}")
    return request
