"""Every error that the project raises, under one root.

The one module that all rooms may import. It loads nothing: the classes that also derive from
`concurrent.futures.process.BrokenProcessPool` live in `parsl_pool.lost` and are fetched when first named,
because their base costs a process 20 ms of imports that a worker never needs. Those of providers and channels,
which a worker does not need either, live in `parsl_pool.provider_errors`; those of files
that are brought from one place to another in `parsl_pool.staging_errors`.

An error's constructor arguments are its attributes and its `args`, so that it survives pickling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pickle import PicklingError

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from typing import Any

    from parsl_pool.lost import DeserializationError as DeserializationError
    from parsl_pool.lost import InitializerError as InitializerError
    from parsl_pool.lost import InterchangeLost as InterchangeLost
    from parsl_pool.lost import ManagerLost as ManagerLost
    from parsl_pool.lost import PlaceLost as PlaceLost
    from parsl_pool.lost import PoolBroken as PoolBroken
    from parsl_pool.lost import StartError as StartError
    from parsl_pool.lost import VersionMismatch as VersionMismatch
    from parsl_pool.lost import WorkerKilled as WorkerKilled
    from parsl_pool.lost import WorkerLost as WorkerLost
    from parsl_pool.provider_errors import AuthException as AuthException
    from parsl_pool.provider_errors import BadHostKeyException as BadHostKeyException
    from parsl_pool.provider_errors import BadLauncher as BadLauncher
    from parsl_pool.provider_errors import BadPermsScriptPath as BadPermsScriptPath
    from parsl_pool.provider_errors import BadScriptPath as BadScriptPath
    from parsl_pool.provider_errors import ChannelError as ChannelError
    from parsl_pool.provider_errors import ExecutionProviderException as ExecutionProviderException
    from parsl_pool.provider_errors import FileCopyException as FileCopyException
    from parsl_pool.provider_errors import FileExists as FileExists
    from parsl_pool.provider_errors import ScaleOutFailed as ScaleOutFailed
    from parsl_pool.provider_errors import SchedulerMissingArgs as SchedulerMissingArgs
    from parsl_pool.provider_errors import ScriptPathError as ScriptPathError
    from parsl_pool.provider_errors import SSHException as SSHException
    from parsl_pool.provider_errors import SubmitException as SubmitException
    from parsl_pool.staging_errors import GlobusTransferFailed as GlobusTransferFailed
    from parsl_pool.staging_errors import StagingError as StagingError
    from parsl_pool.staging_errors import TransferFailed as TransferFailed

_LAZY = {  # in which module beside this one
    "DeserializationError": "lost",
    "InitializerError": "lost",
    "InterchangeLost": "lost",
    "ManagerLost": "lost",
    "PlaceLost": "lost",
    "PoolBroken": "lost",
    "StartError": "lost",
    "VersionMismatch": "lost",
    "WorkerKilled": "lost",
    "WorkerLost": "lost",
    "AuthException": "provider_errors",
    "BadHostKeyException": "provider_errors",
    "BadLauncher": "provider_errors",
    "BadPermsScriptPath": "provider_errors",
    "BadScriptPath": "provider_errors",
    "ChannelError": "provider_errors",
    "ExecutionProviderException": "provider_errors",
    "FileCopyException": "provider_errors",
    "FileExists": "provider_errors",
    "SSHException": "provider_errors",
    "ScaleOutFailed": "provider_errors",
    "SchedulerMissingArgs": "provider_errors",
    "ScriptPathError": "provider_errors",
    "SubmitException": "provider_errors",
    "GlobusTransferFailed": "staging_errors",
    "StagingError": "staging_errors",
    "TransferFailed": "staging_errors",
}


class ParslPoolError(Exception):
    """Base of every error of this project."""


class InternalError(ParslPoolError):
    """A bug in parsl_pool itself: an invariant did not hold. Please report it."""


class ConfigurationError(ParslPoolError, ValueError):
    """An option is wrong; the text says which, what was given, and what would be right."""


class WrongType(ConfigurationError, TypeError):
    """An argument is of a wrong type; the text says which, what was given, and what would be right."""


class OptionalModuleMissing(ParslPoolError, ImportError):
    """A feature needs a package that is not installed."""

    def __init__(self, module_names: Sequence[str], reason: str) -> None:
        super().__init__(module_names, reason)
        self.module_names, self.reason = module_names, reason

    def __str__(self) -> str:
        return f"{self.reason}: needs {', '.join(self.module_names)}, which is not installed"


class UnsupportedPlatform(ParslPoolError, ImportError):
    """The pool cannot run on this operating system."""


# ---- tasks


class SerializationError(ParslPoolError, PicklingError):
    """A function, argument, result or exception cannot be pickled; the text names the offending part.

    Attributes:
        name: what was being pickled, for example ``"argument 1 of fit"``.
        path: attribute path from there to the part that cannot be pickled, for example ``".model.lock"``.
        reason: what pickle said.
    """

    def __init__(self, name: str, path: str = "", reason: str = "") -> None:
        super().__init__(name, path, reason)
        self.name, self.path, self.reason = name, path, reason

    def __str__(self) -> str:
        where = f"{self.name}, at {self.path.strip()}" if self.path else self.name
        return f"cannot pickle {where}" + (f": {self.reason}" if self.reason else "")


class RemoteError(ParslPoolError):
    """Stands for an exception that cannot itself travel from a worker.

    Attributes:
        type_name: qualified name of the original class.
        text: what ``str()`` of it gave.
        traceback_text: the formatted traceback on the worker.
        reason: why the original could not travel.
    """

    def __init__(self, type_name: str, text: str, traceback_text: str = "", reason: str = "") -> None:
        super().__init__(type_name, text, traceback_text, reason)
        self.type_name, self.text = type_name, text
        self.traceback_text, self.reason = traceback_text, reason

    def __str__(self) -> str:
        why = f" (the original could not be sent: {self.reason})" if self.reason else ""
        return f"{self.type_name}: {self.text}{why}"


class AppException(ParslPoolError):
    """Base of errors in the execution of an app."""


class AppTimeout(AppException, TimeoutError):
    """A task ran longer than its walltime and was stopped."""


class BashExitFailure(AppException):
    """The command of a bash app ended with an exit code that is not 0.

    Attributes:
        app_name: name of the app.
        exitcode: the exit code; negative: the number of the signal that ended the shell.
        stderr: the last lines of its standard error, where that was kept.
    """

    def __init__(self, app_name: str, exitcode: int, stderr: str = "") -> None:
        super().__init__(app_name, exitcode, stderr)
        self.app_name, self.exitcode, self.stderr = app_name, exitcode, stderr

    def __str__(self) -> str:
        code = self.exitcode
        how = f"was ended by signal {-code}" if isinstance(code, int) and code < 0 else f"ended with exit code {code}"
        tail = "\nits last words:\n" + self.stderr.rstrip() if self.stderr.strip() else ""
        return f"the command of bash app {self.app_name} {how}{tail}"


class BashAppNoReturn(AppException):
    """The function of a bash app returned no command line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AppBadFormatting(ParslPoolError):
    """The function of a bash app failed while it made up the command line; `__cause__` is its error."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadStdStreamFile(ParslPoolError):
    """What was given as stdout or stderr of a bash app can't be one; the text has the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MissingOutputs(ParslPoolError):
    """A task has returned, and files that it was to write are not there.

    Attributes:
        outputs: the paths that are missing.
    """

    def __init__(self, reason: str, outputs: Sequence[Any]) -> None:
        super().__init__(reason, outputs)
        self.reason, self.outputs = reason, outputs

    def __str__(self) -> str:
        outputs = self.outputs if isinstance(self.outputs, str) else ", ".join(map(str, self.outputs))
        return f"{self.reason}: {outputs}"


