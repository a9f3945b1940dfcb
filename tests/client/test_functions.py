import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, cast

import cloudpickle
import pytest

from parsl_pool.errors import SerializationError
from parsl_pool.executors.high_throughput import functions as functions_module
from parsl_pool.executors.high_throughput.functions import Functions
from parsl_pool.interchange import serialize
from tests.client import functions_to_send as sent
from tests.client.functions_to_send import Adder, counting, double

ROOT = Path(__file__).parents[2]


class Sender:
    """The functions of one pool, what was sent on its way, and a worker that has it all."""

    def __init__(self) -> None:
        self.defined: list[tuple[int, bytes]] = []
        self.functions = Functions(lambda number, data: self.defined.append((number, data)))
        self._opened: dict[int, Any] = {}

    def number_of(self, function: Callable[..., Any]) -> int:
        """As `submit` finds it: those that never change are looked up first."""
        kinds = (FunctionType, BuiltinFunctionType, type)
        known = self.functions.fixed.get(function) if type(function) in kinds else None
        return self.functions.number_of(function) if known is None else known

    def is_reused(self, number: int) -> bool:
        return dict(self.defined)[number][:1] == serialize.REUSE

    def call(self, number: int, *args: Any) -> Any:
        """As a worker does it."""
        function = self._opened.get(number)
        if function is None:
            function = serialize.load_function(memoryview(dict(self.defined)[number])[1:])
            if self.is_reused(number):
                self._opened[number] = function
        return function(*args)


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def pickled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whatever is pickled, by any way."""
    seen: list[Any] = []
    by_reference, by_value = pickle.dumps, serialize.dump_by_value

    def dumps(thing: Any, protocol: int) -> bytes:
        seen.append(thing)
        return bytes(by_reference(thing, protocol))

    def dump_by_value(thing: Any, *rest: Any) -> bytes:
        seen.append(thing)
        return by_value(thing, *rest)

    monkeypatch.setattr(functions_module, "dumps", dumps)
    monkeypatch.setattr(serialize, "dump_by_value", dump_by_value)
    return seen


def script(source: str, **names: Any) -> dict[str, Any]:
    """The names of a program: `__main__`, as far as pickle can tell."""
    space: dict[str, Any] = {"__name__": "__main__", **names}
    exec(source, space)
    return space


# ---- by reference


@pytest.mark.parametrize("function", [double, len, math.sqrt, str, Adder, Adder.three])
def test_what_can_be_imported_is_pickled_once_and_goes_by_its_name(
    function: Callable[..., Any], sender: Sender, pickled: list[Any]
) -> None:
    number = sender.number_of(function)
    assert sender.number_of(function) == number and sender.functions.fixed[function] == number
    assert len(sender.defined) == 1 and len(sender.defined[0][1]) < 200
    assert sender.is_reused(number)
    assert serialize.load_function(sender.defined[0][1][1:]) is function


def test_different_functions_have_different_numbers(sender: Sender) -> None:
    numbers = [sender.number_of(function) for function in (double, len, str, lambda: 1, lambda: 2)]
    assert len(set(numbers)) == len(sender.defined) == 5


def test_a_function_that_was_replaced_in_its_module_goes_by_value_or_keeps_its_meaning(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name leads to another one now."""
    old = FunctionType(double.__code__, vars(sent), "double")
    old.__qualname__, old.__module__ = "double", sent.__name__
    monkeypatch.setattr(sent, "double", lambda x: 3 * x)
    assert sender.call(sender.number_of(old), 5) == 10


# ---- by value


def test_a_lambda_is_pickled_once(sender: Sender, pickled: list[Any]) -> None:
    function = lambda x: x + 1  # noqa: E731  # that is what is tested
    number = sender.number_of(function)
    pickled.clear()
    assert sender.number_of(function) == number and not pickled
    assert len(sender.defined) == 1 and sender.is_reused(number) and sender.call(number, 1) == 2


def test_functions_that_are_the_same_byte_for_byte_share_a_number(sender: Sender) -> None:
    def make() -> Callable[[int], int]:
        return lambda x: x + 1

    assert sender.number_of(make()) == sender.number_of(make())


def closure(variable: Any) -> Callable[[], Any]:
    return lambda: variable


