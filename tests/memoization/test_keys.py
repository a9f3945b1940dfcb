"""Keys of calls: what makes two values, two functions and two calls the same."""

import copy
import functools
import subprocess
import sys
from collections import OrderedDict
from datetime import timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.errors import ConfigurationError, UnknownMemoType
from parsl_pool.memoization.keys import CallKey, explain_miss, id_for_memo, key_of_call
from tests.memoization.values import DIFFERENT, Below, Colour, Point, f

few = settings(max_examples=50, deadline=None)


def test_different_values_have_different_keys() -> None:
    keys: dict[bytes, Any] = {}
    for value in DIFFERENT:
        key = id_for_memo(value)
        assert key not in keys, f"{value!r} has the key of {keys[key]!r}"
        keys[key] = value


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(list(Colour))
    | st.datetimes(timezones=st.none() | st.just(timezone.utc))
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Point, st.integers(), inner)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=4)
        | st.sets(st.integers() | st.text(max_size=3), max_size=4)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A value that is equal to another's if and only if the two are the same to the last bit and type."""
    if isinstance(value, dict):
        return "dict", frozenset((exact(key), exact(part)) for key, part in value.items())
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, frozenset(map(exact, value))
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(map(exact, value))
    if isinstance(value, Point):
        return "Point", exact(value.x), exact(value.y)
    return type(value).__name__, repr(value)


@few
@given(VALUES, VALUES)
def test_keys_are_equal_if_and_only_if_the_values_are_the_same(one: Any, two: Any) -> None:
    assert (id_for_memo(one) == id_for_memo(two)) == (exact(one) == exact(two))


@few
@given(st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=4))
def test_no_two_sequences_run_into_the_same_bytes(one: list[Any], two: list[Any]) -> None:
    joined = [b"".join(map(id_for_memo, values)) for values in (one, two)]
    assert (joined[0] == joined[1]) == (exact(one) == exact(two))


