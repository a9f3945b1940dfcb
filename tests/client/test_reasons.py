"""`future.reason` and `future.culprit`: each reason there is, as it comes about."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import AppFuture, ParslPoolExecutor
from parsl_pool.futures.stories import REASONS
from tests.eventually import eventually
from tests.recovery.arrangement import Parts

pytestmark = pytest.mark.timeout(60)


def hold(path: Path) -> None:
    """A task that has begun, and does not end."""
    path.touch()
    time.sleep(600)


def held(pool: ParslPoolExecutor, folder: Path) -> AppFuture[Any]:
    """The future of one."""
    future = pool.submit(hold, folder / "begun")
    eventually((folder / "begun").exists, within=20)
    return future


def fail(*_: object) -> None:
    raise ValueError("the task's own")


def cancelled(pool: ParslPoolExecutor, folder: Path) -> AppFuture[Any]:
    foreign: Future[int] = Future()
    future = pool.submit(abs, foreign)
    assert future.cancel()
    return future


def killed(pool: ParslPoolExecutor, folder: Path) -> AppFuture[Any]:
    future = held(pool, folder)
    pool.kill_workers()
    return future


def place_lost(pool: ParslPoolExecutor, folder: Path) -> AppFuture[Any]:
    future = held(pool, folder)
    Parts(pool, inside=True).interchange.kill()
    return future


def pool_broken(pool: ParslPoolExecutor, folder: Path) -> AppFuture[Any]:
    with ParslPoolExecutor(1, initializer=fail) as broken:
        future = broken.submit(abs, -1)
        future.exception(30)
    return future


CASES: dict[str, tuple[Callable[[ParslPoolExecutor, Path], AppFuture[Any]], str]] = {
    "cancelled": (cancelled, "user"),
    "killed": (killed, "user"),
    "walltime": (lambda pool, folder: pool.options(walltime=0.2).submit(time.sleep, 600), "task"),
    "worker lost": (lambda pool, folder: pool.submit(os._exit, 3), "task"),
    "place lost": (place_lost, "place"),
    "serialization": (lambda pool, folder: pool.submit(len, threading.Lock()), "task"),
    "pool broken": (pool_broken, "config"),
    "dependency": (lambda pool, folder: pool.submit(abs, cancelled(pool, folder)), "user"),
    "join": (lambda pool, folder: pool.options(join=True).submit(lambda: place_lost(pool, folder)), "place"),
    "raised": (lambda pool, folder: pool.submit(fail), "task"),
}


def test_there_is_a_case_for_each() -> None:
    assert [reason for reason, _ in REASONS] == list(CASES)
    assert {culprit for _, culprit in CASES.values()} == {"task", "place", "user", "config"}


@pytest.mark.parametrize("reason", CASES)
def test_a_reason_and_its_culprit(reason: str, tmp_path: Path) -> None:
    make, culprit = CASES[reason]
    with ParslPoolExecutor(1, lost_retries=0, manager_inside=True) as pool:
        future = make(pool, tmp_path)
        eventually(future.done, within=30)
        assert (future.reason, future.culprit) == (reason, culprit)
