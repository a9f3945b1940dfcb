"""A task makes calls to its own pool, and waits for them in every way there is."""

import os
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from tests.eventually import eventually
from tests.nested import work

pytestmark = pytest.mark.timeout(60)


def test_what_arrives_is_an_executor(pool: ParslPoolExecutor) -> None:
    is_executor, size, name, is_itself = pool.submit(work.facts, pool).result()
    assert is_executor and is_itself
    assert size == 2
    assert name.startswith("<PoolHandle of pool-")


def test_a_task_gets_the_result_of_its_call(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.call, pool, work.one_more, 1).result() == 2


def test_a_function_that_can_t_be_imported_goes_by_value(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.call, pool, lambda number: number * 7, 6).result() == 42


def test_recursion_ends(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.fib, pool, 9).result() == 34


def test_recursion_is_as_deep_as_the_stack_of_one_process_and_more(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.deep, pool, 60).result() == 60


def test_all_ways_to_map(pool: ParslPoolExecutor) -> None:
    for values in pool.submit(work.maps, pool, 7).result():
        assert values == list(range(1, 8))


def test_calls_that_need_each_other(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.chain, pool, 10).result() == 10


@pytest.mark.parametrize("is_known", [False, True])
def test_the_error_of_a_call_that_is_needed(pool: ParslPoolExecutor, is_known: bool) -> None:
    text = pool.submit(work.needs_a_failed_one, pool, is_known).result()
    assert "DependencyError" in text and "the root" in text


def test_wait_and_as_completed(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.waits, pool, 5).result() == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])


def test_threads_of_a_task_may_wait_too(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.waits_in_threads, pool, 8).result() == list(range(1, 9))


def test_asyncio_in_a_task(pool: ParslPoolExecutor) -> None:
    assert pool.submit(work.waits_in_asyncio, pool, 5).result() == list(range(1, 6))


def test_a_time_out_is_kept(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    assert pool.submit(work.times_out, pool, str(tmp_path / "go")).result() == "TimeoutError True"


def test_an_error_is_the_same_and_has_both_tracebacks(pool: ParslPoolExecutor) -> None:
    error = pool.submit(work.call, pool, work.fail, "too bad").exception()
    assert type(error) is ValueError and error.args == ("too bad",)
    outer = str(error.__cause__)
    assert "in call" in outer and "in fail" in outer


def test_what_can_t_be_pickled_is_the_future_s_error(pool: ParslPoolExecutor) -> None:
    error = pool.submit(work.call_with_a_lock, pool).exception()
    assert "cannot pickle" in str(error)


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_large_arguments_and_results(pool: ParslPoolExecutor, size: int) -> None:
    data = os.urandom(size)
    assert pool.submit(work.call, pool, work.copy_of, data).result() == data


def test_retries_of_a_call(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    path = tmp_path / "tried"
    got = pool.submit(work.call_with, pool, {"retries": 1}, work.fail_until, str(path)).result()
    assert got == "at last" and path.read_text() == "here\n"


@pytest.mark.parametrize(
    "options, text", [({"color": 3}, "not 'color'"), ({"retries": -1}, "retries must be"), ({"label": 3}, "label")]
)
def test_a_wrong_option_is_an_error_that_names_it(pool: ParslPoolExecutor, options: dict[str, Any], text: str) -> None:
    error = pool.submit(work.call_with, pool, options, work.one_more, 1).exception()
    assert text in str(error)


def test_options_of_a_view_go_with_it(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    view = pool.options(retries=1, label="twice")
    assert pool.submit(work.call, view, work.fail_until, str(tmp_path / "tried")).result() == "at last"


def test_a_walltime_of_a_call(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    never = str(tmp_path / "never")
    error = pool.submit(work.call_with, pool, {"walltime": 0.3}, work.pid_after, never).exception()
    assert type(error).__name__ == "AppTimeout"


def test_after_a_fork_there_is_a_clear_error(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    path = tmp_path / "said"
    assert pool.submit(work.forks, pool, str(path)).result() == 2
    assert path.read_text().count("forked") == 2


def test_an_object_that_holds_the_pool(pool: ParslPoolExecutor) -> None:
    model = work.Model(pool)
    assert list(pool.map(model.score, range(4))) == [0, 3, 6, 9]
    assert pool.submit(model.fit, 4).result() == 18


def test_what_a_task_does_not_wait_for_runs(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    pool.submit(work.starts_and_forgets, pool, str(tmp_path / "note"), 3).result()
    eventually(lambda: len(list(tmp_path.iterdir())) == 3, within=20)


def test_a_call_that_has_not_begun_can_be_cancelled(tmp_path: Path) -> None:
    with ParslPoolExecutor(1) as pool:
        got = pool.submit(work.cancels, pool, str(tmp_path / "note")).result()
    assert got == [True, True, True, True, False]


def test_who_waits_lends_its_worker_s_place() -> None:
    """Calls with a walltime are not run by whoever waits: its worker would be ended with them."""
    with ParslPoolExecutor(1) as pool:
        assert pool.submit(work.call_with, pool, {"walltime": 60}, work.fib_with_walltimes, pool, 3).result() == 2
        assert pool.status().workers_started > 1
        eventually(lambda: len(pool._processes) == 1, within=30)


def test_a_future_ends_with_its_task(tmp_path: Path) -> None:
    with ParslPoolExecutor(1) as pool:
        pool.submit(work.keeps, pool).result()
        number, text = pool.submit(work.uses_what_was_kept).result()
    assert number == 2 and "the task that made this call is over" in text


def test_the_pool_waits_for_parents_and_children(tmp_path: Path, manager_inside: bool) -> None:
    pool = ParslPoolExecutor(2, manager_inside=manager_inside)
    future = pool.submit(work.fib, pool, 6)
    pool.submit(work.starts_and_forgets, pool, str(tmp_path / "note"), 3)
    pool.shutdown()
    assert future.result() == 8
    assert len(list(tmp_path.iterdir())) == 3
