"""What can't be pickled fails its own task, wherever it stands; the error names it, and the pool goes on."""

import functools
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, NoReturn

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import DependencyError, DeserializationError, InitializerError, SerializationError
from parsl_pool.executors.high_throughput.arguments import dump_arguments
from parsl_pool.executors.high_throughput.functions import Functions
from parsl_pool.interchange import serialize
from tests import leaks
from tests.client.odd_things import THINGS, Holds, Raises, Thing


class Place(NamedTuple):
    """Where a thing can stand: how it is submitted there, and what the error is to say about the place."""

    submit: Callable[[ParslPoolExecutor, str, object], "Future[Any]"]
    name: str
    path: str


def give_back(value: Any, thing: Any = None) -> Any:
    return value


def make_thing(name: str) -> object:
    return THINGS[name].make()


def in_a_closure(thing: object) -> Callable[[], object]:
    return lambda: thing


PLACES = {
    "argument": Place(lambda pool, _, thing: pool.submit(give_back, 1, thing), "argument 2 of give_back", ""),
    "keyword": Place(lambda pool, _, thing: pool.submit(give_back, 1, thing=[thing]),
                     "argument thing of give_back", "[0]"),
    "beside a future": Place(lambda pool, _, thing: pool.submit(give_back, pool.submit(abs, -1), thing),
                             "argument 2 of give_back", ""),
    "chunk": Place(lambda pool, _, thing: pool.submit_chunk(give_back, [(1,), (thing,)]),
                   "arguments of give_back", "[1][0]"),
    "closure": Place(lambda pool, _, thing: pool.submit(in_a_closure(thing)),
                     "in_a_closure.<locals>.<lambda>", " variable 'thing'"),
    "partial": Place(lambda pool, _, thing: pool.submit(functools.partial(give_back, thing)), "partial", ".args[0]"),
    "result": Place(lambda pool, name, _: pool.submit(make_thing, name), "the result of make_thing", ""),
    "result of a chunk": Place(lambda pool, name, _: pool.submit_chunk(make_thing, [(name,)]),
                               "the result of make_thing", "[0]"),
}  # fmt: skip


@pytest.fixture(scope="module")
def pool(manager_inside: bool) -> Iterator[ParslPoolExecutor]:
    """One for all: each has to leave it as good as new, the worker too."""
    with leaks.keeping("the module's pool"), ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        workers = {pool.submit(give_back, 1).result(30), *pool._processes}
        yield pool
        assert set(pool._processes) <= workers, "it has cost a worker"


@pytest.mark.parametrize("name", THINGS)
def test_what_cannot_be_pickled_is_named_wherever_it_stands(pool: ParslPoolExecutor, name: str) -> None:
    thing = THINGS[name]
    for place, (submit, says, path) in PLACES.items():
        error = submit(pool, name, thing.make()).exception(30)
        if "exits" in name and place.startswith("result"):  # as from the standard library's pools
            assert isinstance(error, SystemExit), f"{place}: {error!r}"
            told = error.__cause__.__cause__ if error.__cause__ is not None else None
            assert isinstance(told, SerializationError) and told.name == says
            continue
        assert isinstance(error, SerializationError), f"{place}: {error!r}"
        assert isinstance(error, pickle.PicklingError)
        assert (error.name, error.path[: len(path + thing.path)]) == (says, path + thing.path), f"{place}: {error}"
        assert thing.says in str(error), f"{place}: {error}"
        assert len(str(error)) < 1200
    assert pool.submit(abs, -3).result(30) == 3


@pytest.mark.parametrize("name", ["a lock among others", "__reduce__ exits", "a generator"])
def test_an_initializer_that_cannot_be_pickled_is_named(manager_inside: bool, name: str) -> None:
    thing = THINGS[name]
    for options, says, path in [
        ({"initializer": give_back, "initargs": (1, thing.make())}, "initargs", "[1]"),
        ({"initializer": functools.partial(give_back, thing.make())}, "initializer", ".args[0]"),
    ]:
        with ParslPoolExecutor(1, manager_inside=manager_inside, **options) as pool:  # type: ignore[arg-type]
            for _ in range(2):
                with pytest.raises(SerializationError) as caught:
                    pool.submit(abs, -1)
                assert (caught.value.name, caught.value.path) == (says, path + thing.path)
                assert thing.says in str(caught.value)


class Unbuildable:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __setstate__(self, state: dict[str, Any]) -> NoReturn:
        raise state["error"]


