"""What makes two functions the same one."""

import functools
import gc
import linecache
import operator
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest

from parsl_pool.errors import UnknownMemoType
from parsl_pool.memoization.keys import function_identity, id_for_memo, key_of_call


def defined(source: str, file: str = "<cell 1>", **names: Any) -> Any:
    """The function `f` of a script or a cell, as Python makes it there."""
    space: dict[str, Any] = {"__name__": "__main__", **names}
    exec(compile(textwrap.dedent(source), file, "exec"), space)
    return space["f"]


SOURCE = """
def f(x, y=2):
    "The docstring."
    z = [i for i in range(x) if i in {1, 2, 3, "a"}]
    return helper(lambda: z), 1.5
"""


def test_a_function_that_is_defined_again_is_the_same() -> None:
    identity = function_identity(defined(SOURCE))
    assert identity == function_identity(defined(SOURCE))
    assert identity == function_identity(defined("\n\n# moved\nimport os\n" + SOURCE, "/elsewhere/script.py"))
    assert len(identity) == 32


@pytest.mark.parametrize(
    "body",
    [
        "class A:\n    x = 5\n    def g(self): return __class__\n  return A",
        "@print\n  class A:\n    class B: pass\n  return A",
        "try:\n    with x as y: pass\n  except ValueError: raise\n  finally: print(1)",
        "assert x, 'no'\n  return [lambda: i for i in x]",
        "match x:\n    case [1, *rest]: return rest",
        "import os.path as p\n  global q\n  del q",
    ],
)
def test_where_it_stands_does_not_count_whatever_is_in_it(body: str) -> None:
    source = f"def f(x):\n  {body}\n"
    assert function_identity(defined(source)) == function_identity(defined("\n\n\n" + source))


def test_what_a_class_in_a_function_holds_counts() -> None:
    sources = [f"def f():\n  class A:\n    x = {x}\n  return A" for x in (1, 2, 3)]
    assert len({function_identity(defined(source)) for source in sources}) == 3


def test_what_it_calls_does_not_count() -> None:
    one, two = defined(SOURCE, helper=len), defined(SOURCE, helper=print)
    assert function_identity(one) == function_identity(two)


@pytest.mark.parametrize(
    "change",
    [
        ("y=2", "y=3"),
        ("y=2", "w=2"),
        ("y=2", "*, y=2"),
        ("x, y", "x, /, y"),
        ("The docstring.", "Another."),
        ("1.5", "1.25"),
        ("1.5", "True"),
        ("in {1", "in {7"),
        ("in {", "not in {"),
        ("helper", "other"),
        ("lambda: z", "lambda: x"),
        ("def f", "async def f"),
        ("return", "yield"),
    ],
    ids=lambda change: f"{change[0]} -> {change[1]}",
)
def test_every_change_of_the_code_counts(change: tuple[str, str]) -> None:
    changed = SOURCE.replace(*change)
    assert changed != SOURCE
    assert function_identity(defined(changed)) != function_identity(defined(SOURCE))


def test_constants_that_are_equal_and_not_the_same_count() -> None:
    identities = {function_identity(defined(f"def f(): return {text}")) for text in ("1", "1.0", "True", "0.0", "-0.0")}
    assert len(identities) == 5


def test_a_default_that_changes_in_place_counts() -> None:
    def f(x: int, seen: list[int] = []) -> int:  # noqa: B006  # that is what is tested
        seen.append(x)
        return len(seen)

    before = function_identity(f)
    f(1)
    assert function_identity(f) != before


def test_replaced_defaults_and_code_count_at_once() -> None:
    def f(x: int, y: int = 1, *, z: int = 2) -> int:
        return x

    def other(x: int, y: int = 1, *, z: int = 2) -> int:
        return y

    seen = [key_of_call(f, (1, 1), {"z": 2})]
    f.__defaults__ = (5,)
    seen.append(key_of_call(f, (1, 1), {"z": 2}))
    f.__kwdefaults__ = {"z": 9}
    seen.append(key_of_call(f, (1, 1), {"z": 2}))
    f.__code__ = other.__code__
    seen.append(key_of_call(f, (1, 1), {"z": 2}))
    assert len(set(seen)) == 4


def closing_over(value: Any) -> Callable[[], Any]:
    return lambda: value


def test_the_values_that_it_closes_over_count() -> None:
    assert function_identity(closing_over([1])) == function_identity(closing_over([1]))
    assert function_identity(closing_over([1])) != function_identity(closing_over([2]))
    changing = [1]
    f = closing_over(changing)
    before = function_identity(f)
    changing.append(2)
    assert function_identity(f) != before


def test_an_unknown_value_that_it_closes_over_is_told_of() -> None:
    with pytest.raises(UnknownMemoType, match=r"<lambda>: the variable value, over which it closes, \[1\] is a object"):
        function_identity(closing_over([1, object()]))


def test_a_variable_without_a_value_is_no_error() -> None:
    def f() -> Any:
        return late

    identity = function_identity(f)
    late = 1
    assert function_identity(f) != identity


