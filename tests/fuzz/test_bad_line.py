"""Somebody without keys sits on the line between a manager and the interchange, and meddles with it."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.relay import LONG, CutHereError, Relay, Spoiler
from tests.fuzz.zmq_peers import Door
from tests.recovery.arrangement import Arrangement
from tests.recovery.ledger import note, noted

pytestmark = pytest.mark.timeout(120)

EVERY = 13  # frames pass between two that are spoiled
MOST = 3  # are spoiled: at some time the tasks have to get through


class Meddler:
    """Does something to a frame now and then, and remembers how often."""

    def __init__(self, meddle: Callable[["Meddler", bytes], bytes], up: bool) -> None:
        self._meddle, self._up = meddle, up
        self.kept: list[bytes] = []
        self.done = 0
        self.random = random.Random(7)

    def __call__(self, number: int, is_up: bool, frame: bytes) -> bytes:
        if is_up is not self._up:
            return frame
        if number % EVERY or self.done == MOST:
            return frame
        self.done += 1
        return self._meddle(self, frame)


def body(frame: bytes) -> int:
    """Where it begins."""
    return 9 if frame[0] & LONG else 2


def flip_a_bit(meddler: Meddler, frame: bytes) -> bytes:
    place = meddler.random.randrange(body(frame), len(frame))
    return frame[:place] + bytes([frame[place] ^ 1 << meddler.random.randrange(8)]) + frame[place + 1 :]


def leave_out(meddler: Meddler, frame: bytes) -> bytes:
    return b""


def repeat(meddler: Meddler, frame: bytes) -> bytes:
    return frame + frame


def send_an_old_one(meddler: Meddler, frame: bytes) -> bytes:
    """Perhaps of an earlier connection."""
    meddler.kept.append(frame)
    return meddler.kept[0] + frame


def insert_rubbish(meddler: Meddler, frame: bytes) -> bytes:
    return b"\x00\x05hello" + frame


def cut_in_the_middle(meddler: Meddler, frame: bytes) -> bytes:
    raise CutHereError(frame[: len(frame) // 2])


def make_it_shorter(meddler: Meddler, frame: bytes) -> bytes:
    start = body(frame)
    size = (len(frame) - start - 1).to_bytes(start - 1, "big")
    return frame[:1] + size + frame[start:-1]


UP = [flip_a_bit, leave_out, repeat, send_an_old_one, insert_rubbish, cut_in_the_middle, make_it_shorter]
DOWN = [flip_a_bit, leave_out, repeat]


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Spoiler], Relay]]:
    """Makes one that all managers of the next pool have to go through."""
    relays = []

    def make(spoil: Spoiler) -> Relay:
        relays.append(Relay(monkeypatch, spoil))
        return relays[-1]

    yield make
    for each in relays:
        each.close()


def noted_bytes(path: Path, task: int) -> bytes:
    """Every tenth does not fit one part of a message."""
    note(path, task)
    return bytes([task % 256]) * (300_000 if task % 10 == 0 else 10)


@pytest.mark.parametrize(
    ("meddle", "up"), [*((how, True) for how in UP), *((how, False) for how in DOWN)],
    ids=[f"{how.__name__}-up" for how in UP] + [f"{how.__name__}-down" for how in DOWN],
)
def test_whatever_is_done_to_the_line_each_task_runs_once_and_gives_its_result(
    relay: Callable[[Spoiler], Relay], tmp_path: Path, meddle: Any, up: bool
) -> None:
    meddler = Meddler(meddle, up)
    line = relay(meddler)
    ledger = tmp_path / "ledger"
    with Arrangement(inside=False, address="127.0.0.1").new_pool(2, lost_retries=0) as pool:
        pool._backend.heartbeat_period = 0.2  # what is left out is missed with the next message
        assert pool.submit(os.getpid).result(30) != os.getpid()
        door = Door(pool)
        task = 0
        while meddler.done < MOST:
            futures = [pool.submit(noted_bytes, ledger, number) for number in range(task, task + 40)]
            for number, future in enumerate(futures, task):
                assert future.result(60) == bytes([number % 256]) * (300_000 if number % 10 == 0 else 10)
            task += len(futures)
        assert noted(ledger) == {number: 1 for number in range(task)}
        assert door.is_unharmed()
    assert line.connections > 1, "the connection was given up, for another one"
