"""What a script or a notebook defines goes to workers and comes back, and is unharmed by that."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.interchange import by_value
from tests import leaks
from tests.client.test_functions import script
from tests.eventually import eventually


@pytest.fixture(scope="module")
def pool() -> Iterator[ParslPoolExecutor]:
    with leaks.keeping("the module's pool"), ParslPoolExecutor(1) as pool:
        yield pool


COUNTED = """
rate = 1
class Counted:
    seen = 1
    def __init_subclass__(cls): Counted.seen += 1
    def told(self): return rate
    @property
    def doubled(self): return 2 * rate
class Below(Counted): pass
class Wrong(Exception):
    seen = 1
def again(what): return what
def wrong(): raise Wrong("no")
"""


@pytest.mark.parametrize("name", ["Counted", "Below"])
def test_a_class_is_not_changed_by_results_of_it(pool: ParslPoolExecutor, name: str) -> None:
    space = script(COUNTED)
    cls = space[name]
    made = pool.submit(cls)
    back = pool.submit(space["again"], [cls()])
    cls.seen, space["rate"] = 7, 3
    before = dict(vars(cls)), dict(vars(space["Counted"]))
    assert type(made.result()) is cls and type(back.result()[0]) is cls
    assert (dict(vars(cls)), dict(vars(space["Counted"]))) == before
    assert (cls.seen, made.result().told(), cls().doubled) == (7, 3, 6)


def test_a_class_is_not_changed_by_errors_of_it(pool: ParslPoolExecutor) -> None:
    space = script(COUNTED)
    failed = pool.submit(space["wrong"])
    wrong: Any = space["Wrong"]
    wrong.seen = 7
    assert isinstance(failed.exception(), wrong)
    assert wrong.seen == 7


def test_what_the_program_changes_in_a_class_is_seen_by_tasks(pool: ParslPoolExecutor) -> None:
    space = script("class C:\n    x = 1\ndef of(c): return type(c).x")
    one = space["C"]()
    assert pool.submit(space["of"], one).result() == 1
    assert type(pool.submit(space["C"]).result()) is space["C"]
    space["C"].x = 2
    assert pool.submit(space["of"], one).result() == 2


def test_a_class_of_a_task_can_be_passed_on_to_other_workers(pool: ParslPoolExecutor) -> None:
    def make() -> Any:
        class Local:
            __slots__ = ("x",)

            def __init__(self) -> None:
                self.x = 5

            def more(self) -> int:
                return self.x + 1

        return Local()

    with ParslPoolExecutor(1) as elsewhere:
        made = pool.submit(make)
        assert [one.submit(lambda local: local.more(), made).result() for one in (pool, elsewhere)] == [6, 6]
        assert [one.submit(lambda local: local.more(), made.result()).result() for one in (pool, elsewhere)] == [6, 6]
        assert made.result().more() == 6


def test_a_class_that_nobody_uses_any_more_is_forgotten(pool: ParslPoolExecutor) -> None:
    def make() -> Any:
        class Local: ...

        return Local()

    number = id(type(pool.submit(make).result()))
    eventually(lambda: (gc.collect(), number not in by_value._from_others)[1])
    assert number not in by_value._unfinished


SLOTS = [
    "__slots__ = ('x',)",
    "__slots__ = 'x'",
    "__slots__ = {'x': 'what it is'}",
    "__slots__ = ['x', '__dict__', '__weakref__']",
    "__slots__ = ('__x', 'x')\n    def hide(self): self.__x = 4",
]


@pytest.mark.parametrize("slots", SLOTS, ids=range(len(SLOTS)))
def test_objects_with_slots_come_back(pool: ParslPoolExecutor, slots: str) -> None:
    space = script(
        f"class C:\n    {slots}\n    def __init__(self): self.x = 3\n"
        "class Below(C):\n    __slots__ = ('y',)\n    def __init__(self): super().__init__(); self.y = 4\n"
        "class Free(C): pass\n"
        "def made(cls): one = cls(); getattr(one, 'hide', int)(); return one, hasattr(one, '__dict__')"
    )
    for name in ("C", "Below", "Free"):
        one, has_dict = pool.submit(space["made"], space[name]).result()
        assert type(one) is space[name] and one.x == 3
        assert has_dict == hasattr(one, "__dict__")


def test_slots_that_were_said_too_late_are_none(pool: ParslPoolExecutor) -> None:
    space = script("class C:\n    def __init__(self): self.x = 3\nC.__slots__ = ('x',)")
    assert pool.submit(space["C"]).result().x == 3


@pytest.mark.parametrize(
    "source",
    [
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass C: x: int = 3",
        "from dataclasses import dataclass\n@dataclass(slots=True, frozen=True)\nclass C: x: int = 3",
        "from typing import NamedTuple\nclass C(NamedTuple): x: int = 3",
        "from typing import Generic, TypeVar\nT = TypeVar('T')\n"
        "class C(Generic[T]):\n    __slots__ = ('x',)\n    def __init__(self): self.x = 3",
        "from abc import ABC\nclass C(ABC):\n    __slots__ = ('x',)\n    def __init__(self): self.x = 3",
        "class C(int):\n    __slots__ = ()\n    x = 3",
    ],
    ids=["dataclass", "frozen dataclass", "named tuple", "generic", "abstract", "integer"],
)
def test_classes_that_have_slots_for_other_reasons(pool: ParslPoolExecutor, source: str) -> None:
    space = script(source)
    one = pool.submit(space["C"]).result()
    assert type(one) is space["C"] and one.x == 3
    assert hasattr(one, "__dict__") == hasattr(space["C"](), "__dict__")


THINGS = {
    "a cached function": "@functools.lru_cache(maxsize=7)\ndef double(x): return 2 * x",
    "one that calls itself": "@functools.cache\ndef double(x): return x and 2 + double(x - 1)",
    "one that calls a cached one": "@functools.cache\ndef of(x): return 2 * x\ndef double(x): return of(x)",
    "a cached method": (
        "class C:\n    @functools.lru_cache\n    def of(self, x): return 2 * x\ndef double(x): return C().of(x)"
    ),
    "a cached property": (
        "class C:\n    @functools.cached_property\n    def factor(self): return 2\ndef double(x): return x * C().factor"
    ),
    "a function by type": (
        "@functools.singledispatch\ndef double(x): raise TypeError(x)\n"
        "@double.register\ndef _(x: int): return 2 * x\n@double.register\ndef _(x: list): return double(x[0])"
    ),
    "a method by type": (
        "class C:\n    @functools.singledispatchmethod\n    def of(self, x): raise TypeError(x)\n"
        "    @of.register\n    def _(self, x: int): return 2 * x\ndef double(x): return C().of(x)"
    ),
    "a new type": "Number = typing.NewType('Number', int)\ndef double(x: Number) -> Number: return Number(2 * x)",
    "parameters of types": "P = typing.ParamSpec('P')\ndef double(x: typing.Callable[P, int]) -> int: return 2 * x",
}


@pytest.mark.parametrize("source", THINGS.values(), ids=THINGS)
def test_what_pickle_sends_by_name_only(pool: ParslPoolExecutor, source: str) -> None:
    space = script(f"import functools, typing\n{source}")
    assert pool.submit(space["double"], 21).result() == 42
    assert list(pool.map(space["double"], range(4))) == [0, 2, 4, 6]
    assert pool.submit(lambda call: call(5), space["double"]).result() == 10


def test_a_cached_function_keeps_how_much_it_caches(pool: ParslPoolExecutor) -> None:
    space = script("import functools\n@functools.lru_cache(maxsize=7, typed=True)\ndef double(x): return 2 * x")
    assert pool.submit(lambda call: call.cache_parameters(), space["double"]).result() == {"maxsize": 7, "typed": True}
