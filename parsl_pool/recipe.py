"""How an object of a Config was made: for its repr, and to see whether two Configs are the same."""

from __future__ import annotations

import inspect
from functools import partial
from types import FunctionType
from typing import Any, TypeVar

T = TypeVar("T", bound="Recipe")


class Recipe:
    """Remembers the arguments that it was made with. Its repr is that call, with the defaults."""

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls: type[T], *args: Any, **kwargs: Any) -> T:
        made = super().__new__(cls)
        object.__setattr__(made, "_made_with", (args, kwargs))
        return made

    def forget(self, *names: str) -> None:
        """Let go of these arguments: the user's objects are to end with the pool."""
        args, kwargs = self._made_with
        self._made_with = args, {name: value for name, value in kwargs.items() if name not in names}

    def recipe(self) -> dict[str, Any]:
        """The arguments by name, defaults too."""
        args, kwargs = self._made_with
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def is_made_as(self, other: object) -> bool:
        """True if it was made in the same way."""
        return type(other) is type(self) and isinstance(other, Recipe) and same(self.recipe(), other.recipe())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.recipe().items())})"


def same(one: Any, other: Any) -> bool:
    """Whether two arguments are the same: equal, or made in the same way; lists and the like by their items."""
    if isinstance(one, Recipe) and one.is_made_as(other):
        return True
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):  # a TOML file has no tuples
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, FunctionType):
        return one is other or _is_same_code(one, other)
    if isinstance(one, partial):
        return same((one.func, one.args, one.keywords), (other.func, other.args, other.keywords))
    # Launchers, and some providers, say in their repr what they are like, whether that was said or is the default.
    return _are_equal(one, other) or (" at 0x" not in repr(one) and repr(one) == repr(other))


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:  # the user's: arrays, say, which have no single answer
        return False


def _is_same_code(one: FunctionType, other: FunctionType) -> bool:
    """True if both come from the same text, as when a notebook's cell is run again."""
    if one.__code__ != other.__code__ or one.__globals__ is not other.__globals__:
        return False
    try:
        held, others = ([cell.cell_contents for cell in each.__closure__ or ()] for each in (one, other))
    except ValueError:  # a variable without a value yet
        return False
    defaults = (one.__defaults__, one.__kwdefaults__), (other.__defaults__, other.__kwdefaults__)
    # What they close over may be the functions themselves: no deeper look at that.
    return same(*defaults) and all(map(_are_equal, held, others))
