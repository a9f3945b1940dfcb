"""A pickled pool in other places than a worker of its own."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import PoolElsewhere
from tests.nested import work

pytestmark = pytest.mark.timeout(60)


def test_where_it_was_made_it_is_itself() -> None:
    with ParslPoolExecutor(1) as pool:
        assert pickle.loads(pickle.dumps(pool)) is pool
        view = pickle.loads(pickle.dumps(pool.options(retries=3)))
        assert view._pool is pool and view._options.retries == 3


def test_in_a_thread_of_that_process_too() -> None:
    with ParslPoolExecutor(Config([ThreadPoolExecutor("threads", 2)])) as pool:
        assert pool.submit(lambda given: given is pool, pool).result()


def test_of_several_executors_it_is_the_task_s_own() -> None:
    with ParslPoolExecutor(Config([HighThroughputExecutor("one", max_workers_per_node=1)])) as pool:
        pool.add_executors([HighThroughputExecutor("other", max_workers_per_node=1)])
        for label in ("one", "other"):
            assert pool.options(executors=[label]).submit(work.call, pool, work.one_more, 1).result() == 2


def test_a_loaded_pool_goes_too() -> None:
    with parsl_pool.load(Config([HighThroughputExecutor("one", max_workers_per_node=1)])) as pool:
        assert pool.submit(work.call, pool, work.one_more, 1).result() == 2
    parsl_pool.clear()


def test_a_worker_of_another_pool_is_told() -> None:
    with ParslPoolExecutor(1) as pool, ParslPoolExecutor(1) as other:
        error = other.submit(work.call, pool, work.one_more, 1).exception()
    assert type(error) is PoolElsewhere and "this task is another pool's" in str(error)


def test_another_program_is_told_when_it_uses_it(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    with ParslPoolExecutor(1) as pool:
        path.write_bytes(pickle.dumps(pool))
        load = f"import pickle; pool = pickle.load(open({str(path)!r}, 'rb'))"
        script = f"{load}; print(pool, flush=True); pool.submit(abs, 1)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("<PoolHandle of pool-")
    assert "PoolElsewhere" in done.stderr and "this process is no worker of it" in done.stderr


def test_a_pool_that_has_ended_says_so() -> None:
    with ParslPoolExecutor(1) as pool:
        data = pickle.dumps(pool)
        pool.submit(abs, 1).result()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pickle.loads(data).submit(abs, 1)


def test_sending_a_pool_starts_nothing() -> None:
    pool = ParslPoolExecutor(1)
    assert len(pickle.dumps(pool)) < 300
    assert pool.status().workers_started == 0 and os.getpid() not in pool._processes
    pool.shutdown()