# ---- dataflow


class DataFlowException(ParslPoolError):
    """Base of errors of the dataflow layer."""


class NoDataFlowKernelError(ParslPoolError, RuntimeError):
    """An app was called, or a kernel asked for, and none is loaded: call `parsl_pool.load()` first."""


class PoolElsewhere(ParslPoolError, RuntimeError):
    """A pool that was pickled was used where it can't be: it works in the process that made it, and in its tasks."""

    def __init__(self, reason: str, label: str = "") -> None:
        super().__init__(reason, label)
        self.reason, self.label = reason, label

    def __str__(self) -> str:
        pool = f"pool {self.label}" if self.label else "the pool"
        return f"{pool} can be used by the process that made it, and by tasks that it runs: {self.reason}"


class PropagatedException(DataFlowException):
    """A task could not be finished because others failed.

    Attributes:
        dependent_exceptions_tids: pairs (exception, identifier of the future that failed).
        task_id: the task that this is about.
        name: what people know it by: its label, or its function's name.
    """

    _what, _how = "did not run", "needs"

    def __init__(
        self, dependent_exceptions_tids: Sequence[tuple[BaseException, str]], task_id: int | str, name: str = ""
    ) -> None:
        super().__init__(dependent_exceptions_tids, task_id, name)
        self.dependent_exceptions_tids = dependent_exceptions_tids
        self.task_id, self.name = task_id, name

    @property
    def root_cause(self) -> BaseException:
        """The error at the start of the chain of failures."""
        error: BaseException = self
        while isinstance(error, PropagatedException) and error.dependent_exceptions_tids:
            error = error.dependent_exceptions_tids[0][0]
        return error

    def _path(self) -> str:
        """From this task on to the one that failed of itself."""
        path, error = [], self
        while error.dependent_exceptions_tids:
            cause, name = error.dependent_exceptions_tids[0]
            path.append(f"{error._how} {name}")
            if not isinstance(cause, PropagatedException):
                break
            error = cause
        if len(path) > 12:  # of a long way both ends
            path[6:-5] = [f"(after {len(path) - 11:,} more) {path[-6]}"]
        return ", which ".join(path)

    def __str__(self) -> str:
        task = f"task {self.task_id} ({self.name})" if self.name else f"task {self.task_id}"
        if not self.dependent_exceptions_tids:
            return f"{task} {self._what}: something that it {self._how} failed"
        root = self.root_cause
        others = len(self.dependent_exceptions_tids) - 1
        more = f" (and {others} more that it {self._how} failed)" if others > 0 else ""
        failed = f"which failed with {described(root)}"
        return f"{task} {self._what}: it {self._path()}, {failed}{more}"


