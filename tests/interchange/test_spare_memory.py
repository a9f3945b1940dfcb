"""Memory that nothing uses goes back to the system when many managers have come or gone."""

import subprocess
import sys

import pytest

from parsl_pool.interchange.spare_memory import MANY, SpareMemory

AFTER_MUCH = """
import ctypes, os
from parsl_pool.interchange.spare_memory import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
pieces = [libc.malloc(16 << 10) for _ in range(4000)]
for piece in pieces:
    ctypes.memset(piece, 1, 16 << 10)
for piece in pieces[:-1]:  # the last one stays, behind all of them
    libc.free(piece)
before = resident()
give_back()
print(before - resident())
"""


def _looks(*managers: int) -> list[int]:
    """After which of these looks something was given back."""
    given: list[None] = []
    spare = SpareMemory(lambda: given.append(None))
    after = []
    for at, number in enumerate(managers):
        before = len(given)
        spare.look(number)
        after += [at] * (len(given) - before)
    return after


def test_when_many_have_come_and_no_more_do() -> None:
    assert _looks(1, MANY, 3 * MANY, 3 * MANY, 3 * MANY) == [3]


def test_when_many_have_gone() -> None:
    assert _looks(3 * MANY, 3 * MANY, MANY, MANY) == [1, 3]
    assert _looks(MANY, MANY, 0) == [1, 2]


def test_not_for_few() -> None:
    assert _looks(MANY - 1, MANY - 1, 1, 1, 0) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives back what is in the middle")
def test_what_nothing_uses_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", AFTER_MUCH], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 32 << 20