@pytest.mark.parametrize("variable", [1, 1.5, "text", b"bytes", None, True, (1, ("x",)), math, len, double, Adder])
def test_a_closure_over_what_cannot_change_is_pickled_once(variable: Any, sender: Sender, pickled: list[Any]) -> None:
    function = closure(variable)
    number = sender.number_of(function)
    before = len(pickled)
    assert sender.number_of(function) == number and len(pickled) == before
    assert sender.is_reused(number) and sender.call(number) == variable


class Text(str):
    """Equal to its text, but may have attributes."""


@pytest.mark.parametrize("variable", [[1], {"a": 1}, {1}, ([1],), bytearray(b"x"), Adder(3), Text("x"), [1].append])
def test_a_closure_over_what_may_change_is_opened_for_each_task(variable: Any, sender: Sender) -> None:
    number = sender.number_of(closure(variable))
    assert not sender.is_reused(number)


def test_what_a_closure_holds_is_that_of_the_moment_of_submission(sender: Sender) -> None:
    variable = [1]
    function = closure(variable)
    first = sender.number_of(function)
    assert sender.number_of(function) == first
    variable.append(2)
    second = sender.number_of(function)
    assert (sender.call(first), sender.call(second)) == ([1], [1, 2])


def test_no_state_leaks_from_call_to_call(sender: Sender) -> None:
    seen: list[int] = []

    def remember(x: int) -> int:
        seen.append(x)
        return len(seen)

    number = sender.number_of(remember)
    assert [sender.call(number, x) for x in range(3)] == [1, 1, 1]


def test_a_variable_that_is_bound_again_is_seen(sender: Sender) -> None:
    variable = 1

    def function() -> int:
        return variable

    first = sender.number_of(function)
    variable = 2
    assert (sender.call(first), sender.call(sender.number_of(function))) == (1, 2)


def test_a_variable_that_is_not_bound_yet_is_no_obstacle(sender: Sender) -> None:
    def function() -> int:
        return variable

    first = sender.number_of(function)
    variable = 2
    assert sender.call(sender.number_of(function)) == 2
    with pytest.raises(NameError):
        sender.call(first)


@pytest.mark.parametrize("how", ["default", "keyword default", "attribute"])
def test_what_hangs_on_a_function_is_seen_when_it_changes(how: str, sender: Sender) -> None:
    def function(x: Any = 1, *, y: Any = 1) -> Any:
        return x, y, getattr(function, "z", 1)

    first = sender.number_of(function)
    if how == "default":
        function.__defaults__ = (2,)
    elif how == "keyword default":
        function.__kwdefaults__ = {"y": 2}
    else:
        function.z = 2  # type: ignore[attr-defined]
    expected = {"default": (2, 1, 1), "keyword default": (1, 2, 1), "attribute": (1, 1, 2)}[how]
    assert sender.call(first) == (1, 1, 1) and sender.call(sender.number_of(function)) == expected


def test_a_wrapper_with_state_of_its_own_has_none_that_leaks(sender: Sender) -> None:
    """It carries the name of what it wraps, which can be imported; but it is not what that name leads to."""
    wrapped = counting(double)

    def function(x: int) -> Any:
        return wrapped(x)

    number = sender.number_of(function)
    assert [sender.call(number, 1) for _ in range(3)] == [(2, 1)] * 3


# ---- functions of the program itself


def test_a_function_of_the_program_goes_by_value(sender: Sender) -> None:
    space = script("def f(x): return x * factor\nfactor = 2")
    number = sender.number_of(space["f"])
    assert sender.call(number, 4) == 8 and space["f"] not in sender.functions.fixed


@pytest.mark.parametrize("before, after", [(1, 2), ([1], [2]), (double, len)], ids=["number", "list", "function"])
def test_globals_that_change_are_seen(before: Any, after: Any, sender: Sender) -> None:
    space = script("def f(): return thing", thing=before)
    first = sender.number_of(space["f"])
    assert sender.number_of(space["f"]) == first
    space["thing"] = after
    second = sender.number_of(space["f"])
    assert (sender.call(first), sender.call(second)) == (before, after)