class DependencyError(PropagatedException):
    """A task could not run because something that it depends on failed."""


class JoinError(PropagatedException):
    """A join app ran, and one of the futures that it returned failed."""

    _what, _how = "has no result", "joined"


class DependencyCycle(DataFlowException):
    """A join app has returned a future that waits, through others, for the join app itself.

    Attributes:
        path: tasks each of which waits for the next, and the last one for the first.
    """

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        way = ", which waits for ".join([*self.path[1:10], *(["..."] if len(self.path) > 10 else []), *self.path[:1]])
        return f"{self.path[0]} would never end: it waits for {way}"


# ---- memoization


class UnknownMemoType(ParslPoolError, TypeError):
    """A call cannot be memoized: nobody has said when two objects of this type are the same.

    Attributes:
        type_name: the type's qualified name.
        where: what was looked at, for example ``"argument x of fit"``.
        path: the way from there to the object, for example ``"[3].model"``.
        reason: why a type that is known otherwise is refused here.
    """

    def __init__(self, type_name: str, where: str = "", path: str = "", reason: str = "") -> None:
        super().__init__(type_name, where, path, reason)
        self.type_name, self.where, self.path, self.reason = type_name, where, path, reason

    def inside(self, step: str) -> UnknownMemoType:
        """The same error, seen from the object that holds the unknown one."""
        path = step + self.path
        if len(path) > 160:  # of what is very deep, its surface and the place itself
            path = f"{path[:80]}...{path[-75:]}"
        return type(self)(self.type_name, self.where, path, self.reason)

    def of(self, where: str) -> UnknownMemoType:
        """The same error, with the name of what was looked at."""
        return type(self)(self.type_name, where, self.path, self.reason)

    def __str__(self) -> str:
        what = f"{self.where}: {self.path}" if self.where and self.path else self.where or self.path or "a value"
        return (
            f"unknown type for memoization: {what} is a {self.type_name}"
            + (f", {self.reason}" if self.reason else "")
            + f". Say what makes two of them the same by @parsl_pool.id_for_memo.register({self.type_name}) on a"
            " function (obj, output_ref=False) -> bytes, or leave the argument out of the key (ignore_for_cache)"
        )


