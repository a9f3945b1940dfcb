"""What is heavy and is sent again and again is told, once, by its name."""

import array
import functools
import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor, bash_app, python_app
from parsl_pool.executors.high_throughput import weights
from parsl_pool.executors.high_throughput.weights import Weights, innermost
from parsl_pool.interchange import shell
from parsl_pool.staging import sandbox
from tests import leaks

pytestmark = pytest.mark.timeout(60)

HEAVY = bytes(5000)
LIGHT = b"x"
MUCH = 60_000


@pytest.fixture
def scale() -> Weights:
    """With limits such as a test can afford."""
    made = Weights()
    made.least, made.often, made.much = 4000, 4, MUCH
    return made


def told(call: Callable[[], object], times: int) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(times):
            call()
    return [str(each.message) for each in caught]


def use(data: Any, other: Any = None, *, key: Any = None) -> None:
    """Heavy are its arguments."""


def with_global() -> Any:
    return HEAVY, LIGHT


def with_default(light: bytes = LIGHT, heavy: bytes = HEAVY) -> None:
    """Heavy is a default."""


def with_keyword(*, heavy: bytes = HEAVY) -> None:
    """Heavy is the default of a keyword."""


def closing_over(df: Any, i: int = 0) -> Callable[[], int]:
    def fit() -> int:
        return len(df) + i

    return fit


def with_attribute() -> Callable[[], None]:
    def fit() -> None:
        """Heavy is an attribute."""

    setattr(fit, "table", HEAVY)  # noqa: B010  # checkers know of no such attribute
    return fit


class Model:
    def __init__(self) -> None:
        self.weights = HEAVY

    def fit(self) -> None:
        """Heavy is the object."""

    def __call__(self) -> None:
        """Heavy is an attribute."""


