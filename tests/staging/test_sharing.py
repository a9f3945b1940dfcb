"""Who uses the same file at the same time."""

import threading
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as Threads
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, File, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.futures import AppFuture
from parsl_pool.staging import NoOpFileStaging
from parsl_pool.staging.sharing import Sharing
from tests.staging.shelf import SeparateShelf, on_shelf

pytestmark = pytest.mark.timeout(30)


class Bringing:
    """Notes each time that a file is to be brought."""

    def __init__(self) -> None:
        self.begun: list[AppFuture[Any]] = []

    def __call__(self, number: int) -> AppFuture[Any]:
        self.begun.append(AppFuture())
        return self.begun[-1]


def user() -> "Future[Any]":
    return AppFuture()


FILE = File("odd:/a")


def test_while_one_uses_it_all_get_the_same() -> None:
    sharing, bring, one, two, three = Sharing(), Bringing(), user(), user(), user()
    first = sharing.staged("a", one, FILE, bring)
    bring.begun[0].set_result(None)
    assert first.result() is FILE and sharing.staged("a", two, FILE, bring) is first
    one.set_result(None)
    assert sharing.staged("a", three, FILE, bring) is first and len(bring.begun) == 1
    two.set_result(None)
    three.set_result(None)
    assert not len(sharing)
    assert sharing.staged("a", user(), FILE, bring) is not first and len(bring.begun) == 2


def test_who_has_seen_the_last_user_s_end_gets_it_anew() -> None:
    sharing, bring, one = Sharing(), Bringing(), user()
    seen: list[bool] = []
    # A callback that is run before the table's own.
    one.add_done_callback(lambda _: seen.append(sharing.staged("a", user(), FILE, bring) is first))
    first = sharing.staged("a", one, FILE, bring)
    bring.begun[0].set_result(None)
    one.set_result(None)
    assert seen == [False] and len(bring.begun) == 2


def test_what_could_not_be_brought_is_brought_anew() -> None:
    sharing, bring, one, two = Sharing(), Bringing(), user(), user()
    first = sharing.staged("a", one, FILE, bring)
    bring.begun[0].set_exception(ZeroDivisionError())
    assert isinstance(first.exception(), ZeroDivisionError)
    assert sharing.staged("a", two, FILE, bring) is not first and len(bring.begun) == 2


def test_a_provider_s_error_is_everybody_s() -> None:
    sharing = Sharing()

    def fails(number: int) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sharing.staged("a", user(), FILE, fails)
    assert not len(sharing)


def test_many_threads_have_it_brought_once() -> None:
    sharing, bring, users = Sharing(), Bringing(), [user() for _ in range(64)]
    together = threading.Barrier(8)

    def take(mine: "list[Future[Any]]") -> set[int]:
        together.wait(20)
        return {id(sharing.staged("a", each, FILE, bring)) for each in mine}

    with Threads(8) as threads:
        found = set.union(*threads.map(take, [users[start::8] for start in range(8)]))
    assert len(found) == len(bring.begun) == 1
    bring.begun[0].set_result(None)
    for each in users:
        each.set_result(None)
    assert not len(sharing)


def test_what_nobody_waits_for_any_more_is_not_brought() -> None:
    sharing, bring, one, two = Sharing(), Bringing(), user(), user()
    first = sharing.staged("a", one, FILE, bring)
    assert sharing.staged("a", two, FILE, bring) is first
    one.cancel()
    assert not bring.begun[0].done()
    two.cancel()
    assert bring.begun[0].cancelled() and first.cancelled() and not len(sharing)
    assert sharing.staged("a", user(), FILE, bring) is not first and len(bring.begun) == 2


def test_what_is_begun_while_its_last_user_leaves_is_ended() -> None:
    sharing, bring, one = Sharing(), Bringing(), user()

    def late(number: int) -> AppFuture[Any]:
        one.cancel()
        return bring(number)

    assert sharing.staged("a", one, FILE, late).cancelled()
    assert bring.begun[0].cancelled() and not len(sharing)


def test_numbers_tell_one_use_from_the_next() -> None:
    sharing, one, two = Sharing(), user(), user()
    assert sharing.number("a", one) == sharing.number("a", two) != sharing.number("b", user())
    first = sharing.number("a", one)
    one.set_result(None)
    two.set_result(None)
    assert sharing.number("a", user()) > first


@pytest.mark.parametrize("with_another", [False, True], ids=["alone", "beside another"])
def test_a_task_that_waits_for_its_file_is_cancelled_with_its_pool(tmp_path: Path, with_another: bool) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        goes_on.wait(20)

    executor = ThreadPoolExecutor(
        "main", max_threads=1, storage_access=[NoOpFileStaging(), SeparateShelf()], working_dir=tmp_path / "working"
    )
    pool = ParslPoolExecutor(config=Config([executor], run_dir=None))
    try:
        pool.submit(hold)
        assert begun.wait(20)  # so that the file can't be brought
        tasks = [pool.submit(str, on_shelf(tmp_path / "a")) for _ in range(1 + with_another)]
        tasks.append(pool.options(cache=True).submit(str, tasks[0]))
        pool.shutdown(wait=False, cancel_futures=True)
        assert [task.cancelled() for task in tasks] == [True] * len(tasks)
    finally:
        goes_on.set()
        pool.shutdown()
