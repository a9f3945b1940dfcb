"""`map` with a chunksize: calls of which more is asked than one task can do are tasks of their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:.*nobody looked")]


@pytest.fixture(params=[HighThroughputExecutor, ThreadPoolExecutor], ids=["processes", "threads"])
def pool(request: pytest.FixtureRequest) -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(config=Config([request.param()], run_dir=None)) as pool:
        yield pool


def noted(folder: Path, number: int) -> int:
    with open(folder / str(number), "a") as file:
        file.write(".")
    return number


def inverse(number: int) -> float:
    return 1 / number


def test_calls_that_are_remembered_are_done_once_each(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    view, numbers = pool.options(cache=True), [1, 2, 3, 1, 2, 3]
    for _ in range(2):
        assert list(view.map(noted, [tmp_path] * 6, numbers, chunksize=2)) == numbers
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"1": ".", "2": ".", "3": "."}


@pytest.mark.parametrize("said_by", ["call", "Config"])
def test_a_handler_of_retries_is_asked_for_each(said_by: str) -> None:
    asked: list[str] = []

    def handler(error: BaseException, _: Any) -> float:
        asked.append(type(error).__name__)
        return 1.0

    said: dict[str, Any] = {"retries": 1, "retry_handler": handler}
    with ParslPoolExecutor(config=Config(run_dir=None, **(said if said_by == "Config" else {}))) as pool:
        view: Any = pool.options(**said) if said_by == "call" else pool
        with pytest.raises(ZeroDivisionError):
            next(view.map(inverse, [0, 0, 0], chunksize=3))
    assert asked == ["ZeroDivisionError"] * 6  # each is tried twice


def test_joins_are_called_here(pool: ParslPoolExecutor) -> None:
    view = pool.options(join=True)
    results: list[Any] = list(view.map(lambda number: pool.submit(abs, number), [-1, -2, -3], chunksize=2))
    assert results == [1, 2, 3]


@pytest.mark.parametrize(
    "said", [{}, {"cache": True}, {"retry_handler": lambda *_: 1.0}], ids=["plain", "cache", "handler"]
)
def test_results_before_a_call_that_fails_still_come(pool: ParslPoolExecutor, said: dict[str, Any]) -> None:
    results = pool.options(**said).map(inverse, [1, 2, 0, 4], chunksize=4)
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)
