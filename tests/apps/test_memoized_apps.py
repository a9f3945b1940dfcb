"""`cache=True`: calls that were made before are not made again, in this run or from a checkpoint."""

import os
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor, bash_app, python_app
from parsl_pool.errors import BadCheckpoint, ConfigurationError, DataFlowException
from parsl_pool.memoization.checkpoints import get_all_checkpoints, get_last_checkpoint
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)


def note(path: Path) -> int:
    """Notes the call in a file; how many there were before."""
    with open(path, "a") as file:
        file.write("x")
    return path.stat().st_size - 1


@python_app(cache=True)
def counted(path: Path, x: Any = 0, pause: float = 0.0) -> list[Any]:
    time.sleep(pause)
    return [note(path), x]


@python_app(cache=True, ignore_for_cache=["noise"])
def ignores(path: Path, noise: Any = None) -> int:
    return note(path)


@python_app(cache=True)
def fails(path: Path) -> None:
    raise ValueError(note(path))


@bash_app(cache=True)
def touch(path: str, stdout: Any = None) -> str:
    return f"echo x >> {path}"


def test_a_second_call_is_known(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    first, again = counted(tmp_path / "a", 5), counted(tmp_path / "a", x=5)
    assert first.result() == again.result() == [0, 5]
    assert counted(tmp_path / "a", 6).result() == [1, 6]
    later = counted(tmp_path / "a", 5)
    assert later.result() == [0, 5]
    assert (first.task_status(), later.task_status()) == ("exec_done", "memo_done")
    assert later._record.from_memo and not first._record.from_memo


def test_identical_calls_at_once_run_once(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    futures = [counted(tmp_path / "a", 1, pause=0.3) for _ in range(20)]
    assert [future.result() for future in futures] == [[0, 1]] * 20
    assert (tmp_path / "a").read_text() == "x"


def test_arguments_that_are_futures(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    assert counted(tmp_path / "a", 5).result() == [0, 5]
    foreign: Future[int] = Future()
    waits = counted(tmp_path / "a", foreign)
    nested = counted(tmp_path / "a", [pool.submit(abs, -5)])
    foreign.set_result(5)
    assert waits.result() == [0, 5] and waits.task_status() == "memo_done"
    assert nested.result() == [1, [5]]
    assert counted(tmp_path / "a", [5]).result() == [1, [5]]


def test_ignored_arguments_and_names_of_logs(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    assert ignores(tmp_path / "a", 1).result() == ignores(tmp_path / "a", noise=object()).result() == 0
    for _ in range(3):
        assert touch(str(tmp_path / "b"), stdout=parsl_pool.AUTO_LOGNAME).result() == 0
    assert (tmp_path / "b").read_text() == "x\n"


def test_failures_are_not_kept(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    assert fails(tmp_path / "a").exception().args == (0,)  # type: ignore[union-attr]  # it has failed
    assert fails(tmp_path / "a").exception().args == (1,)  # type: ignore[union-attr]  # as above


PRESENT: dict[str, Any] = {}
"""What the function below works with: globals are no part of a call's key."""


def wait_at_first(path: Path) -> Any:
    return PRESENT["never"] if note(path) == 0 else PRESENT["pool"].submit(abs, -7)


def test_the_others_make_the_call_when_the_first_is_cancelled(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    never: Future[int] = Future()
    PRESENT.update(never=never, pool=pool)
    view = pool.options(cache=True, join=True)
    first, second = view.submit(wait_at_first, tmp_path / "a"), view.submit(wait_at_first, tmp_path / "a")
    try:
        eventually(lambda: first.task_status() == "joining")
        assert first.cancel()
        assert second.result(20) == 7
        assert (tmp_path / "a").read_text() == "xx"
    finally:
        PRESENT.clear()
        never.set_result(0)  # so that a failure does not keep the pool from ending


def test_a_future_that_a_function_closes_over_gives_no_key(pool: ParslPoolExecutor) -> None:
    future: Future[int] = Future()
    error = pool.options(cache=True, join=True).submit(lambda: future).exception(20)
    assert isinstance(error, TypeError) and "closes over" in str(error) and "pass the future" in str(error)


def test_by_submit(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    view = pool.options(cache=True)
    assert view.submit(note, tmp_path / "a").result() == view.submit(note, tmp_path / "a").result() == 0
    assert list(view.map(note, [tmp_path / "a"] * 5)) == [0] * 5
    assert pool.submit(note, tmp_path / "a").result() == 1


def test_what_has_no_key_is_an_error_that_says_what_to_do(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    error = counted(tmp_path / "a", [1, {"k": object()}]).exception()
    assert isinstance(error, TypeError)
    assert "argument x of counted" in str(error) and "[1]['k']" in str(error) and "id_for_memo.register" in str(error)


def test_why(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    counted(tmp_path / "a", 5).result()
    assert "differs in argument x" in pool.why(counted, tmp_path / "a", 6)
    assert "is known already" in pool.why(counted, tmp_path / "a", 5)
    assert "no earlier call" in pool.why(ignores, tmp_path / "a")


def test_the_switch_for_all(tmp_path: Path) -> None:
    with parsl_pool.load(Config([ThreadPoolExecutor()], app_cache=False)) as pool:
        assert counted(tmp_path / "a").result() == [0, 0]
        assert counted(tmp_path / "a").result() == [1, 0]
        with pytest.raises(ConfigurationError, match="app_cache=False"):
            pool.why(counted, tmp_path / "a")
    parsl_pool.clear()


@pytest.fixture(params=["inside", "apart", "threads"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def make(**options: Any) -> ParslPoolExecutor:
        if request.param == "threads":
            executor: Any = ThreadPoolExecutor()
        else:
            executor = HighThroughputExecutor(max_workers_per_node=2, manager_inside=request.param == "inside")
        parsl_pool.clear()
        return parsl_pool.load(Config([executor], run_dir=tmp_path / "runs", **options))

    return make


@pytest.mark.parametrize("mode", ["task_exit", "periodic", "dfk_exit", "manual"])
def test_a_later_run_takes_results_from_a_checkpoint(make: Any, tmp_path: Path, mode: str) -> None:
    period = {"checkpoint_period": "00:00:01"} if mode == "periodic" else {}
    large = "x" * 2_000_000
    with make(checkpoint_mode=mode, **period) as pool:
        assert [counted(tmp_path / "a", n).result() for n in range(3)] == [[n, n] for n in range(3)]
        assert counted(tmp_path / "b", large).result() == [0, large]
        if mode == "manual":
            assert pool.checkpoint() == get_all_checkpoints(tmp_path / "runs")[0]
    parsl_pool.clear()
    found = get_last_checkpoint(tmp_path / "runs")
    assert found == get_all_checkpoints(tmp_path / "runs") and os.path.basename(found[0]) == "checkpoint"
    with make(checkpoint_files=found):
        futures = [counted(tmp_path / "a", n) for n in (2, 1, 0, 3)]
        assert [future.result() for future in futures] == [[2, 2], [1, 1], [0, 0], [3, 3]]
        assert [future.task_status() for future in futures] == ["memo_done"] * 3 + ["exec_done"]
        assert counted(tmp_path / "b", large).result() == [0, large]
    parsl_pool.clear()


def test_a_checkpoint_of_some_tasks(make: Any, tmp_path: Path) -> None:
    with make(checkpoint_mode="manual") as pool:
        futures = [counted(tmp_path / "a", n) for n in range(3)]
        parsl_pool.wait_for_current_tasks()
        pool.checkpoint(tasks=[futures[1], futures[2]._record, pool.submit(abs, 1)])
        with pytest.raises(TypeError, match="tasks must be futures of this pool's tasks, or their records, got 5"):
            pool.checkpoint(tasks=[5])
    parsl_pool.clear()
    with make(checkpoint_files=get_last_checkpoint(tmp_path / "runs")):
        again = [counted(tmp_path / "a", n) for n in range(3)]
        parsl_pool.wait_for_current_tasks()
        assert [future.task_status() for future in again] == ["exec_done", "memo_done", "memo_done"]
    parsl_pool.clear()


def test_checkpoints_that_cannot_be_loaded(make: Any, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no such"):
        make(checkpoint_files=[tmp_path / "no such"])
    with make() as pool, pytest.raises(DataFlowException, match="checkpoint_mode"):
        pool.checkpoint()
    parsl_pool.clear()
