"""Both sides of a worker's page in one process: the worker's own code writes, the manager's own reads."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parsl_pool.interchange import columns, shared_memory, wire
from parsl_pool.interchange.page import CLAIMS_SIZE, OUT, PAGE_SIZE, RING_SIZE, Page
from parsl_pool.interchange.stream import Stream
from parsl_pool.interchange.worker import Setup, Worker

HEAD = columns.RECORD.size

Record = tuple[int, int, bytes]  # task, status, payload


class Ring:
    """A worker that only puts results, and who reads them."""

    def __init__(self, worker: Worker, page: Page, stream: Stream) -> None:
        self.worker, self.page, self.stream = worker, page, stream
        self.next_task = 1

    @property
    def committed(self) -> int:
        out: int = self.page.words[OUT]
        return out

    def put(self, size: int, status: int = wire.OK) -> Record:
        """Put a result whose record has so many bytes; the record."""
        task = self.next_task
        self.next_task += 1
        payload = (b"%d;" % task * (size // 2 + 1))[: size - HEAD]
        self.worker._put(task, status, payload)
        return task, status, payload

    def go_to(self, offset: int) -> None:
        """Have everything read, and the next record begin so many bytes into the ring."""
        while (left := (offset - self.committed) % RING_SIZE) > 0:
            biggest = min(left, RING_SIZE // 4)
            self.put(left if left == biggest else min(biggest, left - HEAD))
            self.read()
            self.page.release()

    def read(self, upto: int | None = None) -> list[Record]:
        return records_in(self.page.take(self.committed if upto is None else upto))

    def bulk(self) -> list[wire.Bulk]:
        """The results that came beside the ring by now."""
        found = []
        for kind, body, fds in self.stream.receive():
            for fd in fds:
                os.close(fd)
            record = wire.decode(kind, body)
            if isinstance(record, wire.Bulk):
                found.append(record)
        return found


def records_in(data: bytes) -> list[Record]:
    records, position = [], 0
    while position < len(data):
        task, size, status = columns.RECORD.unpack_from(data, position)
        position += HEAD
        records.append((task, status, data[position : position + size]))
        position += size
    assert position == len(data)
    return records


@contextmanager
def ring(*, shares_claims: bool = True) -> Iterator[Ring]:
    """A worker and its page. shares_claims: its client is on this host, and has a table of claims."""
    fd = shared_memory.create(PAGE_SIZE, "page")
    claims_fd = shared_memory.create(CLAIMS_SIZE, "claims") if shares_claims else -1
    ours, theirs = socket.socketpair()  # with room: both ends belong to one thread, which reads only afterwards
    stream = Stream(ours)
    worker = Worker(theirs, fd, Setup(b"", 0, claims_fd, [], "label", "run", ""))
    page = Page(fd)
    try:
        yield Ring(worker, page, stream)
    finally:
        page.close()
        table: Any = worker._claims.obj
        for view in (worker._words, worker._claims, worker._cancels):
            view.release()
        worker._map.close()
        if shares_claims:
            table.close()
        stream.close()
        theirs.close()
        os.close(fd)
        if shares_claims:
            os.close(claims_fd)
