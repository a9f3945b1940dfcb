"""The process-wide pool: what apps use that belong to none."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from parsl_pool.errors import ConfigurationError, NoDataFlowKernelError

if TYPE_CHECKING:
    from parsl_pool.config import Config
    from parsl_pool.executor import ParslPoolExecutor

_lock = threading.Lock()  # guards _loaded
_loaded: ParslPoolExecutor | None = None
_left_to = 0  # the process that we are a fork of, if it had loaded a pool and used it


def _after_fork_in_child() -> None:
    global _loaded, _left_to
    _lock._at_fork_reinit()  # type: ignore[attr-defined]  # private, and made for that
    if _loaded is not None and not all(executor.is_new for executor in _loaded.executors.values()):
        _loaded, _left_to = None, os.getppid()


os.register_at_fork(after_in_child=_after_fork_in_child)


def load(config: Config | None = None) -> ParslPoolExecutor:
    """Make a pool, and have all apps use it that belong to none. As a context manager, leaving it ends the pool.

    Args:
        config: what the pool is made of; None: threads of this process.

    Returns:
        The pool. In a notebook, the one that runs already, if it was made of an equal Config.

    Raises:
        ConfigurationError: a pool is loaded already, and has not been ended.
        WrongType: what was given is no Config.
    """
    from parsl_pool import config as configs  # `import parsl_pool` is to cost nothing, as below
    from parsl_pool.executor import ParslPoolExecutor

    config = configs.Config() if config is None else configs.checked(config)
    global _loaded
    with _lock:
        if _loaded is not None and not _loaded._shutdown_thread:
            if _in_notebook() and _loaded.config.is_same_as(config):
                return _loaded  # its cell has been run again
            raise ConfigurationError(
                f"a pool is loaded already, {_loaded!r}: call parsl_pool.clear() first, or use it by parsl_pool.dfk()"
            )
        _loaded = ParslPoolExecutor(config)
        return _loaded


def _in_notebook() -> bool:
    kernel = sys.modules.get("IPython")
    return kernel is not None and kernel.get_ipython() is not None


def clear() -> None:
    """End the loaded pool, if there is one, so that another can be loaded."""
    global _loaded
    with _lock:
        pool, _loaded = _loaded, None
    if pool is not None:
        pool.shutdown()


def dfk() -> ParslPoolExecutor:
    """The loaded pool.

    Raises:
        NoDataFlowKernelError: there is none.
    """
    if _loaded is None and _left_to:
        raise NoDataFlowKernelError(
            f"the pool that was loaded belongs to process {_left_to}, of which this one is a fork: call "
            "parsl_pool.load() here"
        )
    if _loaded is None:
        raise NoDataFlowKernelError("no pool is loaded: call parsl_pool.load() first, or parsl_pool.load(Config(...))")
    return _loaded


def wait_for_current_tasks() -> None:
    """Wait until all tasks of the loaded pool are done that it has now."""
    dfk().wait_for_current_tasks()
