import gc
import os
import threading
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pickle import PickleBuffer
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import SerializationError
from parsl_pool.executors.high_throughput.arguments import Dependent, dump_arguments, filled
from parsl_pool.executors.high_throughput.large_arguments import SharedPayload
from parsl_pool.executors.high_throughput.warm_memory import WarmMemory
from parsl_pool.futures import AppFuture
from parsl_pool.interchange import serialize
from parsl_pool.interchange.serialize import LARGE
from tests.client.functions_to_send import double

Kind = Callable[[Any], Future[Any]]


def ours(result: Any) -> Future[Any]:
    future: AppFuture[Any] = AppFuture()
    future.set_result(result)
    return future


def plain(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


KINDS = pytest.mark.parametrize("kind", [ours, plain])


def opened(payload: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the worker gets."""
    if isinstance(payload, Dependent):
        results = [serialize.join(serialize.dump_value(future.result(), "it")) for future in payload.futures]
        payload = filled(payload.arguments, results, None)
    if isinstance(payload, SharedPayload):
        data, descriptors = payload.to_send()
        payload = serialize.from_shared_memory(descriptors[0]) if descriptors else data
    return serialize.load_arguments(payload)


def sent(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return opened(dump_arguments(args, kwargs, "fit", None))


def failure(*args: Any, **kwargs: Any) -> SerializationError:
    with pytest.raises(SerializationError) as caught:
        dump_arguments(args, kwargs, "fit", None)
    return caught.value


# ---- without futures


@pytest.mark.parametrize("args", [(), (1,), (1, "two", [3.0, None]), ((),), ([1],), ("__main__",)])
@pytest.mark.parametrize("kwargs", [{}, {"key": 1}, {"args": (), "kwargs": {}, "self": 2}])
def test_arguments_arrive_as_they_were_given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    got_args, got_kwargs = sent(*args, **kwargs)
    assert (tuple(got_args), got_kwargs) == (args, kwargs)


def test_arguments_are_those_of_the_moment_of_submission() -> None:
    value = [1]
    payload = dump_arguments((value,), {}, "fit", None)
    value.append(2)
    assert opened(payload) == (([1],), {})


@pytest.mark.parametrize("size", [0, 1, LARGE - 100, LARGE, 1 << 20])
@pytest.mark.parametrize("shared", [True, False])
def test_large_arguments_go_through_shared_memory_where_they_may(size: int, shared: bool) -> None:
    payload = dump_arguments((b"x" * size,), {}, "fit", WarmMemory() if shared else None)
    assert isinstance(payload, SharedPayload) == (shared and size >= LARGE)
    assert opened(payload) == ((b"x" * size,), {})


@pytest.mark.parametrize("value", [b"x" * LARGE, PickleBuffer(bytearray(LARGE))])
def test_shared_memory_is_given_back_with_the_payload(value: Any) -> None:
    home, descriptors = WarmMemory(), os.listdir("/proc/self/fd")
    payload = dump_arguments((value,), {}, "fit", home)
    assert isinstance(payload, SharedPayload)
    _, sent = payload.to_send()
    assert sent and len(home.out) == 1
    os.close(sent[0])
    del payload
    gc.collect()
    assert (home.out, home.unwritten, os.listdir("/proc/self/fd")) == ({}, {}, descriptors)


def test_arguments_that_find_no_shared_memory_go_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(serialize, "to_shared_memory", no_room)
    for value in (b"x" * LARGE, PickleBuffer(bytearray(LARGE))):
        ((got,), _) = opened(dump_arguments((value,), {}, "fit", WarmMemory()))
        assert bytes(got) == bytes(value)


def test_what_cannot_be_imported_goes_by_value() -> None:
    class Local:
        x = 5

    ((function, thing), _) = sent(lambda x: x + 1, Local())
    assert function(thing.x) == 6


# ---- futures


@dataclass
class Data:
    name: str
    value: Any


@dataclass(frozen=True)
class Frozen:
    value: Any


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


Pair = namedtuple("Pair", "left right")

PLACES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "itself": (lambda future: future, lambda got: got),
    "list": (lambda future: [0, future], lambda got: got[1]),
    "tuple": (lambda future: (future,), lambda got: got[0]),
    "set": (lambda future: {future}, lambda got: next(iter(got))),
    "frozenset": (lambda future: frozenset([future]), lambda got: next(iter(got))),
    "value of a dict": (lambda future: {"a": future}, lambda got: got["a"]),
    "key of a dict": (lambda future: {future: 1}, lambda got: next(iter(got))),
    "ordered dict": (lambda future: OrderedDict(a=future), lambda got: got["a"]),
    "default dict": (lambda future: defaultdict(list, a=future), lambda got: got["a"]),
    "named tuple": (lambda future: Pair(1, future), lambda got: got.right),
    "dataclass": (lambda future: Data("x", future), lambda got: got.value),
    "frozen dataclass": (lambda future: Frozen(future), lambda got: got.value),
    "attribute": (lambda future: Holder([future]), lambda got: got.value[0]),
    "slot": (lambda future: Slotted(future), lambda got: got.value),
    "deep": (lambda future: [{"a": (Data("x", [{future}]),)}], lambda got: next(iter(got[0]["a"][0].value[0]))),
    "closure": (lambda future: lambda: future, lambda got: got()),
}


@KINDS
@pytest.mark.parametrize("place", PLACES)
def test_a_future_anywhere_becomes_its_result(place: str, kind: Kind) -> None:
    put, take = PLACES[place]
    future = kind(42)
    payload = dump_arguments((1, put(future)), {}, "fit", None)
    assert isinstance(payload, Dependent) and payload.futures == [future]
    (one, got), kwargs = opened(payload)
    assert (one, take(got), kwargs) == (1, 42, {})


@KINDS
@pytest.mark.parametrize("place", PLACES)
def test_a_future_among_keywords_becomes_its_result(place: str, kind: Kind) -> None:
    put, take = PLACES[place]
    args, kwargs = sent(1, key=put(kind(42)))
    assert (tuple(args), take(kwargs["key"])) == ((1,), 42)


@pytest.mark.parametrize("first", [ours, plain])
@pytest.mark.parametrize("second", [ours, plain])
def test_several_futures_each_become_their_result(first: Kind, second: Kind) -> None:
    one, other = first("one"), second("other")
    payload = dump_arguments((other, [one, other]), {"key": one}, "fit", None)
    assert isinstance(payload, Dependent) and payload.futures == [other, one]
    assert opened(payload)[0][0] == "other" and opened(payload)[0][1] == ["one", "other"]
    assert opened(payload)[1] == {"key": "one"}


@KINDS
@pytest.mark.parametrize("order", [1, -1])
def test_a_future_beside_what_goes_by_value_becomes_its_result(order: int, kind: Kind) -> None:
    class Local:
        x = 5

    args = (lambda: 1, kind(42), Local())
    got = sent(*args[::order])[0][::order]
    assert (got[0](), got[1], got[2].x) == (1, 42, 5)


@KINDS
def test_a_future_beside_something_of_the_program_becomes_its_result(kind: Kind) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("class C: x = 5", space)
    ((thing, got), _) = sent(space["C"](), kind(42))
    assert (thing.x, got) == (5, 42)


@KINDS
def test_a_future_beside_an_array_becomes_its_result(kind: Kind) -> None:
    numpy = pytest.importorskip("numpy")
    ((array, got), _) = sent(numpy.arange(LARGE), kind(numpy.arange(LARGE)))
    assert (array == got).all()


def test_arguments_with_futures_are_those_of_the_moment_too() -> None:
    value = [ours(1)]
    payload = dump_arguments((value,), {}, "fit", None)
    value.append(ours(2))
    assert opened(payload) == (([1],), {})


# ---- errors


LOCK = threading.Lock()


@pytest.mark.parametrize(
    "args, kwargs, where, path",
    [
        ((LOCK,), {}, 1, ""),
        ((1, LOCK), {}, 2, ""),
        ((1, [2, {"a": LOCK}]), {}, 2, "[1]['a']"),
        ((1, Holder(LOCK)), {}, 2, ".value"),
        ((1, LOCK), {"key": 1}, 2, ""),
        ((1,), {"key": LOCK}, "key", ""),
        ((1,), {"a": 1, "model": Holder([LOCK])}, "model", ".value[0]"),
        ((), {"model": {"a": LOCK}}, "model", "['a']"),
    ],
)
@pytest.mark.parametrize("futures", [[], [ours], [plain], [ours, plain]], ids=["", "ours", "plain", "both"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_the_error_names_the_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], where: int | str, path: str, futures: list[Kind], first: bool
) -> None:
    """Also when there are futures among the others: these are not to blame."""
    others = [kind(1) for kind in futures]
    error = failure(*others, *args, **kwargs) if first else failure(*args, *others, **kwargs)
    place = where + len(others) if isinstance(where, int) and first else where
    assert (error.name, error.path) == (f"argument {place} of fit", path)
    assert "lock" in error.reason


def test_the_error_names_the_argument_that_raises() -> None:
    class Bad:
        def __reduce__(self) -> Any:
            raise ValueError("not me")

    error = failure(1, [Bad()])
    assert (error.name, error.path) == ("argument 2 of fit", "[0]") and "not me" in error.reason


def test_a_pool_among_the_arguments_is_explained() -> None:
    """Not ours: they can be."""
    with ThreadPoolExecutor(1) as pool:
        assert "a pool can't be sent to its workers" in str(failure(1, [pool]))


# ---- chunks


@pytest.fixture(scope="module")
def pool() -> Iterator[ParslPoolExecutor]:
    from tests import leaks

    with leaks.keeping("the module's pool"), ParslPoolExecutor(1) as pool:
        yield pool


@KINDS
def test_futures_in_a_chunk_become_their_results(pool: ParslPoolExecutor, kind: Kind) -> None:
    assert list(pool.map(double, [1, kind(2), 3, kind(4)], chunksize=2)) == [2, 4, 6, 8]


def test_an_unpicklable_argument_in_a_chunk_fails_where_it_is_asked_for(pool: ParslPoolExecutor) -> None:
    results = pool.map(double, [1, 2, LOCK, 4], chunksize=2)
    assert [next(results), next(results)] == [2, 4]
    with pytest.raises(SerializationError):
        next(results)
