"""From what stands on the command line to a Config: a TOML file, a Python file, or a module and a name in it."""

from __future__ import annotations

import os
import runpy
import sys
from importlib import import_module
from typing import Any

from parsl_pool.config import Config
from parsl_pool.errors import ConfigurationError, described, shown

_NAME = "config"


def load_config(what: str) -> Config:
    """The Config that is meant.

    Args:
        what: "FILE.toml"; "FILE.py" or "FILE.py:NAME"; "module" or "module:NAME". NAME is "config" if it is not said,
            and names a Config, or a function that gives one.

    Raises:
        ConfigurationError: there is none, or it is wrong; the text says what.
    """
    if what.endswith(".toml"):
        return Config.from_toml(what)
    place, _, name = what.partition(":")
    return _config(_names_of(place), name or _NAME, place)


def _names_of(place: str) -> Any:
    directory = os.path.dirname(os.path.abspath(place)) if place.endswith(".py") else os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)  # as Python does for a script
    try:
        if place.endswith(".py"):
            return runpy.run_path(place, run_name="parsl_pool_check")  # not __main__: nothing is to be computed
        return vars(import_module(place)) | _late_names(place)
    except (OSError, ImportError) as problem:
        raise ConfigurationError(f"{place} can't be read: {described(problem)}") from problem
    except ConfigurationError as problem:
        raise type(problem)(f"{place}: {problem}") from problem
    except Exception as problem:  # the user's program; told with its class
        raise ConfigurationError(f"{place} fails when it is run: {described(problem)}") from problem


def _late_names(module: str) -> dict[str, Any]:
    """What the module makes when it is asked, as `parsl_pool.configs` do."""
    late = getattr(sys.modules[module], "__getattr__", None)
    try:
        return {_NAME: late(_NAME)} if late is not None else {}
    except AttributeError:
        return {}


def _config(names: dict[str, Any], name: str, place: str) -> Config:
    if name not in names:
        raise ConfigurationError(f"{place} has no {name!r}: give it a Config of that name, or write {place}:NAME")
    found = names[name]
    if callable(found) and not isinstance(found, Config):
        try:
            found = found()
        except ConfigurationError as problem:
            raise type(problem)(f"{place}, {name}(): {problem}") from problem
        except Exception as problem:  # as above
            raise ConfigurationError(f"{place}, {name}() fails: {described(problem)}") from problem
    if not isinstance(found, Config):
        raise ConfigurationError(f"{place}: {name} must be a Config, or a function that gives one, got {shown(found)}")
    return found
