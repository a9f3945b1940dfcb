"""Calls whose tasks run in directories of their own: what becomes of them where they are submitted.

What runs where the task does is in `parsl_pool.staging.sandbox`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from parsl_pool import checks, streams
from parsl_pool.dataflow.call import Call
from parsl_pool.dataflow.record import Options
from parsl_pool.errors import ConfigurationError, StagingError

FOLDER = "sandboxes"
"""In a directory that is not only for them, they are in a folder of this name."""


class Pool(Protocol):
    """What of a pool is needed here."""

    @property
    def executors(self) -> dict[str, Any]: ...

    @property
    def run_id(self) -> str: ...

    @property
    def config(self) -> Any: ...

    def run_directory(self) -> str: ...

    def new_task_id(self) -> int: ...

    def automatic(
        self, task: int, name: str, label: str, options: Options, call: tuple[Any, Any, Any], stream: str
    ) -> Any: ...


def _accepted(value: Any) -> bool | str | None:
    if value is None or isinstance(value, bool):
        return value
    return os.path.abspath(checks.path._accept(value))


RULE: checks.Rule[bool | str | None] = checks.Rule("True, False, None, or a path", "", _accepted)


def with_streams(special: Mapping[str, Any]) -> dict[str, Any]:
    """The special keywords of a call; what they don't say of its standard output and error is to be made up."""
    said = {name: value for name, value in special.items() if value is not None}
    return {"stdout": streams.AUTO_LOGNAME, "stderr": streams.AUTO_LOGNAME, **said}


def in_own_directory(pool: Pool, call: Call, options: Options, backend: Any) -> Call:
    """The call, such that each try of it runs in a directory of its own.

    Raises:
        ConfigurationError: that can't be had.
        StagingError: an output would lie outside of it.
    """
    from parsl_pool.staging import sandbox  # only for such calls

    _check(pool, call, options)
    task = pool.new_task_id() if call.task is None else call.task
    name = options.label or str(getattr(call.fn, "__name__", None) or type(call.fn).__name__)
    base = os.path.join(_root(pool, options, backend), streams.named(task, name, ""))
    out, err = call.stdout, call.stderr
    told: tuple[streams.Stream, streams.Stream] = (None, None)
    if not call.is_command:
        automatic = partial(pool.automatic, task, name, "", options, (call.fn, call.args, call.kwargs))
        said = with_streams({})
        told = streams.stream_of(said, "stdout", automatic), streams.stream_of(said, "stderr", automatic)
        out, err = streams.path_of(told[0]), streams.path_of(told[1])
    terms = sandbox.Terms(base, *told, bool(backend.has_processes))
    fn, args, kwargs = call.runs_as or (call.fn, call.args, call.kwargs)
    runs_as = (partial(sandbox.run, fn), (terms, call.written or call.outputs, *args), kwargs)
    return call._replace(runs_as=runs_as, task=task, stdout=out, stderr=err, sandbox=base)


def _check(pool: Pool, call: Call, options: Options) -> None:
    if not call.is_command:
        threads = [label for label in options.executors or pool.executors if not pool.executors[label].has_processes]
        if threads:
            raise ConfigurationError(
                f"sandbox must be False for a function on executor {threads[0]!r}, got {options.sandbox!r}: its tasks "
                "run in threads, and a process has one working directory for all of them; say executors= for one with "
                "processes. Bash apps can have it there, too"
            )
    for file in call.outputs:
        if file.scheme == "file" and not os.path.isabs(file.path) and os.path.normpath(file.path).startswith(".."):
            raise StagingError(
                f"the output {file.path!r} leads out of the task's own directory (sandbox={options.sandbox!r}): give "
                "an absolute path, such as os.path.abspath() makes"
            )


def _root(pool: Pool, options: Options, backend: Any) -> str:
    """Where the directories of this run's tasks are made."""
    if isinstance(options.sandbox, str):
        return os.path.join(options.sandbox, pool.run_id)
    if backend.working_dir is not None:
        return os.path.join(os.path.abspath(backend.working_dir), FOLDER, pool.run_id)
    if pool.config.run_dir is None:
        raise ConfigurationError(
            "sandbox must be a path if there is no run_dir= and the executor has no working_dir=, got True: the "
            "directory of a task that fails is to stay, and the run's own is temporary"
        )
    return os.path.join(pool.run_directory(), FOLDER)
