"""What is too large for a message is an error that says so. The limit is lowered: 2 GB are much for a test."""

import resource
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import SerializationError
from parsl_pool.executors.high_throughput import tries
from parsl_pool.futures import AppFuture
from parsl_pool.interchange import serialize

LIMIT = 100_000
BIG = bytes(2 * LIMIT)
SAYS = "a message can take 100,000"


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialize, "MAX_PAYLOAD", LIMIT)


def size_of(value: bytes, other: object = None) -> int:
    return len(value)


def holding(value: bytes) -> Any:
    return lambda: len(value)


def let_nothing_large_out() -> None:
    """In a worker: no more descriptors, so no shared memory, and small messages only."""
    import traceback  # noqa: F401  # it could not be opened later

    serialize.MAX_PAYLOAD = LIMIT
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_arguments_that_no_message_can_take_fail_their_task(limit: None) -> None:
    with ParslPoolExecutor(1, manager_inside=False) as pool:
        pool._backend._shared = None  # as where there is no memory to share
        needed = pool.submit(abs, -1)
        for future in [
            pool.submit(size_of, BIG),
            pool.submit(size_of, BIG, needed),  # found when all is there
            pool.submit_chunk(size_of, [(BIG,)]),
            pool.submit(holding(BIG)),
        ]:
            error = future.exception(30)
            assert isinstance(error, SerializationError) and SAYS in str(error)
        assert pool.submit(size_of, bytes(LIMIT // 2)).result(30) == LIMIT // 2


def test_arguments_in_shared_memory_have_no_limit(limit: None, manager_inside: bool) -> None:
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        assert pool.submit(size_of, BIG).result(30) == len(BIG)


def test_an_initializer_that_no_message_can_take_is_an_error(limit: None, manager_inside: bool) -> None:
    with ParslPoolExecutor(1, manager_inside=manager_inside, initializer=size_of, initargs=(BIG,)) as pool:
        with pytest.raises(SerializationError, match=SAYS):
            pool.submit(abs, -1)


def test_a_result_for_which_there_is_neither_memory_nor_a_message_fails_its_task(manager_inside: bool) -> None:
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        pool.submit(let_nothing_large_out).result(30)
        error = pool.submit(bytes, 2 * LIMIT).exception(30)
        assert isinstance(error, SerializationError) and SAYS in str(error)
        assert pool.submit(abs, -3).result(30) == 3


def test_tasks_that_are_large_together_travel_apart(manager_inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_LARGE_FRAME", LIMIT)
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        futures = [pool.submit(size_of, bytes(LIMIT // 4)) for _ in range(40)]
        assert [future.result(30) for future in futures] == [LIMIT // 4] * 40
        frames = tries.frames_of([made(bytes(LIMIT // 4)) for _ in range(10)], singly=False)
        assert len(frames) == 10
        frames = tries.frames_of([made(b"small") for _ in range(10)], singly=False)
        assert len(frames) == 1


def made(data: bytes) -> Any:
    future: AppFuture[Any] = AppFuture()
    future._data = data
    return future