def test_globals_that_change_inside_are_seen(sender: Sender) -> None:
    space = script("def f(): return things", things=[1])
    sender.number_of(space["f"])
    space["things"].append(2)
    assert sender.call(sender.number_of(space["f"])) == [1, 2]


def test_globals_of_nested_functions_are_seen(sender: Sender) -> None:
    space = script("def f(): return [(lambda: thing)() for _ in range(1)]", thing=1)
    sender.number_of(space["f"])
    space["thing"] = 2
    assert sender.call(sender.number_of(space["f"])) == [2]


def test_a_function_that_is_called_by_another_is_seen_when_it_is_defined_again(sender: Sender) -> None:
    space = script("def g(): return 1\ndef f(): return g()")
    assert sender.call(sender.number_of(space["f"])) == 1
    exec("def g(): return 2", space)
    assert sender.call(sender.number_of(space["f"])) == 2


def test_a_function_that_is_defined_again_is_another(sender: Sender) -> None:
    """A cell of a notebook is run again."""
    space = script("def f(): return 1")
    first = sender.number_of(space["f"])
    exec("def f(): return 2", space)
    second = sender.number_of(space["f"])
    assert (sender.call(first), sender.call(second)) == (1, 2)
    exec("def f(): return 1", space)
    assert sender.call(sender.number_of(space["f"])) == 1


def test_a_class_of_the_program_is_seen_when_it_changes(sender: Sender) -> None:
    space = script("class C:\n    x = 1\ndef f(): return C.x")
    sender.number_of(space["f"])
    space["C"].x = 2
    assert sender.call(sender.number_of(space["f"])) == 2


@pytest.fixture
def by_value() -> Iterator[None]:
    cloudpickle.register_pickle_by_value(sent)
    yield
    cloudpickle.unregister_pickle_by_value(sent)


def test_a_module_can_be_registered_to_go_by_value(sender: Sender, by_value: None) -> None:
    number = sender.number_of(double)
    assert double not in sender.functions.fixed and len(dict(sender.defined)[number]) > 200
    assert sender.call(number, 4) == 8


def test_a_module_of_the_programs_own_making_is_seen_when_it_changes(sender: Sender) -> None:
    """It goes by value, since nobody else can import it."""
    module = ModuleType("made_up")
    module.x = 1  # type: ignore[attr-defined]
    function = closure(module)
    assert sender.call(sender.number_of(function)).x == 1
    module.x = 2  # type: ignore[attr-defined]
    assert sender.call(sender.number_of(function)).x == 2


# ---- callables that are no functions


@pytest.mark.parametrize(
    "call",
    [
        Adder(3),
        Adder(3).add,
        Adder.make,
        partial(pow, 2),
        partial(Adder(3).add),
        [1, 2].index,
        {"a": 1}.get,
    ],
    ids=["object", "method", "class method", "partial", "partial of method", "method of a list", "of a dict"],
)
def test_other_callables_are_opened_for_each_task(call: Callable[..., Any], sender: Sender) -> None:
    number = sender.number_of(call)
    assert not sender.is_reused(number)
    assert sender.number_of(call) == number and len(sender.defined) == 1
    assert not sender.functions.fixed


def test_an_object_is_that_of_the_moment_of_submission(sender: Sender) -> None:
    adder = Adder(1)
    numbers = [sender.number_of(adder.add), sender.number_of(adder)]
    adder.more = 10
    numbers += [sender.number_of(adder.add), sender.number_of(adder)]
    assert [sender.call(number, 1) for number in numbers] == [2, 2, 11, 11]


def test_a_method_of_a_builtin_object_is_that_of_the_moment_of_submission(sender: Sender) -> None:
    table = {"a": 1}
    first = sender.number_of(table.get)
    table["a"] = 2
    second = sender.number_of(table.get)
    assert (sender.call(first, "a"), sender.call(second, "a")) == (1, 2)


def test_a_method_of_a_builtin_object_keeps_no_state(sender: Sender) -> None:
    number = sender.number_of([1, 2, 3].pop)
    assert [sender.call(number) for _ in range(3)] == [3, 3, 3]


