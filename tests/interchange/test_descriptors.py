"""Large arguments and results travel beside the frames, as descriptors: none may stay open anywhere."""

import os
from collections.abc import Mapping

import psutil
import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.interchange.serialize import LARGE
from tests.eventually import eventually


def descriptors() -> Mapping[str, int]:
    """How many are open in this process, and in each of its helpers and workers."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {f"{process.pid} {process.cmdline()[2:3]}": process.num_fds() for process in processes}


def swap_ends(data: bytes) -> bytes:
    return data[-1:] + data[1:-1] + data[:1]


def end(data: bytes) -> None:
    os._exit(3)


@pytest.mark.parametrize("how", ["run", "cancelled", "the worker dies"])
def test_no_descriptor_of_a_large_argument_or_result_stays_open(how: str) -> None:
    large = b"a" + bytes(2 * LARGE) + b"z"
    with ParslPoolExecutor(1, retries=0) as pool:
        assert pool.submit(swap_ends, large).result() == swap_ends(large)
        before = descriptors()
        for _ in range(6):
            futures = [pool.submit(end if how == "the worker dies" else swap_ends, large) for _ in range(5)]
            if how == "cancelled":
                for future in futures[::-1]:
                    future.cancel()
            for future in futures:
                if not future.cancelled():
                    future.exception()
            del futures, future

        def settled() -> bool:
            now = descriptors()
            return all(count <= before.get(process, 30) + 3 for process, count in now.items())

        eventually(settled, within=5)
