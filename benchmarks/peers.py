"""The pools that are compared, behind one face: start, submit, gather, map, close.

A peer's own module is imported by `load`, never at the top: each probe loads one of them, often from another
environment than ours. The adapters add nothing to the hot path but a bound method.
"""

from __future__ import annotations

import multiprocessing
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from tempfile import mkdtemp
from typing import Any

from benchmarks.machine import package_version

NETWORK_ADDRESS = "127.0.0.1"


class Pool(ABC):
    """A running pool."""

    submit: Callable[..., Any]    # (fn, *args) -> a handle; the pool's own method where it has one

    @abstractmethod
    def result(self, handle: Any) -> Any:
        """The value behind a handle."""

    @abstractmethod
    def map(self, fn: Callable[[int], int], items: Iterable[int], chunksize: int) -> Iterable[int]:
        """The pool's own map."""

    @abstractmethod
    def close(self) -> None:
        """End the pool, in its ordinary way."""

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        """All values, in order."""
        result = self.result
        return [result(handle) for handle in handles]

    def join_app(self, fn: Callable[[int], Any]) -> Callable[[int], Any]:
        """A function that runs here and returns handles, whose values become its own handle's."""
        raise NotImplementedError

    def remembering(self, fn: Callable[[int], int]) -> Callable[[int], Any]:
        """Like `submit` for this function, but equal calls run once, as long as the first one's handle is held."""
        raise NotImplementedError

    def written(self) -> None:
        """Return when all results that are to be in the checkpoint are there."""
        return    # they are written before anybody gets them


class ExecutorPool(Pool):
    """Any `concurrent.futures.Executor`."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.submit = executor.submit

    def result(self, handle: Any) -> Any:
        return handle.result()

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return [handle.result() for handle in handles]

    def map(self, fn: Callable[[int], int], items: Iterable[int], chunksize: int) -> Iterable[int]:
        answer: Iterable[int] = self.executor.map(fn, items, chunksize=chunksize)
        return answer

    def close(self) -> None:
        self.executor.shutdown()


class OurPool(ExecutorPool):
    """This project's, with its apps."""

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        self._apps = import_module("parsl_pool.apps.decorators")

    def app(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """A plain app."""
        app: Callable[..., Any] = self._apps.python_app(fn, data_flow_kernel=self.executor)
        return app

    def join_app(self, fn: Callable[[int], Any]) -> Callable[[int], Any]:
        app: Callable[[int], Any] = self._apps.join_app(fn, data_flow_kernel=self.executor)
        return app

    def remembering(self, fn: Callable[[int], int]) -> Callable[[int], Any]:
        app: Callable[[int], Any] = self._apps.python_app(fn, data_flow_kernel=self.executor, cache=True)
        return app

    def written(self) -> None:
        self.executor.checkpoint()


class MultiprocessingPool(Pool):
    """`multiprocessing.Pool`, which takes its arguments as a tuple."""

    def __init__(self, workers: int) -> None:
        self._pool = multiprocessing.get_context("fork").Pool(workers)
        self.submit = self._submit

    def _submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._pool.apply_async(fn, args)

    def result(self, handle: Any) -> Any:
        return handle.get()

    def map(self, fn: Callable[[int], int], items: Iterable[int], chunksize: int) -> Iterable[int]:
        return self._pool.map(fn, items, chunksize)

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


class ParslPool(Pool):
    """Parsl's HighThroughputExecutor on a LocalProvider, used the ordinary way: by apps."""

    def __init__(self, workers: int, encrypted: bool, run_dir: str | None = None, **config: Any) -> None:
        parsl = import_module("parsl")
        self._parsl = parsl
        self._app = parsl.python_app
        self._apps: dict[Any, Callable[..., Any]] = {}
        executor = import_module("parsl.executors").HighThroughputExecutor(
            label="benchmark",
            address=NETWORK_ADDRESS,
            max_workers_per_node=workers,
            cores_per_worker=1e-6,    # else never more workers than cores
            encrypted=encrypted,
            provider=import_module("parsl.providers").LocalProvider(init_blocks=1, max_blocks=1),
        )
        run_dir = run_dir or mkdtemp(prefix="parsl-")
        parsl.load(parsl.Config(executors=[executor], run_dir=run_dir, strategy="none", **config))
        self.submit = self._submit

    def _submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        app = self._apps.get(fn)
        if app is None:
            app = self._apps[fn] = self._app(fn)
        return app(*args)

    def result(self, handle: Any) -> Any:
        return handle.result()

    def map(self, fn: Callable[[int], int], items: Iterable[int], chunksize: int) -> Iterable[int]:
        app = self._app(fn)
        return self.gather([app(item) for item in items])

    def join_app(self, fn: Callable[[int], Any]) -> Callable[[int], Any]:
        app: Callable[[int], Any] = self._parsl.join_app(fn)
        return app

    def remembering(self, fn: Callable[[int], int]) -> Callable[[int], Any]:
        app: Callable[[int], Any] = self._app(fn, cache=True)
        return app

    def close(self) -> None:
        self._parsl.dfk().cleanup()
        self._parsl.clear()


class DaskPool(Pool):
    """dask.distributed with one thread a worker process, and without its dashboard."""

    def __init__(self, workers: int) -> None:
        distributed = import_module("distributed")
        self._cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host=NETWORK_ADDRESS,
        )
        self._client = distributed.Client(self._cluster)
        self.submit = self._submit

    def _submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(fn, *args, pure=False)    # pure: equal calls would run once

    def result(self, handle: Any) -> Any:
        return handle.result()

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        values: list[Any] = self._client.gather(list(handles))
        return values

    def map(self, fn: Callable[[int], int], items: Iterable[int], chunksize: int) -> Iterable[int]:
        return self.gather(self._client.map(fn, list(items), pure=False))

    def remembering(self, fn: Callable[[int], int]) -> Callable[[int], Any]:
        submit = self._client.submit
        return lambda item: submit(fn, item, pure=True)    # as long as somebody holds the first one's future

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