@few
@given(st.dictionaries(st.integers() | st.text(max_size=3), VALUES, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_a_dict_and_of_a_set_does_not_count(value: dict[Any, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert id_for_memo(dict(items)) == id_for_memo(value)
    assert id_for_memo({key for key, _ in items}) == id_for_memo(set(value))


@few
@given(VALUES)
def test_a_copy_has_the_same_key(value: Any) -> None:
    assert id_for_memo(copy.deepcopy(value)) == id_for_memo(value)


# ---- what is refused


class Model:
    pass


class Words(list[str]):
    pass


@pytest.mark.parametrize(
    "value, path, type_name",
    [
        (Model(), "", "Model"),
        ([1, {"a": Point(1, (Model(),))}], "[1]['a'].y[0]", "Model"),
        ({1: 2, "k": Model()}, "['k']", "Model"),
        (Words(), "", "Words"),
        (OrderedDict(), "", "collections.OrderedDict"),
        (Below(1), "", "Below"),
        (functools.partial(f, Model()), "the bound argument 0", "Model"),
        (functools.partial(f, y=[Model()]), "the bound argument y, [0]", "Model"),
    ],
)
def test_an_unknown_type_is_told_with_the_way_to_it(value: Any, path: str, type_name: str) -> None:
    with pytest.raises(UnknownMemoType) as caught:
        key_of_call(f, (1, value), {})
    error = caught.value
    assert (error.where, error.path) == ("argument y of f", path)
    assert error.type_name.endswith(type_name)
    assert isinstance(error, TypeError)
    text = str(error)
    assert text.startswith("unknown type for memoization: argument y of f") and "id_for_memo.register(" in text


def test_a_value_that_contains_itself_is_told_of() -> None:
    value: list[Any] = [1]
    value.append({"me": value})
    with pytest.raises(UnknownMemoType, match=r"\[1\]\['me'\] is a list, which contains itself"):
        id_for_memo(value)


def test_a_value_that_stands_twice_in_another_is_no_cycle() -> None:
    inner = [1]
    assert id_for_memo([inner, inner]) == id_for_memo([[1], [1]])


def test_extreme_depth_is_told_of_in_few_words() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UnknownMemoType, match="nested more than") as caught:
        id_for_memo(value)
    assert len(str(caught.value)) < 500
    while value:  # it would overflow the interpreter's stack to free it at once
        value = value[0]


# ---- calls


@pytest.mark.parametrize(
    "args, kwargs",
    [((1,), {}), ((1, 2), {}), ((1,), {"y": 2}), ((), {"y": 2, "x": 1}), ((1, 2), {"z": 3})],
)
def test_the_same_call_written_otherwise_is_the_same_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert key_of_call(f, args, kwargs) == key_of_call(f, (1,), {})


@pytest.mark.parametrize(
    "args, kwargs",
    [((2,), {}), ((1, 3), {}), ((1, 2, 3), {}), ((1,), {"z": 4}), ((1,), {"w": 1}), ((True,), {}), ((1.0,), {}),
     ((), {}), ((1,), {"x": 1}), ((1, 2, ()), {})],
)  # fmt: skip
def test_another_call_is_another_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert key_of_call(f, args, kwargs) != key_of_call(f, (1,), {})


def test_a_builtin_without_a_signature_is_taken_as_it_is_called() -> None:
    assert key_of_call(max, (1, 2), {}) == key_of_call(max, (1, 2), {})
    assert key_of_call(max, (1, 2), {}) != key_of_call(max, (2, 1), {})
    assert key_of_call(max, (1, 2), {}) != key_of_call(min, (1, 2), {})


def test_ignored_arguments_do_not_count() -> None:
    assert key_of_call(f, (1, 2), {}, ["y"]) == key_of_call(f, (1,), {"y": Model()}, ["y"])
    assert key_of_call(f, (1,), {"w": 1}, ["w"]) == key_of_call(f, (1,), {"w": 2}, ["w"])
    assert key_of_call(f, (1,), {"w": 1}, ["w"]) == key_of_call(f, (1,), {}, ["w"])
    assert key_of_call(f, (1, 2, 3), {}, ["rest"]) == key_of_call(f, (1, 2), {}, ["rest"])
    assert key_of_call(f, (1,), {"a": 3, "b": 3}, ["more"]) == key_of_call(f, (1,), {}, ["more"])


def g(x: int, verbose: bool = False) -> int:
    return x


def test_ignoring_what_the_function_does_not_take_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="'verbos', which .*g does not take: its arguments are x, verbose"):
        key_of_call(g, (1,), {}, ["verbos"])


def test_how_a_call_runs_does_not_count() -> None:
    plain = key_of_call(f, (1,), {})
    assert key_of_call(f, (1,), {"walltime": 3, "parsl_resource_specification": {"cores": 1}, "label": "a"}) == plain
    assert key_of_call(f, (1,), {"walltime": 3}, special=()) != plain


def test_a_label_that_is_the_function_s_own_argument_counts() -> None:
    def plot(x: int, label: str) -> None: ...

    assert key_of_call(plot, (1, "a"), {}) != key_of_call(plot, (1, "b"), {})


def test_automatic_log_names_do_not_count_and_given_ones_do() -> None:
    plain = key_of_call(f, (1,), {})
    assert key_of_call(f, (1,), {"stdout": -1, "stderr": -1}) == plain
    assert key_of_call(f, (1,), {"stdout": "a"}) != plain
    assert key_of_call(f, (1,), {"stdout": "a"}) != key_of_call(f, (1,), {"stdout": "b"})


# ---- what users register


class Registered:
    def __init__(self, name: str) -> None:
        self.name, self.asked = name, []  # type: ignore[var-annotated]


@id_for_memo.register(Registered)
def _(obj: Registered, output_ref: bool = False) -> bytes:
    obj.asked.append(output_ref)
    return obj.name.encode()


class Derived(Registered):
    pass


def test_a_registered_type_is_known_and_so_are_its_subclasses() -> None:
    assert id_for_memo([Registered("a")]) == id_for_memo([Registered("a")]) != id_for_memo([Registered("b")])
    assert id_for_memo([Derived("a")]) != id_for_memo([Registered("a")])
    assert id_for_memo([Registered("a")]) != id_for_memo([b"a"])


def test_outputs_are_asked_for_as_outputs() -> None:
    value = Registered("a")
    key_of_call(f, (value,), {"outputs": [value]})
    assert value.asked == [False, True]


def test_a_registered_function_that_gives_no_bytes_is_told_of() -> None:
    class Wrong:
        pass

    id_for_memo.register(Wrong, lambda obj, output_ref=False: "text")  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="Wrong, must return bytes, not str"):
        id_for_memo([Wrong()])


def test_what_a_registered_function_raises_comes_out() -> None:
    class Broken:
        pass

    def fail(obj: Broken, output_ref: bool = False) -> bytes:
        raise ZeroDivisionError("in the key function")

    id_for_memo.register(Broken, fail)
    with pytest.raises(ZeroDivisionError, match="in the key function"):
        key_of_call(f, ([Broken()],), {})


# ---- from process to process

def test_keys_are_the_same_in_another_process() -> None:
    root = str(Path(__file__).parents[2])
    outputs = {
        subprocess.check_output(
            [sys.executable, "-B", "-m", "tests.memoization.values"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": root}, cwd=root,
        )
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1 and len(outputs.pop()) > 1000


# ---- why there was no hit


def explained(fn: Any, *args: Any, earlier: list[CallKey], **kwargs: Any) -> str:
    return explain_miss(key_of_call(fn, args, kwargs), earlier)


def test_the_nearest_earlier_call_is_explained() -> None:
    earlier = [key_of_call(f, (5, 6), {}), key_of_call(f, (1, 9), {}), key_of_call(g, (1,), {})]
    assert explained(f, 1, earlier=earlier).endswith("f differs in argument y")
    assert "argument x, and in argument y" in explained(f, 7, 8, earlier=earlier)
    assert "argument more[w], which only this call has" in explained(f, 5, 6, w=1, earlier=earlier)
    assert "is known already" in explained(f, 1, 9, earlier=earlier)
    assert "there is no earlier call of" in explained(len, "a", earlier=earlier)


def test_a_function_that_changed_is_explained() -> None:
    def make(n: int) -> Any:
        def fit(x: int, y: int = n) -> int:
            return x + n

        return fit

    earlier = [key_of_call(make(1), (1,), {"y": 2})]
    text = explained(make(2), 1, y=2, earlier=earlier)
    assert "the default of y, and in the variable n, over which it closes" in text
