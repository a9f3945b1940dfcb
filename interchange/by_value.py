"""cloudpickle, with two things put right of what it makes of classes.

- Whoever opens a class sets all its attributes, also who has it already. So a result would undo in your program what
  the program has changed in a class of its own, and put copies in the place of its methods, which see copies of
  globals. Here a process that got a class from another one sends it for those only who don't have it.
- `__slots__` becomes a mere attribute: objects then have a `__dict__` too, which they could not take home with them.

Importing this module imports cloudpickle (20 ms), so it is imported on first need.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from types import FunctionType, MemberDescriptorType
from typing import Any
from weakref import ref

import cloudpickle
from cloudpickle import cloudpickle as _within

from parsl_pool.interchange import nameless, own_globals

# By their ids: a metaclass of the user's may have its own idea of what is equal. Each use of them is one operation of a
# dict's, and needs no lock; it could have none either, as a class may end wherever the collector runs.
_from_others: dict[int, ref[type]] = {}  # classes that were defined in another process
_unfinished: dict[int, ref[type]] = {}  # those of them whose attributes have not been set yet


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Functions and classes that can't be imported go by value."""

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for all but the simplest objects."""
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented:
            return nameless.reduced(obj) or NotImplemented
        if isinstance(obj, type):
            return _reduced(obj, reduced)
        if type(obj) is not FunctionType:
            return reduced
        return nameless.reduced_function(obj) or own_globals.with_names(obj, reduced)


def dumps(value: object, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """A pickle. Raises whatever pickling raises."""
    file = io.BytesIO()
    Pickler(file, 5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def _reduced(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """What cloudpickle says of a class, in our words; as it is if it says something that we don't know."""
    if len(reduced) != 6 or len(reduced[1]) < 6 or not isinstance(reduced[1][-2], str):
        return reduced  # goes by reference, or is of another cloudpickle than those known
    make, arguments, state, _, _, set_state = reduced
    if type(arguments[3]) is dict and _has_slots(cls):
        arguments = (*arguments[:3], {**arguments[3], "__slots__": vars(cls)["__slots__"]}, *arguments[4:])
    setter = set_once if id(cls) in _from_others else set_always
    return make_class, (make, arguments), (set_state, state), None, None, setter


def _has_slots(cls: type) -> bool:
    """True if `__slots__` was there when the class was made, and not set later."""
    slots = vars(cls).get("__slots__")
    if not isinstance(slots, (str, tuple, list, dict, set, frozenset)):
        return False
    names = {slots} if isinstance(slots, str) else set(slots)
    if not names and issubclass(cls, tuple):
        return False  # typing.NamedTuple makes these, and allows nobody else to say so
    gives_dict = bool(cls.__dictoffset__) and not any(base.__dictoffset__ for base in cls.__bases__)
    if gives_dict != ("__dict__" in names):
        return False
    own = {_mangled(cls, name) for name in names - {"__dict__", "__weakref__"}}
    return all(isinstance(vars(cls).get(name), MemberDescriptorType) for name in own)


def _mangled(cls: type, name: str) -> str:
    of = cls.__name__.lstrip("_")
    return f"_{of}{name}" if of and name.startswith("__") and not name.endswith("__") else name


# ---- what pickles name


def make_class(make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """The class that is known here, or a new one, without its attributes."""
    known: type | None = _within._DYNAMIC_CLASS_TRACKER_BY_ID.get(arguments[-2])
    if known is not None:
        return known
    cls = make(*arguments)
    number = id(cls)
    _from_others[number] = ref(cls, lambda _: _from_others.pop(number, None))
    _unfinished[number] = ref(cls, lambda _: _unfinished.pop(number, None))
    return cls


def set_always(cls: type, state: tuple[Callable[..., Any], Any]) -> None:
    """Give a class the attributes that it has where it was defined."""
    set_state, attributes = state
    set_state(cls, attributes)
    _unfinished.pop(id(cls), None)


def set_once(cls: type, state: tuple[Callable[..., Any], Any]) -> None:
    """The same, for a class that is new here."""
    if id(cls) in _unfinished:
        set_always(cls, state)