@dataclass(frozen=True)
class Peer:
    """A pool that can be started, and how much of a line's work is sensible for one so fast."""

    name: str
    module: str
    starts: Callable[[int], Pool]
    share: float                        # of a line's size: each sample should last about a second
    traits: frozenset[str] = field(default_factory=frozenset)
    distribution: str = ""              # where the version is found; none: Python's own
    import_module_as: str = ""
    import_class_as: str = ""
    writes: Callable[[int, str], Pool] | None = None    # started such that each result goes to a checkpoint in a folder
    command: str = ""                   # a program instead, for lines that have it among theirs

    @property
    def is_slow(self) -> bool:
        """True if a sample takes long whatever its size: the pool takes seconds to start."""
        return self.share < 0.1

    def load(self) -> None:
        """Import the pool's module; ImportError if this environment lacks it, or the program."""
        if self.command and shutil.which(self.command) is None:
            raise ModuleNotFoundError(f"no {self.command} on PATH")
        import_module(self.module)

    @cached_property
    def version(self) -> str:
        """The version of what is measured."""
        if self.command:
            self.load()
            said = subprocess.run([self.command, "--version"], capture_output=True, text=True).stdout
            return " ".join(re.findall(r"\d+(?:\.\d+)+", said)[:1])
        return package_version(self.distribution) if self.distribution else ""


def _process_pool(method: str) -> Callable[[int], Pool]:
    def start(workers: int) -> Pool:
        executor = import_module("concurrent.futures").ProcessPoolExecutor
        return ExecutorPool(executor(workers, mp_context=multiprocessing.get_context(method)))

    return start


def _loky(workers: int) -> Pool:
    return ExecutorPool(import_module("loky").ProcessPoolExecutor(workers))


def _no_pool(workers: int) -> Pool:
    raise NotImplementedError("a program runs no tasks")


