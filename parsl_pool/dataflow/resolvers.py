"""Which futures a call waits for, where that is not the default: "all, at any depth".

A resolver has two functions, both called with one argument of a call: the one tells the futures in it, the other what
the function gets instead when they are done. Both run in the user's process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import singledispatch
from typing import Any, NamedTuple

from parsl_pool.dataflow.traverse import futures_in, result_of_done, with_results
from parsl_pool.errors import SerializationError, WrongType, shown


class DependencyResolver(NamedTuple):
    """How futures are found, and replaced by their values.

    Attributes:
        traverse_to_gather: called with an argument; the futures in it.
        traverse_to_unwrap: called with an argument when they are done; what the function gets.
    """

    traverse_to_gather: Callable[[Any], Sequence[Future[Any]]]
    traverse_to_unwrap: Callable[[Any], Any]


def _shallow_futures(value: Any) -> list[Future[Any]]:
    return [value] if isinstance(value, Future) else []


def _shallow_value(value: Any) -> Any:
    return result_of_done(value) if isinstance(value, Future) else value


@singledispatch
def deep_futures(value: Any) -> list[Future[Any]]:
    """The futures in a value, at any depth of the containers that are known. Register further types."""
    return futures_in(value)


@singledispatch
def deep_value(value: Any) -> Any:
    """The same value, with results in the futures' places. Register further types."""
    return with_results(value)


SHALLOW_DEPENDENCY_RESOLVER = DependencyResolver(_shallow_futures, _shallow_value)
"""Only futures that are arguments themselves, or stand in `inputs`. Others are passed on as they are."""

DEEP_DEPENDENCY_RESOLVER = DependencyResolver(deep_futures, deep_value)
"""At any depth; `deep_futures.register` and `deep_value.register` add types."""


class ResolvedCall:
    """A call whose dependencies a resolver tells."""

    __slots__ = ("_resolver", "args", "fn", "futures", "kwargs")

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], resolver: DependencyResolver
    ) -> None:
        self.fn, self.args, self.kwargs, self._resolver = fn, args, kwargs, resolver
        found: dict[int, Future[Any]] = {}
        for value in _arguments(args, kwargs):
            for future in resolver.traverse_to_gather(value):
                if not isinstance(future, Future):
                    raise WrongType(f"traverse_to_gather must give futures, and gave {shown(future)}")
                found[id(future)] = future
        self.futures = list(found.values())

    def values(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the function gets them. Raises what the resolver raises."""
        unwrap = self._resolver.traverse_to_unwrap
        kwargs = {name: _unwrapped(name, value, unwrap) for name, value in self.kwargs.items()}
        return tuple(map(unwrap, self.args)), kwargs

    def prepared_by(self, backend: Any) -> Any:
        """The call as the executor launches it: all that is to be resolved has been.

        Raises:
            SerializationError: futures are left that the executor can't take along.
        """
        args, kwargs = self.values()
        call = backend.prepare_staged(self.fn, args, kwargs)
        if call.futures:
            if backend.wants_payloads:
                raise SerializationError(
                    "a future", "", "the dependency resolver has left it in a container; processes can't share futures"
                )
            call.futures = []  # the function gets them as they are
        return call


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    inputs = kwargs.get("inputs")
    named = [value for name, value in kwargs.items() if name != "inputs"]
    return [*args, *named, *(inputs if isinstance(inputs, (list, tuple)) else [inputs])]


def _unwrapped(name: str, value: Any, unwrap: Callable[[Any], Any]) -> Any:
    if name == "inputs" and isinstance(value, (list, tuple)):
        return type(value)(map(unwrap, value))
    return unwrap(value)
