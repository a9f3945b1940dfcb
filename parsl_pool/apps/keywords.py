"""The special keywords of apps: arguments that say something about the task, not to the function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from parsl_pool import checks
from parsl_pool.dataflow.staged import STAGING_INHIBIT
from parsl_pool.dataflow.traverse import things_in
from parsl_pool.errors import WrongType, shown
from parsl_pool.files import File, as_file

NAMES = ("inputs", "outputs", "walltime", "stdout", "stderr", "label", "parsl_resource_specification")

_WRITTEN = ("outputs", "stdout", "stderr")

_WALLTIME = checks.optional(checks.number(above=0, most=4e6, kind="a number of seconds"))


class Taken(NamedTuple):
    """Which of its keywords a function takes, and the defaults that it gives to special ones.

    Attributes:
        order: the arguments that may be given by position, in their order.
        first: place of the first special one among them; None: there is none.
        says_nothing: a call without keywords says nothing special, whatever its arguments are.
        brought: defaults with files to be read in them. They have to be passed like arguments: the function's own are
            on a worker as they are here.
    """

    defaults: dict[str, Any]
    names: frozenset[str]
    takes_all: bool
    order: tuple[str, ...] = ()
    first: int | None = None
    says_nothing: bool = True
    brought: dict[str, Any] = {}  # never changed

    def may_pass(self, name: str) -> bool:
        """True if the function can be given this keyword."""
        return self.takes_all or name in self.names

    def with_brought(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments, and those defaults for which there are none."""
        given = {*self.order[: len(args)], *kwargs}
        return args, {**{name: value for name, value in self.brought.items() if name not in given}, **kwargs}

    def by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments, with the first special one that was given by position, and those after it, by name."""
        first = self.first
        if first is None or not first < len(args) <= len(self.order):
            return args, kwargs
        named = dict(zip(self.order[first:], args[first:]))
        if named.keys() & kwargs.keys():  # given twice: the function says so
            return args, kwargs
        return args[:first], {**named, **kwargs}


def taken_by(function: Callable[..., Any]) -> Taken:
    """What a function says about itself. Builtins may say nothing: then they are given everything."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return Taken({}, frozenset(), True)
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    defaults = {each.name: each.default for each in named if each.name in NAMES and each.default is not each.empty}
    brought = {each.name: each.default for each in named if each.name not in _WRITTEN and things_in(each.default, File)}
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    order = tuple(each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD))
    nameless = sum(each.kind is each.POSITIONAL_ONLY for each in parameters)
    told = enumerate(order[nameless:], nameless)  # a label by position may be the function's own, of any type
    first = next((place for place, name in told if name in NAMES and name != "label"), None)
    says_nothing = first is None and not defaults and not brought
    return Taken(defaults, frozenset(each.name for each in named), takes_all, order, first, says_nothing, brought)


def walltime_of(special: dict[str, Any]) -> float | None:
    """Seconds that one try may take; None: as many as it likes."""
    return _WALLTIME("walltime", special.get("walltime"))


def outputs_of(special: dict[str, Any]) -> tuple[File, ...]:
    """The files that the task is to write."""
    outputs = special.get("outputs") or ()
    if not isinstance(outputs, (list, tuple)):
        raise WrongType(f"outputs must be a list of Files or paths, got {shown(outputs)}")
    return tuple(as_file(output, "outputs") for output in outputs)


def copies_of(outputs: tuple[File, ...], kwargs: dict[str, Any]) -> tuple[File, ...]:
    """What stands for them among the arguments: in these is noted where the task is to write. The user's stay as they
    are, and may be inputs, too. A call that brings files itself has noted it already."""
    copies = tuple(output.cleancopy() for output in outputs)
    if kwargs.get(STAGING_INHIBIT):
        for output, mine in zip(outputs, copies):
            mine.local_path = output.local_path
    return copies