FUNCTIONS: dict[str, tuple[Any, str]] = {
    "closure": (closing_over(HEAVY), "`fit` closes over `df` (0 MB), and was pickled 12 times: use pool.put(df)"),
    "global": (with_global, "`with_global` uses the global `HEAVY` (0 MB), and was"),
    "default": (with_default, "`with_default` has the default `heavy` (0 MB), and was"),
    "keyword": (with_keyword, "`with_keyword` has the default `heavy` (0 MB), and was"),
    "attribute": (with_attribute(), "`fit` has the attribute `table` (0 MB), and was"),
    "method": (Model().fit, "`fit` is a method of an object (0 MB), and was pickled 12 times: use pool.put()"),
    "object": (Model(), "`Model` has the attribute `weights` (0 MB), and was"),
    "partial": (functools.partial(use, data=HEAVY), "`use` is bound to `data` (0 MB), and was"),
    "bash app": (functools.partial(shell.run_command, closing_over(HEAVY), "fit"), "`fit` closes over `df` (0 MB)"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_what_a_function_brings_with_it_is_named(scale: Weights, case: str) -> None:
    function, text = FUNCTIONS[case]
    (said,) = told(lambda: scale.pickled(function, 5100), 40)
    assert said.startswith(text)
    (now,) = scale.explain()
    assert now == said.partition(": use")[0].replace("12 times", "40 times")


CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], str]] = {
    "argument": (
        use, (HEAVY, LIGHT), {}, "`use` is called with `data` (0 MB), and was sent 12 times: use pool.put(data)"),
    "second": (use, (LIGHT, HEAVY), {}, "`use` is called with `other`"),
    "keyword": (use, (LIGHT,), {"key": [HEAVY]}, "`use` is called with `key`"),
    "builtin": (len, (HEAVY,), {}, "`len` is called with argument 1 (0 MB), and was sent 12 times: use pool.put()"),
    "bash app": (
        functools.partial(shell.run_command, use, "use"), (None, None, (), HEAVY), {}, "`use` is called with `data`"),
    "sandbox": (
        functools.partial(sandbox.run, functools.partial(shell.run_with_outputs, use, "use")),
        (None, (), (), LIGHT, HEAVY), {}, "`use` is called with `other`"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_what_a_call_brings_with_it_is_named(scale: Weights, case: str) -> None:
    function, args, kwargs, text = CALLS[case]
    (said,) = told(lambda: scale.called(function, args, kwargs, 5100), 40)
    assert said.startswith(text)


def test_lambdas_of_one_place_are_one_function(scale: Weights) -> None:
    numbers = iter(range(100))
    (said,) = told(lambda: scale.pickled(closing_over(HEAVY, next(numbers)), 5100), 40)
    assert said.startswith("`fit` closes over `df`")


def test_other_data_each_time_is_looked_at_ever_more_seldom(
    scale: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    real = weights.weigh

    def weigh(value: Any) -> tuple[int, int]:
        looks.append(value)
        return real(value)

    monkeypatch.setattr(weights, "weigh", weigh)
    numbers = iter(range(10_000))
    assert told(lambda: scale.called(use, (next(numbers).to_bytes(2, "big") * 2500,), {}, 5100), 1600) == []
    assert 0 < len(looks) <= 2 * 8, "two looks at 12, 24, 48, ... calls"
    assert told(lambda: scale.called(use, (HEAVY,), {}, 5100), 1600), "what is the same later is found"


def test_light_or_seldom_calls_are_never_looked_at(scale: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "weigh", lambda value: pytest.fail("looked at"))
    assert told(lambda: scale.called(use, (LIGHT,), {}, 3999), 1000) == []
    assert told(lambda: scale.called(abs, (HEAVY,), {}, MUCH), 2) == []
    assert told(lambda: scale.called(max, (HEAVY,), {}, 4000), 10) == []


def test_many_light_arguments_are_not_to_blame(scale: Weights) -> None:
    assert told(lambda: scale.called(max, (LIGHT * 3000, LIGHT * 3000), {}, 6100), 100) == []


def test_what_can_t_be_pickled_twice_is_left_out(scale: Weights) -> None:
    class Shy:
        def __reduce__(self) -> Any:
            raise RuntimeError("no more")

    (said,) = told(lambda: scale.called(use, (Shy(), HEAVY), {}, 5100), 40)
    assert "`other`" in said


def test_nothing_of_the_user_s_is_kept(scale: Weights) -> None:
    class Table(list[int]):
        """Can be referred to weakly."""

    def tell() -> "weakref.ref[Table]":
        table = Table(range(5000))
        assert told(lambda: scale.called(use, (table,), {}, 5100), 40)
        assert told(lambda: scale.pickled(closing_over(table), 5100), 11) == []
        return weakref.ref(table)

    gone = tell()
    gc.collect()
    assert gone() is None


def test_many_threads_tell_it_once(scale: Weights) -> None:
    def call() -> None:
        for _ in range(50):
            scale.called(use, (HEAVY,), {}, 5100)

    threads = [threading.Thread(target=call, name=f"caller-{n}") for n in range(4)]

    def all_of_them() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(told(all_of_them, 1)) == 1
    assert scale.explain() == ["`use` is called with `data` (0 MB), and was sent 200 times"]


def test_sizes_as_people_say_them() -> None:
    assert [weights.shown_size(size) for size in (1 << 20, 812_000_000, 3_250_000_000)] == ["1 MB", "812 MB", "3.2 GB"]


def test_arrays_are_weighed_without_a_copy() -> None:
    class Buffered:
        def __init__(self) -> None:
            self.data = array.array("d", bytes(80_000))

        def __reduce_ex__(self, protocol: Any) -> Any:
            from pickle import PickleBuffer

            return bytearray, (PickleBuffer(self.data),)

    value = Buffered()
    first = weights.weigh(value)
    assert 80_000 < first[0] < 81_000
    value.data[7] = 1.0
    assert weights.weigh(value) != first
    assert weights.weigh(threading.Lock()) == (0, 0)


def test_the_user_s_function_is_found_inside() -> None:
    assert innermost(functools.partial(sandbox.run, functools.partial(shell.run_command, use, "use"))) is use
    assert innermost(functools.partial(Model().fit)) is Model.fit


# -- in a pool


@pytest.fixture(scope="module")
def pool() -> Iterator[ParslPoolExecutor]:
    with leaks.keeping("the module's pool"), ParslPoolExecutor(1) as pool:
        assert pool.submit(abs, -1).result() == 1
        yield pool


@pytest.fixture
def low(pool: ParslPoolExecutor) -> ParslPoolExecutor:
    """With such limits, and as if nothing had been sent."""
    scale = pool._backend.weights
    scale.least, scale.often, scale.much = 100_000, 4, 1_000_000
    scale._known.clear()
    return pool


BIG = bytes(200_000)


def size_of(data: Any, number: int = 0) -> int:
    return len(data) + number


def test_in_a_pool_the_warning_leads_to_the_line_of_the_user(low: ParslPoolExecutor) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        futures = [low.submit(size_of, BIG, n) for n in range(20)]
    assert [future.result() for future in futures] == list(range(200_000, 200_020))
    assert [(str(each.message), each.category, each.filename) for each in caught] == [
        ("`size_of` is called with `data` (0 MB), and was sent 5 times: use pool.put(data)", RuntimeWarning, __file__)
    ]
    assert "`size_of` is called with `data` (0 MB), and was sent 20 times" in low.explain()


def test_what_a_lambda_closes_over(low: ParslPoolExecutor) -> None:
    df = [str(number) for number in range(30_000)]
    futures: list[Any] = []
    (said,) = told(lambda: futures.append(low.submit(lambda: len(df))), 20)
    assert said.startswith("`<lambda>` closes over `df` (0 MB), and was pickled ")
    assert {future.result() for future in futures} == {30_000}


@pytest.mark.parametrize("how", ["map", "chunks", "app", "bash app", "sandbox"])
def test_however_it_is_called(low: ParslPoolExecutor, how: str, tmp_path: Any) -> None:
    def nothing(data: Any) -> str:
        return "true"

    calls: dict[str, Callable[[], Any]] = {
        "map": lambda: list(low.map(size_of, [BIG] * 20)),
        "chunks": lambda: list(low.map(size_of, [BIG] * 20, chunksize=1 + 1)),
        "app": lambda: [python_app(size_of, low, cache=True)(BIG, n).result() for n in range(20)],
        "bash app": lambda: [bash_app(nothing, low)(BIG).result() for _ in range(20)],
        "sandbox": lambda: [low.options(sandbox=tmp_path).submit(size_of, BIG, n).result() for n in range(20)],
    }
    (said,) = told(calls[how], 1)
    assert "is called with `data` (0 MB), and was sent " in said


def test_what_is_put_is_not_told_of(low: ParslPoolExecutor) -> None:
    thing = low.put(BIG)
    assert told(lambda: low.submit(size_of, thing).result(), 20) == []


def test_as_an_error_it_costs_one_call(low: ParslPoolExecutor) -> None:
    futures = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="called with `data`"):
            for _ in range(20):
                futures.append(low.submit(size_of, BIG))
        futures += [low.submit(size_of, BIG) for _ in range(5)]
    assert [future.result() for future in futures] == [200_000] * len(futures)
