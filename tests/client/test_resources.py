"""What a call asks of the place where it runs: `options(resources=...)` and its like, up to the task's frame."""

from collections.abc import Iterator
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import ConfigurationError, InvalidResourceSpecification
from parsl_pool.interchange.request import Request
from parsl_pool.resources import KEYS, asked
from tests.interchange.frames import request

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    "given, wanted, priority",
    [
        ({"cores": 2, "memory": 500, "disk": 3, "gpus": 1}, request(cores=2, memory_mb=500, disk_mb=3, gpus=1), None),
        ({"running_time_min": 0.5}, request(running_ms=30_000), None),
        ({"running_time_min": 1e-9}, request(running_ms=1), None),
        ({"priority": -5}, None, -5),
        ({"gpus": 0}, None, None),
        ({"cores": 1, "priority": 0}, request(cores=1), 0),
    ],
)  # fmt: skip
def test_a_specification_in_numbers(given: dict[str, Any], wanted: Request | None, priority: int | None) -> None:
    made = asked("resources", given)
    assert made is not None and made == (given, wanted, priority)


def test_there_may_be_none() -> None:
    assert asked("resources", None) is None and asked("resources", {}) is None


@pytest.mark.parametrize("left_out", ["", "num_nodes", "ranks_per_node", "num_ranks"])
def test_two_numbers_of_an_mpi_program_give_the_third(left_out: str) -> None:
    given = {"num_nodes": 2, "ranks_per_node": 3, "num_ranks": 6}
    given.pop(left_out, None)
    made = asked("resources", given)
    assert made is not None and made.request == request(num_nodes=2, ranks_per_node=3, num_ranks=6)


@pytest.mark.parametrize(
    "given, text",
    [
        ({"num_nodes": 2}, "needs two of num_nodes, ranks_per_node and num_ranks"),
        ({"launcher_options": "-v"}, "needs two of"),
        ({"num_nodes": 2, "num_ranks": 5}, "num_ranks=5 is no multiple of num_nodes=2"),
        ({"ranks_per_node": 4, "num_ranks": 6}, "num_ranks=6 is no multiple of ranks_per_node=4"),
        ({"num_nodes": 4, "num_ranks": 2}, "num_ranks=2 is no multiple of num_nodes=4"),
        ({"num_nodes": 2, "ranks_per_node": 3, "num_ranks": 12}, "must be num_nodes=2 times ranks_per_node=3, got 12"),
        ({"num_nodes": 0, "num_ranks": 5}, "num_nodes must be at least 1"),
        ({"CORES": 2}, "there is no key 'CORES'; there are: cores, memory,"),
        ({5: 2}, "there is no key 5; there are"),
        ({"cores": 1.5}, "cores must be a whole number"),
        ({"memory": "4GB"}, "memory must be a whole number of megabytes"),
        ({"gpus": -1}, "gpus must be at least 0"),
        ({"running_time_min": float("nan")}, "it is not a number"),
        ({"priority": 1 << 40}, "priority must be at least"),
        ({"num_nodes": 1, "num_ranks": 1, "launcher_options": "x" * 5000}, "at most 4,000 characters"),
    ],
)
def test_what_can_not_be_is_told_with_what_can(given: dict[Any, Any], text: str) -> None:
    with pytest.raises(InvalidResourceSpecification) as caught:
        asked("resources", given)
    assert text in str(caught.value) and "resources={" in str(caught.value)


def test_all_keys_can_be_given_to_some_executor() -> None:
    fine = {"priority": 1, "launcher_options": "-v", "num_ranks": 4, "num_nodes": 2, "ranks_per_node": 2}
    assert asked("resources", {key: fine.get(key, 1) for key in KEYS}) is not None


@pytest.fixture(params=[True, False], ids=["inside", "apart"])
def pool(request: pytest.FixtureRequest) -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(2, manager_inside=request.param) as pool:
        yield pool


def add(a: int, b: int) -> int:
    return a + b


def test_calls_that_ask_run(pool: ParslPoolExecutor) -> None:
    asking = pool.options(resources={"cores": 1, "memory": 1})
    assert asking.submit(add, 1, 2).result() == 3
    assert list(asking.map(add, range(20), range(20), chunksize=3)) == list(range(0, 40, 2))
    assert asking.submit(add, asking.submit(add, 1, 2), 3).result() == 6
    assert asking.submit(len, bytes(1 << 20)).result() == 1 << 20
    assert pool.submit(add, 1, 2).result() == 3
    assert asking.options(resources=None).submit(add, 1, 2).result() == 3


def test_an_executor_takes_a_specification_as_parsls_do(pool: ParslPoolExecutor) -> None:
    (executor,) = pool.executors.values()
    assert executor.submit(add, {"cores": 1}, 1, b=2).result() == 3
    assert executor.submit(add, {}, 1, b=2).result() == 3


def test_the_priority_may_stand_in_the_specification(pool: ParslPoolExecutor) -> None:
    assert pool.options(resources={"priority": 4})._options.priority == 4
    assert pool.options(priority=4, resources={"priority": 4})._options.priority == 4
    assert pool.options(priority=4, resources={"cores": 1})._options.priority == 4
    with pytest.raises(ConfigurationError, match="must be said once, got 4 in resources and 5"):
        pool.options(priority=5, resources={"priority": 4})


def ask_inside(pool: Any, resources: dict[str, Any]) -> int:
    return int(pool.options(resources=resources).submit(add, 1, 2).result())


def test_a_call_inside_of_a_task_asks_too(pool: ParslPoolExecutor) -> None:
    assert pool.submit(ask_inside, pool, {"cores": 1}).result() == 3
    with pytest.raises(InvalidResourceSpecification, match="no key 'Cores'"):
        pool.submit(ask_inside, pool, {"Cores": 1}).result()


def test_threads_take_none_and_a_join_neither() -> None:
    config = Config([ThreadPoolExecutor("threads"), HighThroughputExecutor("workers", max_workers_per_node=1)])
    with ParslPoolExecutor(config) as pool:
        with pytest.raises(InvalidResourceSpecification, match="executor threads: it takes no"):
            pool.options(resources={"cores": 1})
        with pytest.raises(InvalidResourceSpecification, match="a join runs in this process"):
            pool.options(executors="workers", join=True, resources={"cores": 1})
        with pytest.raises(InvalidResourceSpecification, match="executor workers: .*num_nodes is for MPI programs"):
            pool.options(executors="workers", resources={"num_nodes": 1, "num_ranks": 1})
        assert pool.options(executors="workers", resources={"cores": 1}).submit(add, 1, 2).result() == 3