def test_functions_that_call_themselves_and_each_other_have_identities() -> None:
    def make(n: int) -> Any:
        def even(x: int) -> bool:
            return x == 0 or odd(x - n)

        def odd(x: int) -> bool:
            return x != 0 and even(x - n)

        return even

    assert function_identity(make(1)) == function_identity(make(1))
    assert function_identity(make(1)) != function_identity(make(2))


def doubled(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return 2 * fn(*args, **kwargs)

    return wrapper


def test_a_decorated_function_is_the_decorator_s_and_its_own_code() -> None:
    one, two = defined("def f(x, y=1): return x"), defined("def f(x, y=1): return y")
    same = doubled(defined("def f(x, y=1): return x"))
    assert function_identity(doubled(one)) == function_identity(same)
    assert len({function_identity(fn) for fn in (one, two, doubled(one), doubled(two))}) == 4
    assert key_of_call(doubled(one), (1, 2), {}) == key_of_call(doubled(one), (1,), {"y": 2})


def test_what_a_wrapper_does_with_left_out_arguments_is_not_guessed() -> None:
    fn = doubled(defined("def f(x, y=1): return x"))
    assert key_of_call(fn, (1,), {}) != key_of_call(fn, (1, 1), {})


def test_a_cached_function_is_the_function_in_it() -> None:
    one, two = (functools.lru_cache(defined(f"def f(x): return {n}")) for n in (1, 2))
    assert function_identity(one) == function_identity(functools.lru_cache(defined("def f(x): return 1")))
    assert function_identity(one) != function_identity(two)


def test_a_function_without_source_has_an_identity() -> None:
    made = FunctionType(compile("x + 1", "<nowhere>", "eval"), {"x": 1})
    assert function_identity(made) == function_identity(FunctionType(made.__code__, {}))
    assert not linecache.getlines("<nowhere>")


def test_builtin_functions_go_by_name() -> None:
    assert function_identity(len) == function_identity(len)
    assert len({function_identity(fn) for fn in (len, max, str.upper, str.lower, operator.add, int, float)}) == 7


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def apply(self, x: int) -> int:
        return x * self.factor

    def __call__(self, x: int) -> int:
        return x + self.factor


@id_for_memo.register(Scale)
def _(obj: Scale, output_ref: bool = False) -> bytes:
    return b"%d" % obj.factor


def test_a_method_is_its_function_and_its_object() -> None:
    assert function_identity(Scale(1).apply) == function_identity(Scale(1).apply)
    assert function_identity(Scale(1).apply) != function_identity(Scale(2).apply)
    assert dict(key_of_call(Scale(1).apply, (1,), {}).parts).keys() == {"@code", "self", "x"}


def test_an_object_that_is_called_is_the_code_of_its_call_and_itself() -> None:
    assert function_identity(Scale(1)) == function_identity(Scale(1))
    assert function_identity(Scale(1)) != function_identity(Scale(2))
    assert function_identity(Scale(1)) != function_identity(Scale(1).apply)


def test_an_object_of_an_unknown_type_is_told_of_when_it_is_called_or_its_method_is() -> None:
    class Model:
        def fit(self) -> None: ...

        def __call__(self) -> None: ...

    for fn in (Model().fit, Model()):
        with pytest.raises(UnknownMemoType, match="self is a .*Model"):
            key_of_call(fn, (), {})


def test_a_class_is_the_code_of_its_methods_and_its_plain_attributes() -> None:
    source = "class f:\n  n = 1\n  def __init__(self, x): self.x = x\n  @property\n  def y(self): return 2\n"
    identity = function_identity(defined(source))
    assert identity == function_identity(defined("\n\n" + source, "<cell 2>"))
    for old, new in (("n = 1", "n = 2"), ("self.x = x", "self.x = 0"), ("return 2", "return 3")):
        assert function_identity(defined(source.replace(old, new))) != identity


def test_partials_are_the_function_and_what_is_bound() -> None:
    f = defined("def f(x, y=1): return x")
    made = [functools.partial(f), functools.partial(f, 1), functools.partial(f, y=1), functools.partial(f, y=2)]
    assert len({function_identity(fn) for fn in made}) == 4
    assert function_identity(made[3]) == function_identity(functools.partial(defined("def f(x, y=1): return x"), y=2))


def test_the_module_counts_and_the_main_module_has_one_name() -> None:
    source = "def f(): return helper()"
    assert function_identity(defined(source)) != function_identity(defined(source, __name__="stats"))
    assert function_identity(defined(source)) == function_identity(defined(source, __name__="__mp_main__"))


def test_what_is_remembered_goes_with_the_function() -> None:
    from parsl_pool.memoization.functions import _CODES
    from parsl_pool.memoization.keys import _CACHE

    def sizes() -> tuple[int, int]:
        return len(_CACHE._known), len(_CODES._known)

    gc.collect()  # a function and its globals are a circle
    before = sizes()
    for number in range(100):
        key_of_call(defined(f"def f(x): return {number}, lambda: {number}"), (1,), {})
    gc.collect()
    assert sizes() == before


def test_a_module_is_its_name() -> None:
    assert id_for_memo(ModuleType("a")) == id_for_memo(ModuleType("a")) != id_for_memo(ModuleType("b"))
