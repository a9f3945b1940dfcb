import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from parsl_pool.errors import SerializationError
from parsl_pool.interchange import serialize
from parsl_pool.interchange.diagnose import unpicklable_part

LOCK = threading.Lock()


class Model:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    def fit(self) -> None: ...


class Slotted:
    __slots__ = ("lock", "other")


@dataclass
class Data:
    name: str
    thing: Any


class ReprRaises:
    """As the key of a dict it would have to be shown in the path."""

    def __repr__(self) -> str:
        raise ValueError("no repr")


class PropertyRaises:
    def __init__(self) -> None:
        self.lock = LOCK

    @property
    def other(self) -> int:
        raise ValueError("no property")


def slotted() -> Slotted:
    thing = Slotted()
    thing.lock = LOCK  # type: ignore[attr-defined]  # a slot without a type
    return thing


def closure(variable: Any) -> Any:
    return lambda: variable


def path_of(value: Any) -> str:
    """What the error of somebody who submits this would name."""
    with pytest.raises(SerializationError) as caught:
        serialize.dump_value(value, "")
    return caught.value.path


@pytest.mark.parametrize(
    "value, path",
    [
        (LOCK, ""),
        ([1, LOCK], "[1]"),
        ((1, [2, LOCK]), "[1][1]"),
        ({"model": LOCK}, "['model']"),
        ({"a": {"b": [LOCK]}}, "['a']['b'][0]"),
        (Model(lock=LOCK), ".lock"),
        (Model(fine=1, layers=[Model(), Model(weights={"lock": LOCK})]), ".layers[1].weights['lock']"),
        (slotted(), ".lock"),
        (Data("name", [LOCK]), ".thing[0]"),
        (Model(lock=LOCK).fit, ".__self__.lock"),
        (closure(LOCK), " variable 'variable'"),
        (closure([LOCK]), " variable 'variable'[0]"),
        (PropertyRaises(), ".lock"),
        ([Model(), Model(gen=(x for x in range(0)))], "[1].gen"),
        ([open, Model(file=None), [[[[[LOCK]]]]]], "[2][0][0][0][0][0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_path_leads_to_the_part_that_is_to_blame(value: Any, path: str) -> None:
    assert path_of(value) == path


def test_a_set_and_a_key_are_named() -> None:
    class Hashable:
        def __reduce__(self) -> Any:
            raise ValueError("not me")

        def __repr__(self) -> str:
            return "<thing>"

    assert path_of({Hashable()}) == " element <thing>"
    assert path_of({Hashable(): 1}) == " key <thing>"


def test_the_reason_is_what_pickle_says_and_what_the_part_is() -> None:
    _, reason = unpicklable_part([1, LOCK], TypeError("what pickle said"))
    assert reason.startswith("TypeError: cannot pickle '_thread.lock'") and reason.endswith("(it is a lock)")
    path, reason = unpicklable_part(LOCK, TypeError("what pickle said"))
    assert (path, reason) == ("", "TypeError: what pickle said (it is a lock)")


async def waits() -> None: ...


def iter_over(items: list[int]) -> Iterator[int]:
    yield from items


def test_what_only_its_own_process_can_go_on_with_gets_advice() -> None:
    coroutine = waits()
    for thing, advice in (iter_over([]), "a list of its items"), (coroutine, "asyncio.run"):
        for value in thing, [thing]:
            _, reason = unpicklable_part(value, TypeError("what pickle said"))
            assert advice in reason
    coroutine.close()


def test_a_hostile_repr_does_not_hide_the_error() -> None:
    path = path_of({ReprRaises(): 1, "key": LOCK})
    assert path in ("", "['key']")


def test_an_error_that_cannot_be_shown_is_named() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    class Bad:
        def __reduce__(self) -> Any:
            raise Silent

    with pytest.raises(SerializationError, match="Silent"):
        serialize.dump_value(Bad(), "it")


def test_a_circle_is_walked_once() -> None:
    inner: list[Any] = []
    inner.append(inner)
    inner.append(LOCK)
    assert path_of([inner]) == "[0][1]"


def test_a_value_that_is_nested_too_deeply_is_an_error_like_others() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    try:
        with pytest.raises(SerializationError, match=r"[Rr]ecursion|deep"):
            serialize.dump_value(value, "it")
    finally:
        while isinstance(value, list):  # else its end recurses as deeply
            value = value.pop()


def test_a_large_value_is_not_searched_for_ever() -> None:
    tries = 0

    class Counts:
        def __reduce__(self) -> Any:
            nonlocal tries
            tries += 1
            return int, ()

    value = [Counts() for _ in range(5000)]
    path, _ = unpicklable_part([*value, LOCK], pickle.PicklingError("why"))
    assert path in ("", "[5000]") and tries < 30_000


def test_a_future_that_is_hidden_in_a_function_is_explained() -> None:
    from concurrent.futures import Future

    with pytest.raises(SerializationError, match="give it to submit") as caught:
        serialize.dump_value(closure(Future()), "it")
    assert caught.value.path == " variable 'variable'"
