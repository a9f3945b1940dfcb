"""After the death of an interchange: what its workers had done, read from their pages.

The manager inside it allows a worker to overwrite results only when the client has them, so whatever was finished
but not delivered is still there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from time import monotonic, sleep

from parsl_pool.interchange import wire
from parsl_pool.interchange.manager import split_records
from parsl_pool.interchange.page import CONSUMED, OUT, Page


class WorkerView:
    """A worker as its client sees it: who it is, and its page if it is on this host."""

    __slots__ = ("fd", "record")

    def __init__(self, record: wire.WorkerUp, descriptors: list[int]) -> None:
        self.record = record
        self.fd = descriptors[0] if descriptors else -1

    def close(self) -> None:
        """Let go of the page."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def await_workers(views: dict[tuple[str, int], WorkerView]) -> None:
    """Wait until the workers of a dead interchange have ended, and make sure that they do.

    A task must not run again while its first run goes on.
    """
    end = monotonic() + 2.0
    pids = [view.record.pid for view in views.values() if view.fd >= 0]
    while pids:
        pids = [pid for pid in pids if _is_worker(pid)]
        if pids and monotonic() > end:
            for pid in pids:
                try:
                    os.killpg(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
            end = monotonic() + 2.0
        if pids:
            sleep(0.002)  # they are not our children: there is nothing to wait on but their end


def _is_worker(pid: int) -> bool:
    """True if this process still runs, and is one of ours: a number may be used again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return False
    except (OSError, IndexError):
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def harvest(views: dict[tuple[str, int], WorkerView]) -> Iterator[tuple[bytes, list[int]]]:
    """The results in the pages, as bodies of RESULTS frames. Some have been delivered before."""
    for view in views.values():
        if view.fd < 0:
            continue
        page = Page(os.dup(view.fd))
        try:
            page.position = page.words[CONSUMED]
            _, ids, records = split_records(page.take(page.words[OUT]))
        except ValueError:
            continue  # damaged: its tasks run again
        finally:
            fd = page.fd
            page.close()
            os.close(fd)
        if records:
            yield wire.Results(len(ids) // 8, ids, records).encode(), []