@pytest.mark.parametrize("error", [ZeroDivisionError("why"), SystemExit("why")], ids=repr)
def test_an_initializer_that_cannot_be_rebuilt_breaks_the_pool(manager_inside: bool, error: BaseException) -> None:
    arguments = (Unbuildable(error),)
    with ParslPoolExecutor(1, manager_inside=manager_inside, initializer=give_back, initargs=arguments) as pool:
        failure = pool.submit(abs, -1).exception(60)
        assert isinstance(failure, InitializerError) and f"{type(error).__name__}: why" in str(failure)


# ---- errors that cannot even be told


class Silent(Exception):
    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __str__(self) -> NoReturn:
        raise self.kind("no text")

    __repr__ = __str__


def raise_silent(kind: type[BaseException]) -> NoReturn:
    raise Silent(kind)


class UnbuildableElsewhere:
    def __init__(self, error: BaseException) -> None:
        self.error, self.home = error, os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        if os.getpid() != state["home"]:
            raise state["error"]

    def __call__(self) -> None: ...


def make_unbuildable(kind: type[BaseException]) -> object:
    return UnbuildableElsewhere(Silent(kind))


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_an_error_without_a_text_is_told_by_its_class(pool: ParslPoolExecutor, kind: type[BaseException]) -> None:
    for future in [
        pool.submit(give_back, make_unbuildable(kind)),
        pool.submit(make_unbuildable(kind)),  # type: ignore[arg-type]  # it can be called
        pool.submit(make_unbuildable, kind),
    ]:
        error = future.exception(30)
        assert isinstance(error, DeserializationError) and "Silent" in str(error)
    needed = pool.submit(raise_silent, kind)
    assert isinstance(needed.exception(30), Silent)
    error = pool.submit(give_back, needed).exception(30)
    assert isinstance(error, DependencyError) and "which failed with Silent" in str(error)
    assert pool.submit(abs, -3).result(30) == 3


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_an_initializer_s_error_without_a_text_is_told_by_its_class(
    manager_inside: bool, kind: type[BaseException]
) -> None:
    with ParslPoolExecutor(1, manager_inside=manager_inside, initializer=raise_silent, initargs=(kind,)) as pool:
        error = pool.submit(abs, -1).exception(60)
        assert isinstance(error, InitializerError) and "Silent" in str(error)
        assert error.executor == pool._backend.label and error.reason == error.text


# ---- in the process that pickles


class RaisesOnce:
    """As a signal's handler that happens to run while this is pickled."""

    def __init__(self, error: BaseException) -> None:
        self.errors = [error]

    def __reduce__(self) -> Any:
        while self.errors:
            raise self.errors.pop()
        return int, ()


DUMPS: dict[str, Callable[[Any], object]] = {
    "arguments": lambda value: dump_arguments((value,), {}, "f", None),
    "by value": lambda value: dump_arguments((lambda: 1, value), {}, "f", None),
    "beside a future": lambda value: dump_arguments((Future(), value), {}, "f", None),
    "value": lambda value: serialize.dump_value(value, "it"),
    "function": lambda value: Functions(lambda *_: None).number_of(functools.partial(give_back, value)),
    "closure": lambda value: Functions(lambda *_: None).number_of(in_a_closure(value)),
}


@pytest.mark.parametrize("how", DUMPS)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_a_signal_s_handler_raises_meanwhile_gets_through(how: str, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        DUMPS[how](RaisesOnce(error))
    assert caught.value is error


@pytest.mark.parametrize("how", DUMPS)
def test_ctrl_c_gets_through_always(how: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        DUMPS[how](Raises(KeyboardInterrupt()))


def test_a_result_that_raises_keyboardinterrupt_is_an_error_like_others(pool: ParslPoolExecutor) -> None:
    """In a worker nobody presses Ctrl-C."""
    failure = pool.submit(make_raising, KeyboardInterrupt).exception(30)
    assert isinstance(failure, SerializationError)
    assert (failure.name, failure.reason) == ("the result of make_raising", "KeyboardInterrupt")


def make_raising(kind: type[BaseException]) -> object:
    return Holds(Raises(kind()))


class Odd:
    """A callable that answers questions about its name with an error."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"no {name}") if name in ("__name__", "__qualname__", "__self__") else AttributeError(name)

    def __call__(self) -> int:
        return 5


def test_a_callable_that_has_no_name_is_called_by_its_class(pool: ParslPoolExecutor) -> None:
    assert pool.submit(Odd()).result(30) == 5
    error = pool.submit(Odd(), Raises(ValueError("why"))).exception(30)
    assert isinstance(error, SerializationError) and error.name == "argument 1 of Odd"


def test_things_are_things() -> None:
    """Each can be made, again and again, and none has become fit to be pickled."""
    for name, thing in THINGS.items():
        assert isinstance(thing, Thing)
        with pytest.raises(SerializationError):
            serialize.dump_value(thing.make(), name)