def test_what_cannot_be_pickled_is_named(sender: Sender) -> None:
    lock = threading.Lock()

    def uses_a_lock() -> Any:
        return lock

    with pytest.raises(SerializationError, match="uses_a_lock.* variable 'lock'"):
        sender.number_of(uses_a_lock)
    with pytest.raises(SerializationError, match="lock"):
        sender.number_of(partial(double, cast(Any, lock)))
    assert not sender.defined


# ---- numbers


def filled(sender: Sender, count: int) -> list[int]:
    return [sender.number_of(closure(f"function {number}")) for number in range(count)]


def test_forgotten_functions_are_those_that_nobody_uses(sender: Sender) -> None:
    fixed = sender.number_of(double)
    numbers = filled(sender, 10)
    gone = sender.functions.prune({numbers[2]})
    assert set(gone) == set(numbers) - {numbers[2], numbers[-1]}
    assert set(sender.functions.data) == {fixed, numbers[2], numbers[-1]}
    assert sender.functions.prune({numbers[2]}) == []


def test_a_forgotten_function_gets_a_new_number_and_is_sent_again(sender: Sender) -> None:
    kept = [closure(number) for number in range(5)]
    old = [sender.number_of(function) for function in kept]
    sender.functions.prune(set())
    new = [sender.number_of(function) for function in kept]
    assert not set(old[:-1]) & set(new), "a number is never given again"
    assert [sender.call(number) for number in new] == list(range(5))
    assert sorted(number for number, _ in sender.defined) == sorted({*old, *new})


def test_functions_are_full_by_their_number_or_by_their_size(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions_module, "_KEEP_COUNT", 20)
    filled(sender, 20)
    assert not sender.functions.is_full()
    filled(sender, 21)
    assert sender.functions.is_full()
    sender.functions.prune(set())
    monkeypatch.setattr(functions_module, "_KEEP_BYTES", 100_000)
    assert not sender.functions.is_full()
    for number in range(20):
        sender.number_of(closure(f"{number}" * 10_000))
    assert sender.functions.is_full()


def test_functions_in_use_do_not_keep_it_full(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a function must be let go with it, too."""
    monkeypatch.setattr(functions_module, "_KEEP_COUNT", 20)
    for _ in range(3):
        filled(sender, 60)
        sender.functions.prune(set())
        assert len(sender.functions.data) <= 2
        assert len(sender.functions._by_value) <= 21 and len(sender.functions._numbers) <= 2


def test_many_threads_agree_on_the_numbers(sender: Sender) -> None:
    functions = [closure(number) for number in range(50)]
    got: list[list[int]] = []
    barrier = threading.Barrier(6)

    def number_all() -> None:
        barrier.wait()
        got.append([sender.number_of(function) for function in functions])

    threads = [threading.Thread(target=number_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6 and all(numbers == got[0] for numbers in got)
    assert sorted(number for number, _ in sender.defined) == sorted(got[0])


RUN_BY_PATH = """
from dataclasses import dataclass
from parsl_pool import ParslPoolExecutor

@dataclass
class Pair:
    left: int
    right: int

def half(value):
    return value / 2

def halves(value):
    return half(value), Pair(1, 2).right

print(__name__)
with ParslPoolExecutor(1) as pool:
    print(pool.submit(halves, 4).result(), list(pool.map(half, [2, 6])), pool.submit(lambda: half(8)).result())
"""


def test_functions_of_a_program_that_runpy_runs_go_by_value(tmp_path: Path) -> None:
    """Its module has a name, by which nobody can import it."""
    path = tmp_path / "program.py"
    path.write_text(RUN_BY_PATH)
    command = [sys.executable, "-c", "import runpy, sys; runpy.run_path(sys.argv[1])", str(path)]
    said = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=50
    )
    assert said.stdout == "<run_path>\n(2.0, 2) [1.0, 3.0] 4.0\n", said.stderr


def test_the_function_of_an_app_goes_by_name_unless_it_was_decorated(sender: Sender) -> None:
    """Then its name leads to the app. So it has been with Parsl, too."""
    for app, by_name in (sent.decorated, False), (sent.doubled, True):
        number = sender.number_of(app.func)
        data = dict(sender.defined)[number]
        assert (b"functions_to_send" in data and len(data) < 100) is by_name
        assert sender.call(number, 4) == 8
        assert sender.number_of(app.func) == number and sender.is_reused(number)
