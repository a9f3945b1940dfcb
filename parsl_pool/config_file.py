"""What a TOML file says about a Config.

    retries = 2
    run_dir = "runs"

    [[executors]]
    type = "HighThroughputExecutor"
    label = "local"
    max_workers_per_node = 4

    [executors.provider]
    type = "LocalProvider"
    worker_init = "module load python"

A table with a `type` is an object of that class of the project, made with the other entries.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from datetime import time
from typing import Any

from parsl_pool.errors import ConfigurationError, OptionalModuleMissing, shown

_EXECUTORS = {
    "HighThroughputExecutor": "parsl_pool.executors.high_throughput.executor",
    "MPIExecutor": "parsl_pool.executors.mpi",
    "ThreadPoolExecutor": "parsl_pool.executors.threads",
}
_OF_PROVIDERS = (
    "LocalProvider SlurmProvider GridEngineProvider PBSProProvider TorqueProvider LSFProvider CondorProvider "
    "CobaltProvider SimulatedProvider AdHocProvider "
    "SimpleLauncher SingleNodeLauncher WrappedLauncher SrunLauncher SrunMPILauncher AprunLauncher JsrunLauncher "
    "MpiExecLauncher MpiRunLauncher GnuParallelLauncher "
    "LocalChannel SSHChannel"
).split()
_CLASSES = {**_EXECUTORS, **dict.fromkeys(_OF_PROVIDERS, "parsl_pool.providers")}


def entries_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file says: options of a Config by name, with executors made.

    Raises:
        ConfigurationError: it can't be read, or something in it is wrong; the text has the place in the file.
        OptionalModuleMissing: on Python 3.10, without the package tomli.
    """
    where = os.fspath(path)
    try:
        with open(where, "rb") as file:
            entries = _loads(file.read().decode())
    except OSError as problem:
        raise ConfigurationError(f"the configuration file {where} can't be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise ConfigurationError(f"the configuration file {where} is no TOML: {problem}") from problem
    entries = {name: value.isoformat() if isinstance(value, time) else value for name, value in entries.items()}
    tables = entries.get("executors")
    if tables is not None:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ConfigurationError(f"{where}: executors are tables: [[executors]]")
        entries["executors"] = [
            _made(table, f"{where}: executor {number}", _EXECUTORS) for number, table in enumerate(tables, 1)
        ]
    return entries


def value_of(text: str) -> Any:
    """A variable's value as TOML has it, if it is that; else the text itself."""
    try:
        return _loads(f"value = {text.lower() if text in ('True', 'False') else text}")["value"]
    except ValueError:
        return text


def _loads(text: str) -> dict[str, Any]:
    from importlib import import_module  # only for those who have such files, as the modules

    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise OptionalModuleMissing(["tomli"], "TOML files on Python 3.10") from None
    loaded: dict[str, Any] = toml.loads(text)
    return loaded


def _value(value: Any, where: str) -> Any:
    """What a table with a `type` stands for, also in a list; anything else is itself."""
    if isinstance(value, time):
        return value.isoformat()  # TOML's times of day: for us "01:30:00" is a while
    if isinstance(value, list):
        return [_value(each, f"{where} {number}") for number, each in enumerate(value, 1)]
    return _made(value, where, _CLASSES) if isinstance(value, dict) and "type" in value else value


def _made(table: dict[str, Any], where: str, classes: Mapping[str, str]) -> Any:
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in classes:
        raise ConfigurationError(f"{where}: type must be one of {', '.join(classes)}, got {shown(kind)}")
    from importlib import import_module  # as above

    cls = getattr(import_module(classes[kind]), kind)
    arguments = {name: _value(value, f"{where}, {name}") for name, value in table.items() if name != "type"}
    known = inspect.signature(cls).parameters
    for name in arguments:
        if name not in known:
            raise ConfigurationError(f"{where}: a {kind} has no option {name!r}; there are: {', '.join(known)}")
    try:
        return cls(**arguments)
    except ConfigurationError as problem:
        raise ConfigurationError(f"{where}: {problem}") from None
