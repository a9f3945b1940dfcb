"""Program: `claimer CLAIMS PAGE TASKS`: a worker's own loop on tasks 1 to TASKS; then the statuses on stdout.

CLAIMS and PAGE are inherited descriptors.
"""

import sys
from pickle import dumps

from parsl_pool.interchange.page import Page
from parsl_pool.interchange.stream import Stream, pair
from parsl_pool.interchange.worker import Setup, Worker
from tests.interchange.frames import tasks
from tests.interchange.ring import records_in

BATCH = 8


def main() -> None:
    claims, page_fd, count = map(int, sys.argv[1:])
    ours, theirs = pair()
    manager = Stream(ours)
    worker = Worker(theirs, page_fd, Setup(b"", 0, claims, [], "label", "run", ""))
    worker._functions[1] = (int, b"")
    page = Page(page_fd)
    frames = [
        tasks(range(first, first + BATCH), payloads=[dumps(())] * BATCH).encode() for first in range(1, count, BATCH)
    ]
    statuses = bytearray()
    for frame in frames:
        worker._run_batch(frame, [])
        manager.receive()  # notes that there are results; nobody needs them here
        for task, status, _ in records_in(page.take(worker._committed)):
            assert task == len(statuses) + 1
            statuses.append(status)
        page.release()
    sys.stdout.buffer.write(statuses)


if __name__ == "__main__":
    main()