def _ours(inside: bool) -> Callable[[int], Pool]:
    def start(workers: int) -> Pool:
        return OurPool(import_module("parsl_pool").ParslPoolExecutor(workers, manager_inside=inside))

    return start


def _ours_that_writes(inside: bool) -> Callable[[int, str], Pool]:
    def start(workers: int, folder: str) -> Pool:
        ours = import_module("parsl_pool")
        executor = ours.HighThroughputExecutor(max_workers_per_node=workers, manager_inside=inside)
        return OurPool(ours.ParslPoolExecutor(ours.Config([executor], run_dir=folder, checkpoint_mode="task_exit")))

    return start


def _parsl_that_writes(workers: int, folder: str) -> Pool:
    mode = {"checkpoint_mode": "task_exit"}
    # As Parsl of 2026 has it; before, it was an option of a Config.
    memoizer = getattr(import_module("parsl.dataflow.memoization"), "BasicMemoizer", None)
    return ParslPool(workers, False, folder, **(mode if memoizer is None else {"memoizer": memoizer(**mode)}))


# What a pool can do beyond submit and map of importable functions.
BY_VALUE = "functions by value"          # closures and lambdas
DATAFLOW = "futures as arguments"
CHUNKS = "chunksize"
JOINS = "join apps"
MEMORY = "equal calls run once"
CHECKPOINTS = "results go to a file as they come"
START_ONLY = "start only"                # interesting for nothing but its start

_PPE_IMPORTS = ("import concurrent.futures.process", "from concurrent.futures import ProcessPoolExecutor")
_STDLIB = "concurrent.futures.process"
_OUR_IMPORTS = ("import parsl_pool", "from parsl_pool import ParslPoolExecutor")
_OURS = frozenset({BY_VALUE, DATAFLOW, CHUNKS, JOINS, MEMORY, CHECKPOINTS})
_PARSL = frozenset({BY_VALUE, DATAFLOW, JOINS, MEMORY})
_DASK = frozenset({BY_VALUE, DATAFLOW, MEMORY})

SUBJECTS = ("inside", "apart")           # our two arrangements; all others are peers

PEERS = {
    peer.name: peer
    for peer in (
        Peer("inside", "parsl_pool.executor", _ours(True), 1.0, _OURS, "parsl_pool", *_OUR_IMPORTS,
             _ours_that_writes(True)),
        Peer("apart", "parsl_pool.executor", _ours(False), 1.0, _OURS, "parsl_pool", *_OUR_IMPORTS,
             _ours_that_writes(False)),
        Peer("ppe", _STDLIB, _process_pool("fork"), 0.2, frozenset({CHUNKS}), "", *_PPE_IMPORTS),
        Peer("ppe-spawn", _STDLIB, _process_pool("spawn"), 0.2, frozenset({START_ONLY})),
        Peer("mp-pool", "multiprocessing.pool", MultiprocessingPool, 0.4, frozenset({CHUNKS}), "",
             "import multiprocessing.pool", "from multiprocessing.pool import Pool"),
        Peer("loky", "loky", _loky, 0.2, frozenset({BY_VALUE, CHUNKS}), "loky",
             "import loky", "from loky import ProcessPoolExecutor"),
        Peer("parsl", "parsl", lambda workers: ParslPool(workers, False), 0.02, _PARSL | {CHECKPOINTS}, "parsl",
             "import parsl", "from parsl.executors import HighThroughputExecutor", _parsl_that_writes),
        Peer("parsl-encrypted", "parsl", lambda workers: ParslPool(workers, True), 0.02, _PARSL, "parsl"),
        Peer("dask", "distributed", DaskPool, 0.01, _DASK, "distributed",
             "import distributed", "from distributed import Client, LocalCluster"),
        Peer("curl", "subprocess", _no_pool, 1.0, command="curl"),
        Peer("wget", "subprocess", _no_pool, 1.0, command="wget"),
    )
}    # fmt: skip


