"""`@python_app`."""

import math
import os
import time
from collections.abc import Iterator
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import DataFuture, File, ParslPoolExecutor, python_app
from parsl_pool.apps import AppBase, PythonApp
from parsl_pool.errors import (
    AppTimeout,
    ConfigurationError,
    DependencyError,
    InvalidResourceSpecification,
    MissingOutputs,
    NoDataFlowKernelError,
)

pytestmark = pytest.mark.timeout(60)


@python_app
def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


@python_app()
def add(a: int, b: int = 0) -> int:
    return a + b


@python_app(executors="all", cache=False)
def join_up(*parts: Any, **named: Any) -> str:
    return "-".join(map(str, [*parts, *sorted(named.items())]))


@python_app
def write(text: str, outputs: Any = ()) -> int:
    for output in outputs:
        with open(output, "w") as file:
            file.write(text)
    return len(outputs)


@python_app
def read(inputs: Any = ()) -> str:
    return "+".join(Path(item).read_text() for item in inputs)


@python_app
def forgets(outputs: Any = ()) -> None:
    pass


@python_app
def sleep_for(seconds: float, walltime: float = 0.3) -> str:
    time.sleep(seconds)
    return "slept"


@python_app
def no_special_keywords() -> str:
    return "called"


class Model:
    factor = 5

    @python_app
    def times(self, x: int) -> int:
        return self.factor * x

    @classmethod
    @python_app
    def below_class(cls, x: int) -> int:
        return cls.factor + x

    @python_app
    @classmethod
    def above_class(cls, x: int) -> int:
        return cls.factor + x

    @staticmethod
    @python_app
    def below_static(x: int) -> int:
        return x

    @python_app
    @staticmethod
    def above_static(x: int) -> int:
        return x


def test_a_call_is_a_future_and_runs_elsewhere(pool: ParslPoolExecutor, kind: str) -> None:
    future = double(4)
    assert isinstance(future, parsl_pool.AppFuture)
    assert future.result() == 8
    here = python_app(os.getpid)().result() == os.getpid()
    assert here is (kind == "threads")


def test_futures_chain(pool: ParslPoolExecutor) -> None:
    assert add(double(1), b=double(add(1, 1))).result() == 6
    assert join_up([double(1), {"a": double(2)}], x=double(3)).result() == "[2, {'a': 4}]-('x', 6)"


def test_an_app_keeps_what_its_function_says_of_itself() -> None:
    assert isinstance(double, PythonApp) and isinstance(double, AppBase) and not double.join
    assert (double.__name__, double.__doc__, double.__module__) == ("double", "Twice as much.", __name__)
    assert double.func(4) == 8
    assert repr(double) == "<PythonApp double>"


def test_on_methods_of_classes(pool: ParslPoolExecutor) -> None:
    for name in ("below_class", "above_class", "below_static", "above_static"):
        calls = [getattr(Model, name)(1), getattr(Model(), name)(1)]
        assert [call.result() for call in calls] == [6 if "class" in name else 1] * 2


@python_app
def modest(x: int, parsl_resource_specification: Any = {"memory": 10}) -> Any:  # noqa: B006  # as its users write it
    return x, parsl_resource_specification


def test_a_resource_specification_is_checked_when_the_call_is_made(pool: ParslPoolExecutor) -> None:
    assert double(1, parsl_resource_specification={}).result() == 2
    if isinstance(next(iter(pool.executors.values())), parsl_pool.ThreadPoolExecutor):
        with pytest.raises(InvalidResourceSpecification, match="takes no resource_specification, got {'memory': 10}"):
            modest(1)
    else:
        assert double(1, parsl_resource_specification={"cores": 1, "priority": -1}).result() == 2
        assert modest(1).result() == (1, {"memory": 10})
        assert modest(1, parsl_resource_specification={"cores": 1}).result() == (1, {"cores": 1})
    with pytest.raises(InvalidResourceSpecification, match="there is no key 'Cores'; there are: cores, memory,"):
        double(1, parsl_resource_specification={"Cores": 1})
    with pytest.raises(TypeError, match="parsl_resource_specification must be a dict, or None, got 5"):
        double(1, parsl_resource_specification=5)


