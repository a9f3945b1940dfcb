"""The pools that can take the place of ProcessPoolExecutor in CPython's tests."""

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any


def _inside() -> type[Executor]:
    from parsl_pool import ParslPoolExecutor  # here: the standard library's pool must run without the product

    return ParslPoolExecutor  # unchanged, as a program gets it: a plain number of workers means inside


def _apart() -> type[Executor]:
    from parsl_pool import ParslPoolExecutor

    class ApartPool(ParslPoolExecutor):
        """A pool whose manager is a process of its own, as on a cluster."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, manager_inside=False, **kwargs)

    return ApartPool


def _stdlib() -> type[Executor]:
    class StandardPool(ProcessPoolExecutor):
        """Tests the runner: what fails with this one is the runner's fault, or the machine's."""

    return StandardPool


POOLS: dict[str, Callable[[], type[Executor]]] = {"inside": _inside, "apart": _apart, "stdlib": _stdlib}
OURS = ("inside", "apart")
