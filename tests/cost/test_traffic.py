"""What travels, in bytes."""

import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from benchmarks import processes
from parsl_pool import ParslPoolExecutor, portable
from parsl_pool.interchange.stream import Stream
from tests.eventually import eventually
from tests.network import Network

MEGABYTE = 1 << 20
CALLS = 1000


@pytest.fixture
def network(manager_inside: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network | None]:
    """What the manager and the interchange say to each other goes through it; None if they are one process."""
    if manager_inside:
        yield None
        return
    network = Network(monkeypatch)
    yield network
    network.close()


@pytest.fixture
def from_client(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all frames that this process sends."""
    sizes: list[int] = []
    put = Stream.put

    def noting(self: Stream, frame: bytes, descriptors: list[int] | None = None) -> None:
        sizes.append(len(frame))
        put(self, frame, descriptors)

    monkeypatch.setattr(Stream, "put", noting)
    return sizes


def length_of(data: bytes) -> Callable[[int], int]:
    return lambda number: len(data) + number


def test_a_closure_that_holds_a_megabyte_travels_to_each_manager_once(
    manager_inside: bool, network: Network | None, from_client: list[int]
) -> None:
    function = length_of(os.urandom(MEGABYTE))
    with ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
        futures = [pool.submit(function, number) for number in range(CALLS)]
        assert [future.result(60) for future in futures] == [MEGABYTE + number for number in range(CALLS)]
        assert MEGABYTE < sum(from_client) < 1.5 * MEGABYTE
        if network is not None:
            assert MEGABYTE < network.carried < 1.5 * MEGABYTE


def test_calls_one_by_one_do_not_send_it_again(manager_inside: bool, network: Network | None) -> None:
    """Nor does the interchange, when the manager's queue of tasks has been empty in between."""
    function = length_of(os.urandom(MEGABYTE))
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        for number in range(50):
            assert pool.submit(function, number).result(60) == MEGABYTE + number
        if network is not None:
            assert MEGABYTE < network.carried < 1.5 * MEGABYTE


def test_one_that_changes_travels_again_and_only_then(manager_inside: bool, from_client: list[int]) -> None:
    held = bytearray(os.urandom(MEGABYTE))

    def first(number: int) -> int:
        return held[number]

    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        for value in (1, 1, 1, 2, 2, 2):
            held[0] = value
            assert pool.submit(first, 0).result(60) == value
    assert 2 * MEGABYTE < sum(from_client) < 2.5 * MEGABYTE


def echo(data: bytes) -> bytes:
    return data


def test_large_data_does_not_travel_on_one_host(manager_inside: bool, network: Network | None) -> None:
    data = os.urandom(MEGABYTE)
    with ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
        assert list(pool.map(time.sleep, [0.1] * 2)) == [None] * 2  # both workers are there
        before = open_descriptors()
        assert all(future.result(60) == data for future in [pool.submit(echo, data) for _ in range(50)])
        if network is not None and portable.has_proc():
            assert network.carried < MEGABYTE / 2
        eventually(lambda: open_descriptors() == before)


def open_descriptors() -> dict[int, int]:
    """How many of them each process of the pool has, but for ours: it keeps some memory to use it again."""
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in processes.tree(os.getpid())[1:]}


def test_to_another_host_it_does(
    manager_inside: bool, network: Network | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager that is not where the client says that it is itself can't open the client's memory."""
    if network is None:
        pytest.skip("there is no other host")
    data = os.urandom(MEGABYTE)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        pool = ParslPoolExecutor(2, manager_inside=manager_inside)
        assert list(pool.map(time.sleep, [0.1] * 2)) == [None] * 2
    with pool:
        before = open_descriptors()
        assert [pool.submit(echo, data).result(60) for _ in range(5)] == [data] * 5
        assert network.carried > 10 * MEGABYTE
        eventually(lambda: open_descriptors() == before)
