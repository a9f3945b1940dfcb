"""Apps: functions whose calls are tasks of a pool. Sugar over `submit`."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from parsl_pool import checks, sandboxing, session, streams
from parsl_pool.apps import keywords
from parsl_pool.dataflow.call import Call
from parsl_pool.dataflow.record import Options
from parsl_pool.errors import ConfigurationError, WrongType, shown
from parsl_pool.files import File
from parsl_pool.futures import AppFuture, LiftingFuture
from parsl_pool.interchange import shell
from parsl_pool.options import changed
from parsl_pool.resources import asked, asking

if TYPE_CHECKING:
    from typing import Concatenate

    from typing_extensions import ParamSpec

    from parsl_pool.executor import ParslPoolExecutor

    P = ParamSpec("P")
    Q = ParamSpec("Q")
else:
    from typing import ParamSpec

    P = ParamSpec("P")

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
F_co = TypeVar("F_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


Place = bool | str | os.PathLike[str] | None


class Promise(Protocol[R_co]):
    """Any future of such a value; for type checkers: `Future` itself is not covariant."""

    def result(self, timeout: float | None = None) -> R_co: ...

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None: ...


class _Of(Protocol[F_co]):
    """An app of such a function; for type checkers."""

    @property
    def func(self) -> F_co: ...


class AppBase:
    """What all apps are.

    Attributes:
        func: the function.
        executors: labels of the executors that may run it, or "all".
        cache: whether a call that was done before is not done again.
        ignore_for_cache: arguments that make no difference for that.
        sandbox: whether its tasks have directories of their own, or where; None: as the pool's Config says.
        data_flow_kernel: the pool that it belongs to; None: the one that is loaded when it is called.
    """

    __name__: str

    def __init__(
        self,
        func: Callable[..., Any],
        data_flow_kernel: ParslPoolExecutor | None = None,
        executors: Sequence[str] | str = "all",
        cache: bool = False,
        ignore_for_cache: Sequence[str] | None = None,
        sandbox: Place = None,
    ) -> None:
        self._binds: Any = type(func) if isinstance(func, (classmethod, staticmethod)) else None
        func = getattr(func, "__func__") if self._binds else func  # noqa: B009  # checkers take it for a function
        if not callable(func):
            raise WrongType(f"an app is made of a function, got {shown(func)}")
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise ConfigurationError(
                f"{name_of(func)} is a generator function (it has a yield): a task has one result, return a list"
            )
        if inspect.iscoroutinefunction(func):
            raise ConfigurationError(f"{name_of(func)} is a coroutine function (async def): a task calls a plain one")
        functools.update_wrapper(self, func)
        self.func = func
        self.data_flow_kernel = data_flow_kernel
        self.executors, self.cache, self.ignore_for_cache = executors, cache, ignore_for_cache
        options: dict[str, Any] = {"executors": executors, "cache": cache, "ignore_for_cache": ignore_for_cache}
        self.sandbox = sandbox
        if sandbox is not None:
            options["sandbox"] = sandbox
        self._changes = {name: getattr(changed(Options(), options), name) for name in options}
        self._taken = keywords.taken_by(func)
        self._usual: tuple[Options, Options] | None = None  # a pool's, and those of a call there without keywords

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a call of the function as a task. Futures among the arguments are awaited."""
        return self._called(args, kwargs)

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AppFuture[Any]:
        pool = session.dfk() if self.data_flow_kernel is None else self.data_flow_kernel
        if not kwargs and self._taken.says_nothing:
            return self._submit(pool, self._usual_options(pool), {}, args, {})
        args, kwargs = self._taken.by_name(args, kwargs)
        if self._taken.brought:
            args, kwargs = self._taken.with_brought(args, kwargs)
        special = {**self._taken.defaults, **{name: kwargs[name] for name in keywords.NAMES if name in kwargs}}
        options = self._options(pool, special)
        own = {name: value for name, value in kwargs.items() if name not in special or self._taken.may_pass(name)}
        return self._submit(pool, options, special, args, own)

    def _usual_options(self, pool: ParslPoolExecutor) -> Options:
        usual, defaults = self._usual, pool.default_options
        if usual is None or usual[0] is not defaults:
            options = defaults
            # Else they stay the very same object: the pool knows by that that nothing special is asked of it.
            if any(getattr(defaults, name) != value for name, value in self._changes.items()):
                options = pool.check_options(defaults._replace(**self._changes))
            self._usual = usual = (defaults, options)
        return usual[1]

    def _options(self, pool: ParslPoolExecutor, special: dict[str, Any]) -> Options:
        walltime = keywords.walltime_of(special)
        options = self._usual_options(pool)
        if walltime is not None and not (options.join and self._taken.may_pass("walltime")):  # that's for what it calls
            options = pool.check_options(options._replace(walltime=walltime))
        specification = special.get("parsl_resource_specification")
        if specification is not None:
            options = pool.check_options(asking(options, asked("parsl_resource_specification", specification)))
        return options

    def _submit(
        self,
        pool: ParslPoolExecutor,
        options: Options,
        special: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AppFuture[Any]:
        raise NotImplementedError

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: the object, or the class, is the first argument."""
        if self._binds is classmethod:
            return partial(self, type(instance) if owner is None else owner)
        return self if instance is None or self._binds else partial(self, instance)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {name_of(self.func)}>"

    def __reduce__(self) -> Any:
        """By its name, where that can be imported; else as a new app, of the pool that is loaded there."""
        module, name = self.func.__module__, self.func.__qualname__
        try:
            found = module != "__main__" and _app_named(module, name) is self
        except (ImportError, AttributeError):
            found = False
        if found:
            return _app_named, (module, name)
        func = self._binds(self.func) if self._binds else self.func
        return _app_made, (type(self), func, self._own_arguments())

    def _own_arguments(self) -> dict[str, Any]:
        names = ("executors", "cache", "ignore_for_cache", "sandbox")
        return {name: getattr(self, name) for name in names}


def _app_named(module: str, qualname: str) -> Any:
    from importlib import import_module  # rarely needed

    thing: Any = import_module(module)
    for part in qualname.split("."):
        thing = getattr(thing, part)
    return thing


def _app_made(kind: type[AppBase], func: Callable[..., Any], arguments: dict[str, Any]) -> AppBase:
    return kind(func, **arguments)


class PythonApp(AppBase, Generic[P, R]):
    """A function that runs as a task.

    Attributes:
        join: it is a join app: it runs here, and what it returns is waited for.
    """

    def __init__(
        self,
        func: Callable[P, R],
        data_flow_kernel: ParslPoolExecutor | None = None,
        executors: Sequence[str] | str = "all",
        cache: bool = False,
        ignore_for_cache: Sequence[str] | None = None,
        join: bool = False,
        sandbox: Place = None,
    ) -> None:
        super().__init__(func, data_flow_kernel, executors, cache, ignore_for_cache, sandbox)
        self.func: Callable[P, R]
        self.join = self._changes["join"] = checks.flag("join", join)

    def _own_arguments(self) -> dict[str, Any]:
        return {**super()._own_arguments(), "join": self.join}

    if TYPE_CHECKING:  # a method's `self` is not among its arguments; of a class it may be any kind of method

        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Any: ...
        @overload
        def __get__(
            self: PythonApp[Concatenate[A, Q], R], instance: A, owner: type | None = None
        ) -> PythonApp[Q, R]: ...
        def __get__(self, instance: Any, owner: type | None = None) -> Any: ...

    # Types say of keywords only that they are there: they may be futures, or special ones.
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AppFuture[R]: ...
    @overload
    def __call__(self, **kwargs: Any) -> AppFuture[R]: ...
    @overload
    def __call__(self: _Of[Callable[Concatenate[A, ...], R]], a: A | Promise[A], /, **kwargs: Any) -> AppFuture[R]: ...
    @overload
    def __call__(
        self: _Of[Callable[Concatenate[A, B, ...], R]], a: A | Promise[A], b: B | Promise[B], /, **kwargs: Any
    ) -> AppFuture[R]: ...
    @overload
    def __call__(
        self: _Of[Callable[Concatenate[A, B, C, ...], R]],
        a: A | Promise[A],
        b: B | Promise[B],
        c: C | Promise[C],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> AppFuture[R]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]  # mypy: a positional-only one is taken
        """Run a call of the function as a task. Futures among the arguments are awaited."""
        return self._called(args, kwargs)

    def _submit(
        self,
        pool: ParslPoolExecutor,
        options: Options,
        special: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AppFuture[Any]:
        outputs = keywords.outputs_of(special)
        if not outputs and options.is_plain:
            future = pool.submit_with(options, self.func, args, kwargs)
            # As it is the executor's own, with nothing around it. Only its methods are other ones.
            future.__class__ = LiftingFuture
            return future
        if not outputs:
            return pool.submit_call(Call(self.func, args, kwargs, is_app=True), options)
        if options.join:  # its outputs are those of the apps that it calls
            return pool.submit_call(
                Call(self.func, args, _with_files(kwargs, outputs), outputs=outputs, is_app=True), options
            )
        written = keywords.copies_of(outputs, kwargs)
        kwargs = _with_files(kwargs, written)
        given = {**kwargs, "outputs": list(written)} if self._taken.may_pass("outputs") else kwargs
        run = partial(shell.run_with_outputs, self.func, name_of(self.func))
        call = Call(
            self.func, args, kwargs, (run, (written, *args), given), outputs=outputs, written=written, is_app=True
        )
        return pool.submit_call(call, options)


class BashApp(AppBase, Generic[P]):
    """A function that makes up a command line, which runs in a shell as a task."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AppFuture[int]: ...
    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture[int]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a call of the function, and the command that it returns, as a task."""
        return self._called(args, kwargs)

    def _submit(
        self,
        pool: ParslPoolExecutor,
        options: Options,
        special: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AppFuture[Any]:
        task = pool.new_task_id()
        name = name_of(self.func)
        label = special.get("label")
        text = "" if label is None else checks.short_text("label", label)
        automatic = partial(pool.automatic, task, name, text, options, (self.func, args, kwargs))
        said = sandboxing.with_streams(special) if options.sandbox else special
        stdout = streams.stream_of(said, "stdout", automatic)
        stderr = streams.stream_of(said, "stderr", automatic)
        stderr = stdout if stderr == stdout else stderr  # if it is a File, one
        outputs = keywords.outputs_of(special)
        written = keywords.copies_of(outputs, kwargs)
        kwargs = _with_files(kwargs, written)
        given = dict(kwargs)  # as the function sees them; a name that is made up here is no part of the call's key
        if written and self._taken.may_pass("outputs"):
            given["outputs"] = list(written)
        for stream, path in (("stdout", stdout), ("stderr", stderr)):
            if stream in given or (stream in self._taken.names and path is not None):
                given[stream] = path
        runs_as = (partial(shell.run_command, self.func, name), (stdout, stderr, written, *args), given)
        call = Call(
            self.func, args, kwargs, runs_as, task, streams.path_of(stdout), streams.path_of(stderr), outputs,
            written, is_app=True, is_command=True,
        )  # fmt: skip
        return pool.submit_call(call, options)


def _with_files(kwargs: dict[str, Any], outputs: tuple[File, ...]) -> dict[str, Any]:
    return {**kwargs, "outputs": list(outputs)} if "outputs" in kwargs else dict(kwargs)


def name_of(function: Callable[..., Any]) -> str:
    """What people know the function by."""
    inner = function.func if isinstance(function, partial) and not hasattr(function, "__name__") else function
    return str(getattr(inner, "__name__", type(inner).__name__))
