"""Locks, thread-local data and context variables that a script has as globals: each worker has its own, as with
`ProcessPoolExecutor`."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import SerializationError
from parsl_pool.interchange import own_globals
from tests import leaks
from tests.client.test_functions import script


@pytest.fixture(scope="module")
def pool() -> Iterator[ParslPoolExecutor]:
    with leaks.keeping("the module's pool"), ParslPoolExecutor(1) as pool:
        yield pool


SCRIPT = """
import os, threading
from contextvars import ContextVar
lock, again, store = threading.Lock(), threading.RLock(), threading.local()
level, bare = ContextVar("level", default=[1, 2]), ContextVar("bare")
class Meter:
    def read(self):
        with lock:
            return store.count
def count():
    with lock, again, again:
        store.count = getattr(store, "count", 0) + 1
        return store.count
def which(): return id(lock), os.getpid(), lock.locked()
def which_too(unused=None): return (lambda: id(lock))(), os.getpid(), lock.locked()
def variables():
    token = level.set(level.get() + [3])
    found = level.name, level.get()
    level.reset(token)
    return found, bare.name, bare.get("unset")
"""


def test_a_worker_keeps_them_from_task_to_task(pool: ParslPoolExecutor) -> None:
    space = script(SCRIPT)
    assert [pool.submit(space["count"]).result(20) for _ in range(3)] == [1, 2, 3]
    assert pool.submit(space["Meter"]().read).result(20) == 3
    assert not hasattr(space["store"], "count")


def test_all_functions_see_the_same_one_and_not_the_programs(pool: ParslPoolExecutor) -> None:
    space = script(SCRIPT)
    with space["lock"]:
        assert pool.submit(space["which"]).result(20) == pool.submit(space["which_too"]).result(20)
        assert pool.submit(space["which"]).result(20)[2] is False


def test_context_variables_have_their_names_and_defaults(pool: ParslPoolExecutor) -> None:
    space = script(SCRIPT)
    space["level"].set([7])  # in this context, which is the program's
    assert pool.submit(space["variables"]).result(20) == (("level", [1, 2, 3]), "bare", "unset")


def test_such_a_function_is_pickled_once(pool: ParslPoolExecutor) -> None:
    functions: Any = pool._backend.link.functions
    which = script(SCRIPT)["which"]
    assert functions.number_of(which) == functions.number_of(which) and id(which) in functions._by_value


@pytest.mark.parametrize(
    "thing", [threading.Lock(), threading.RLock(), threading.local(), ContextVar("x")], ids=lambda t: type(t).__name__
)
def test_elsewhere_they_are_errors(pool: ParslPoolExecutor, thing: object) -> None:
    space = script("def take(thing): return thing\ndef use(): return thing, other")
    space.update(thing=thing, other=[thing])
    with pytest.raises(SerializationError, match="argument 1"):
        pool.submit(space["take"], thing).result(20)
    with pytest.raises(SerializationError, match=r"global 'other'\[0\]"):
        pool.submit(space["use"]).result(20)


def test_there_is_one_of_each_name() -> None:
    assert own_globals.own("a", "x", "Lock") is own_globals.own("a", "x", "Lock")
    assert len({id(own_globals.own(module, name, "Lock")) for module in "ab" for name in "xy"}) == 4
    one = own_globals.own_variable("a", "x", "of", 1)
    assert own_globals.own_variable("a", "x", "of", 2) is one and one.get() == 1
