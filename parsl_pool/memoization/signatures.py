"""Which argument is which: positional ones, keywords and defaults, brought into one form.

    f(1, 2), f(1, y=2), f(y=2, x=1)  ->  {"x": 1, "y": 2}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from parsl_pool.errors import ConfigurationError


class Plan(NamedTuple):
    """How the arguments of one function are named."""

    positional: tuple[str, ...]
    """Names of what may be given by position, in order."""
    by_keyword: frozenset[str]
    """Names of what may be given by keyword."""
    order: tuple[str, ...]
    """All names, in the signature's order."""
    defaults: Mapping[str, Any]
    rest: str | None
    """The name of `*args`."""
    more: str | None
    """The name of `**kwargs`."""

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Each argument by its name. A call that the function will refuse is taken as it stands."""
        values = dict(zip(self.positional, args))
        extra: dict[str, Any] = {}
        if len(args) > len(self.positional):
            if self.rest is None:
                return as_given(args, kwargs)
            values[self.rest] = tuple(args[len(self.positional) :])
        for name, value in kwargs.items():
            if name in self.by_keyword:
                if name in values:
                    return as_given(args, kwargs)
                values[name] = value
            elif self.more is None:
                return as_given(args, kwargs)
            else:
                extra[f"{self.more}[{name}]"] = value
        for name, value in self.defaults.items():
            if name not in values:
                values[name] = value
        if len(self.order) > 1:
            values = {name: values[name] for name in self.order if name in values}
        for name in sorted(extra):
            values[name] = extra[name]
        return values

    def name_as_bound(self, keyword: str) -> str:
        """What `bind` calls an argument that is given by this keyword."""
        return keyword if self.more is None or keyword in self.order else f"{self.more}[{keyword}]"

    def check_ignored(self, function: str, ignored: Collection[str], special: Collection[str]) -> None:
        """Whether there are arguments to ignore.

        Raises:
            ConfigurationError: the function has no argument of that name; the text has those that it has.
        """
        wrong = sorted(set(ignored).difference(self.order, special))
        if wrong and self.more is None:
            raise ConfigurationError(
                f"ignore_for_cache names {', '.join(map(repr, wrong))}, which {function} does not take: "
                f"its arguments are {', '.join(self.order) or 'none'}"
            )


def as_given(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a function whose signature nobody knows, or that they don't fit."""
    return {**{str(index + 1): value for index, value in enumerate(args)}, **dict(sorted(kwargs.items()))}


def make_plan(fn: Callable[..., Any]) -> Plan | None:
    """How the function's arguments are named; None if it does not say."""
    try:
        signature = inspect.signature(fn)
    except (ValueError, TypeError):  # many built-in ones have none
        return None
    parameters = list(signature.parameters.values())
    kinds = inspect.Parameter
    positional = [p.name for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    by_keyword = [p.name for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    rest = [p.name for p in parameters if p.kind is kinds.VAR_POSITIONAL]
    more = [p.name for p in parameters if p.kind is kinds.VAR_KEYWORD]
    defaults = {p.name: p.default for p in parameters if p.default is not kinds.empty}
    if hasattr(fn, "__wrapped__") or hasattr(fn, "__signature__"):
        defaults = {}  # the signature is another function's: what fn does with what is left out, it does not tell
    return Plan(
        tuple(positional),
        frozenset(by_keyword),
        tuple(p.name for p in parameters if p.kind is not kinds.VAR_KEYWORD),
        defaults,
        rest[0] if rest else None,
        more[0] if more else None,
    )
