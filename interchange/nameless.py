"""What pickle sends by its name, or not at all, and what takes its place where the name leads nowhere.

A script's `@lru_cache` function, its `NewType`s, a `@cached_property` in one of its classes: `ProcessPoolExecutor` has
workers that have read the script. Ours have not, so these go by value, as functions and classes do.
"""

from __future__ import annotations

import functools
import sys
import typing
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType
from typing import Any

import cloudpickle

Reduced = tuple[Any, ...]


def reduced(obj: Any) -> Reduced | None:
    """What to pickle instead of an object, or None if it is no such thing, or can be found by its name."""
    kind = _KINDS.get(type(obj))
    return None if kind is None else kind(obj)


def reduced_function(function: FunctionType) -> Reduced | None:
    """The same, for a function that goes by value."""
    registry = function.__dict__.get("registry")
    if type(registry) is not MappingProxyType or not hasattr(function, "dispatch"):
        return None
    return make_dispatcher, (function.__wrapped__, dict(registry))  # type: ignore[attr-defined]  # it has it


def _has_name(obj: Any) -> bool:
    """True if another process finds it by its name."""
    module = getattr(obj, "__module__", None)
    if module is None or module == "__main__":
        return False
    by_value = cloudpickle.list_registry_pickle_by_value()
    if any(module == name or module.startswith(f"{name}.") for name in by_value):
        return False
    found: Any = sys.modules.get(module)
    for name in getattr(obj, "__qualname__", obj.__name__).split("."):
        found = getattr(found, name, None)
    return found is obj


def _cached(obj: Any) -> Reduced | None:
    if _has_name(obj) or not hasattr(obj, "cache_parameters"):
        return None
    return make_cached, (obj.__wrapped__, obj.cache_parameters())


def _cached_property(obj: Any) -> Reduced | None:
    state = dict(vars(obj))
    if "lock" not in state:  # from Python 3.12 on it has none, and goes as it is
        return None
    del state["lock"]
    return functools.cached_property, (obj.func,), state


def _dispatching_method(obj: Any) -> Reduced | None:
    return make_dispatching_method, (obj.func, dict(obj.dispatcher.registry))


def _new_type(obj: Any) -> Reduced | None:
    return None if _has_name(obj) else (typing.NewType, (obj.__name__, obj.__supertype__), dict(vars(obj)))


def _parameter(obj: Any) -> Reduced | None:
    return None if _has_name(obj) else (type(obj), (obj.__name__,))


def _alias(obj: Any) -> Reduced | None:
    return None if _has_name(obj) else (make_alias, (type(obj), obj.__name__, obj.__value__, obj.__type_params__))


_KINDS: dict[type, Callable[[Any], Reduced | None]] = {
    functools._lru_cache_wrapper: _cached,
    functools.cached_property: _cached_property,
    functools.singledispatchmethod: _dispatching_method,
    typing.NewType: _new_type,
    typing.ParamSpec: _parameter,
}
if hasattr(typing, "TypeVarTuple"):  # Python 3.11
    _KINDS[typing.TypeVarTuple] = _parameter
if hasattr(typing, "TypeAliasType"):  # Python 3.12
    _KINDS[typing.TypeAliasType] = _alias


# ---- what pickles name


def make_cached(function: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """An `lru_cache` with nothing in it yet."""
    return functools.lru_cache(**parameters)(function)


def make_dispatcher(function: Callable[..., Any], registry: Mapping[type, Callable[..., Any]]) -> Any:
    """A `singledispatch` function."""
    return _registered(functools.singledispatch(function), registry)


def make_dispatching_method(function: Callable[..., Any], registry: Mapping[type, Callable[..., Any]]) -> Any:
    """A `singledispatchmethod`."""
    return _registered(functools.singledispatchmethod(function), registry)


def _registered(dispatcher: Any, registry: Mapping[type, Callable[..., Any]]) -> Any:
    for cls, implementation in registry.items():
        if cls is not object:  # which it has
            dispatcher.register(cls, implementation)
    return dispatcher


def make_alias(kind: Any, name: str, value: object, parameters: tuple[Any, ...]) -> Any:
    """What `type NAME = ...` makes."""
    return kind(name, value, type_params=parameters)