class BadCheckpoint(DataFlowException):
    """A checkpoint cannot be read: it is missing, damaged, or not one of ours."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"checkpoint {self.path}: {self.reason}"


# ---- executors


class ExecutorError(ParslPoolError):
    """Base of errors of an executor.

    Attributes:
        executor: the executor's label.
        reason: what happened.
    """

    def __init__(self, executor: object, reason: str) -> None:
        label = getattr(executor, "label", executor)
        super().__init__(label, reason)
        self.executor, self.reason = label, reason

    def __str__(self) -> str:
        return f"executor {self.executor}: {self.reason}" if self.executor else self.reason


class BadStateException(ExecutorError):
    """The executor cannot recover; all of its tasks fail with this. See `PoolBroken`, which is what is raised."""


class UnsupportedFeatureError(ExecutorError):
    """The executor lacks a feature that was asked for."""


class InvalidResourceSpecification(ExecutorError, ValueError):
    """A resource specification has unknown keys or impossible values."""


class ScalingFailed(ExecutorError):
    """The provider could not give blocks."""


class ObjectUnavailable(ParslPoolError):
    """The object of a Ref can't be had: it was freed, its pool has ended, it is another pool's, or its node is gone.

    Attributes:
        key: which object it is.
        reason: why there is none.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return f"object {self.key}: {self.reason}"


class BadMessage(ParslPoolError):
    """A frame that is not of our wire format; it was dropped."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def describe_fields(fields: Mapping[str, object]) -> str:
    """Facts as one line, empty ones left out: ``"exit code 3, host n1"``."""
    return ", ".join(f"{name} {value}" for name, value in fields.items() if value not in (None, "", b""))


def shown(value: object, limit: int = 120) -> str:
    """A value of the user's, for a message: one line, never long, and there is one even if its own `repr` fails."""
    from reprlib import Repr  # only when something is wrong

    short = Repr()
    short.maxother = short.maxstring = short.maxlong = limit - 20
    try:
        text = " ".join(short.repr(value).split())
    except (Exception, SystemExit) as problem:  # the user's code; the message is about something else
        text = f"a {type(value).__name__} (whose repr() raises {type(problem).__name__})"
        if isinstance(value, int):
            text = f"a number of {value.bit_length():,} bits"  # newer Pythons refuse to write these out
    return text if len(text) <= limit else text[: limit - 3] + "..."


def bounded(text: str, limit: int = 64_000) -> str:
    """A text of bearable length: of a longer one its two ends, for what an error says stands at one of them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half:,} characters left out) ...\n{text[-half:]}"


def described(problem: BaseException, limit: int = 2000) -> str:
    """Class and text of an error, of bearable length, and there is one even if its own `str` fails."""
    try:
        text = str(problem)
    except KeyboardInterrupt:
        raise
    except BaseException:  # the user's code; the class must do
        text = ""
    if len(text) > limit:
        text = f"{text[:limit]}..."
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


_ALIASES = {"ParslError": "ParslPoolError", "InternalConsistencyError": "InternalError"}


def __getattr__(name: str) -> Any:
    if name in _ALIASES:
        return globals()[_ALIASES[name]]
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # here and not above, as what it imports: see the module's head

    value = globals()[name] = getattr(import_module(f"parsl_pool.{_LAZY[name]}"), name)
    return value