def test_on_methods_partials_and_library_functions(pool: ParslPoolExecutor) -> None:
    assert Model().times(3).result() == 15
    assert python_app(math.sqrt)(double(8)).result() == 4.0
    assert python_app(partial(math.pow, 2))(5).result() == 32.0
    hypot = partial(math.hypot, 3)
    update_wrapper(hypot, math.hypot)
    assert python_app(hypot)(4).result() == 5.0


def test_files_in_and_out(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    names = [File(tmp_path / "a"), File(tmp_path / "b")]
    written = write("text", outputs=names)
    assert [type(output) for output in written.outputs] == [DataFuture, DataFuture]
    assert [output.filename for output in written.outputs] == ["a", "b"]
    assert written.result() == 2
    assert written.outputs[1].result() == names[1]
    with open(written.outputs[0].result()) as file:
        assert file.read() == "text"
    assert read(inputs=written.outputs).result() == "text+text"
    assert read(inputs=[written.outputs[0], File(tmp_path / "b")]).result() == "text+text"


def test_a_missing_output_fails_the_task_and_its_file(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    future = forgets(outputs=[File(tmp_path / "never")])
    error = future.exception()
    assert isinstance(error, MissingOutputs)
    assert error.outputs == [str(tmp_path / "never")] and "forgets" in str(error) and "never" in str(error)
    assert isinstance(future.outputs[0].exception(), MissingOutputs)
    needs = read(inputs=[future.outputs[0]])
    assert isinstance(needs.exception(), DependencyError)


def test_the_walltime_of_the_signature_and_of_the_call(pool: ParslPoolExecutor, kind: str) -> None:
    if kind == "threads":
        pytest.skip("a thread cannot be stopped")
    begun = time.monotonic()
    assert isinstance(sleep_for(30).exception(), AppTimeout)
    assert time.monotonic() - begun < 20
    assert sleep_for(0.5, walltime=20).result() == "slept"


def test_special_arguments_count_by_position_too(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    """What the call says goes before the default."""
    assert sleep_for(0.7, 20).result() == "slept"
    future = write("text", [tmp_path / "a"])
    assert [output.result() for output in future.outputs] == [File(tmp_path / "a")] and future.result() == 1
    assert isinstance(forgets([tmp_path / "never"]).exception(), MissingOutputs)
    assert repr(sleep_for(0.1, 20, walltime=30).exception()).count("multiple values") == 1
    assert labelled(1, 5).result() == (1, 5)


@python_app
def labelled(number: int, label: int) -> tuple[int, int]:
    return number, label


def test_special_keywords_that_the_function_does_not_take_are_not_given_to_it(pool: ParslPoolExecutor) -> None:
    assert no_special_keywords(walltime=30).result() == "called"


def test_a_generator_function_is_refused_at_once() -> None:
    def items() -> Iterator[int]:
        yield 1

    async def later() -> None: ...

    with pytest.raises(ConfigurationError, match=r"items is a generator function .* return a list"):
        python_app(items)
    with pytest.raises(ConfigurationError, match="later is a coroutine function"):
        python_app(later)
    with pytest.raises(TypeError, match="an app is made of a function, got 5"):
        python_app(5)  # type: ignore[call-overload]  # that is the point


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"executors": 5}, "executors must be"),
        ({"executors": []}, "executors must be"),
        ({"cache": "yes"}, "cache must be True or False"),
        ({"ignore_for_cache": "x"}, "ignore_for_cache must be a list of argument names"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as raised:
        python_app(**options)(abs)
    assert str(raised.value).count("must be") == 1


def test_an_unknown_label_is_an_error_at_the_call(pool: ParslPoolExecutor) -> None:
    with pytest.raises(ConfigurationError, match="labels of this pool's, got 'gpu'; there are: "):
        python_app(executors=["gpu"])(abs)(-1)


def test_a_call_with_nothing_loaded() -> None:
    assert parsl_pool.session._loaded is None
    with pytest.raises(NoDataFlowKernelError, match=r"call parsl_pool.load\(\) first"):
        double(1)


def test_an_app_may_belong_to_a_pool() -> None:
    with ParslPoolExecutor(1) as own:
        assert python_app(data_flow_kernel=own)(abs)(-3).result() == 3
