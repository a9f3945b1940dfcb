"""What multiprocessing shares between processes goes to workers with the initializer, and never as something else."""

import os
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import ConfigurationError, SerializationError

_shared: Any = None


def share(thing: Any) -> None:
    global _shared
    _shared = thing


def say(text: str) -> None:
    _shared.send(text)


def send_by(connection: Connection, text: str) -> None:
    connection.send(text)


def end_of_a_pipe() -> Connection:
    return Pipe()[0]


# In a process of its own, as multiprocessing keeps the memory of such numbers until the process ends.
SUMS = """
import multiprocessing, os, sys
from parsl_pool import ParslPoolExecutor

def share(*numbers):
    global value, array
    value, array = numbers

def add(number):
    with value.get_lock(), array.get_lock():
        value.value += number
        array[1] += number

def main(method, manager_inside):
    context = multiprocessing.get_context(method)
    numbers = context.Value("q", 10), context.Array("q", [5, 20])
    for _ in range(2):
        before = len(os.listdir("/dev/fd"))
        with ParslPoolExecutor(2, initializer=share, initargs=numbers, manager_inside=manager_inside) as pool:
            list(pool.map(add, range(20)))
    print(numbers[0].value, list(numbers[1]), len(os.listdir("/dev/fd")) - before)

main(sys.argv[1], sys.argv[2] == "inside")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_numbers_that_workers_share(manager_inside: bool, method: str) -> None:
    where = "inside" if manager_inside else "apart"
    said = subprocess.run([sys.executable, "-c", SUMS, method, where], capture_output=True, text=True, timeout=100)
    assert said.stdout == f"{10 + 2 * 190} [5, {20 + 2 * 190}] 0\n", said.stderr


@pytest.mark.parametrize("duplex", [False, True], ids=["one way", "both ways"])
def test_an_end_of_a_pipe(manager_inside: bool, duplex: bool) -> None:
    ours, theirs = Pipe(duplex)
    with ours, theirs, ParslPoolExecutor(2, None, share, (theirs,), manager_inside=manager_inside) as pool:
        if duplex and not manager_inside:  # a socket, which can't be opened by its name in /proc
            with pytest.raises(ConfigurationError, match="duplex=False"):
                pool.submit(say, "one")
            return
        assert set(pool.map(say, ["one", "two"])) == {None}
        assert {ours.recv() for _ in range(2) if ours.poll(30)} == {"one", "two"}


def test_an_end_of_a_pipe_is_no_argument(manager_inside: bool) -> None:
    ours, theirs = Pipe()
    with ours, theirs, ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        for arguments in ((theirs, "text"), ([theirs], "text")):
            with pytest.raises(SerializationError, match="initargs"):
                pool.submit(send_by, *arguments).result()
        with pytest.raises(SerializationError, match="initargs"):
            pool.submit(lambda: theirs).result()
        assert pool.submit(abs, -1).result() == 1


def test_an_end_of_a_pipe_is_no_result(manager_inside: bool) -> None:
    before = set(os.listdir("/dev/fd"))
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        with pytest.raises(SerializationError, match="initargs"):
            pool.submit(end_of_a_pipe).result()
        assert pool.submit(abs, -1).result() == 1
    assert before <= set(os.listdir("/dev/fd"))
