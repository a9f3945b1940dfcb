"""Payloads in shared memory, brought back into the message: for links that carry no descriptors."""

from __future__ import annotations

import os

from parsl_pool.interchange import columns, wire


def read_descriptor(fd: int) -> bytes:
    """All that a descriptor's file holds; it is closed."""
    try:
        size, position, parts = os.fstat(fd).st_size, 0, []
        while position < size:
            part = os.pread(fd, size - position, position)
            if not part:
                break
            parts.append(part)
            position += len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def inline_tasks(tasks: columns.Tasks) -> columns.Tasks:
    """The same tasks without descriptors."""
    if not tasks.descriptors:
        return tasks
    payload = read_descriptor(tasks.descriptors[0])
    return columns.Tasks(
        tasks.priority, tasks.walltime_ms, 1, tasks.ids, tasks.functions, wire.LENGTH.pack(len(payload)), payload
    )


def inline_results(results: columns.Results) -> columns.Results:
    """The same result without descriptors."""
    if not results.descriptors:
        return results
    payload = read_descriptor(results.descriptors[0])
    task, _, status = columns.RECORD.unpack_from(results.records)
    return columns.result_of(task, status, payload)
