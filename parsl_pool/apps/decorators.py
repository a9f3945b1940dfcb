"""`@python_app`, `@bash_app`, `@join_app`, with and without brackets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, overload

from parsl_pool.apps.app import BashApp, Place, PythonApp

if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    from parsl_pool.executor import ParslPoolExecutor

    P = ParamSpec("P")
else:
    from typing import ParamSpec

    P = ParamSpec("P")

R = TypeVar("R")


@overload
def python_app(function: Callable[P, R]) -> PythonApp[P, R]: ...
@overload
def python_app(
    function: None = None,
    data_flow_kernel: ParslPoolExecutor | None = None,
    cache: bool = False,
    executors: Sequence[str] | str = "all",
    ignore_for_cache: Sequence[str] | None = None,
    sandbox: Place = None,
) -> Callable[[Callable[P, R]], PythonApp[P, R]]: ...
@overload
def python_app(
    function: Callable[P, R],
    data_flow_kernel: ParslPoolExecutor | None = None,
    cache: bool = False,
    executors: Sequence[str] | str = "all",
    ignore_for_cache: Sequence[str] | None = None,
    sandbox: Place = None,
) -> PythonApp[P, R]: ...
def python_app(
    function: Any = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    executors: Sequence[str] | str = "all",
    ignore_for_cache: Sequence[str] | None = None,
    sandbox: Place = None,
) -> Any:
    """A function as an app: a call of it returns an AppFuture at once, and runs in a worker.

    Args:
        function: only there so that the brackets may be left out.
        data_flow_kernel: the pool that it belongs to; None: the one that is loaded when it is called.
        cache: a call that was done before is not done again.
        executors: labels of the executors that may run it, or "all".
        ignore_for_cache: names of arguments that make no difference for that.
        sandbox: whether its tasks run in directories of their own, or where these are to be; None: as the Config says.

    Raises:
        ConfigurationError: the function can't be an app, or an option is wrong.
    """

    def decorate(func: Callable[..., Any]) -> Any:
        return PythonApp(func, data_flow_kernel, executors, cache, ignore_for_cache, sandbox=sandbox)

    return decorate if function is None else decorate(function)


@overload
def bash_app(function: Callable[P, str]) -> BashApp[P]: ...
@overload
def bash_app(
    function: None = None,
    data_flow_kernel: ParslPoolExecutor | None = None,
    cache: bool = False,
    executors: Sequence[str] | str = "all",
    ignore_for_cache: Sequence[str] | None = None,
    sandbox: Place = None,
) -> Callable[[Callable[P, str]], BashApp[P]]: ...
@overload
def bash_app(
    function: Callable[P, str],
    data_flow_kernel: ParslPoolExecutor | None = None,
    cache: bool = False,
    executors: Sequence[str] | str = "all",
    ignore_for_cache: Sequence[str] | None = None,
    sandbox: Place = None,
) -> BashApp[P]: ...
def bash_app(
    function: Any = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    executors: Sequence[str] | str = "all",
    ignore_for_cache: Sequence[str] | None = None,
    sandbox: Place = None,
) -> Any:
    """A function as a bash app: it returns a command line, which a shell runs where the task runs.

    The future's result is 0. See `python_app` for the arguments.
    """

    def decorate(func: Callable[..., Any]) -> Any:
        return BashApp(func, data_flow_kernel, executors, cache, ignore_for_cache, sandbox=sandbox)

    return decorate if function is None else decorate(function)


@overload
def join_app(function: Callable[P, Future[R]]) -> PythonApp[P, R]: ...
@overload
def join_app(function: Callable[P, Any]) -> PythonApp[P, Any]: ...
@overload
def join_app(
    function: None = None,
    data_flow_kernel: ParslPoolExecutor | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
) -> Callable[[Callable[P, Any]], PythonApp[P, Any]]: ...
@overload
def join_app(
    function: Callable[P, Any],
    data_flow_kernel: ParslPoolExecutor | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
) -> PythonApp[P, Any]: ...
def join_app(
    function: Any = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
) -> Any:
    """A function as a join app: it runs here, calls other apps, and returns their futures.

    Its own future ends when those have; its result is theirs, in the same nest of containers. Meanwhile it holds
    neither a worker nor a thread. See `python_app` for the arguments.
    """

    def decorate(func: Callable[..., Any]) -> Any:
        return PythonApp(func, data_flow_kernel, "all", cache, ignore_for_cache, join=True)

    return decorate if function is None else decorate(function)
