"""`DataManager`: asks the providers of an executor about the files of a task, and helps them with theirs."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import ref

from parsl_pool.dataflow.staged import FILES
from parsl_pool.errors import StagingError
from parsl_pool.files import File
from parsl_pool.futures import AppFuture
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.lost import PlaceLost
from parsl_pool.staging.base import Staging
from parsl_pool.staging.defaults import default_staging
from parsl_pool.staging.ends import ended
from parsl_pool.staging.sharing import Sharing
from parsl_pool.staging.transfers.urls import shown

_LOSSES = 3  # how often the task of a transfer is tried again whose worker was lost

_LONGEST_NAME = 200  # bytes: 255 can be, and those who bring files write to longer names beside them


class Pool(Protocol):
    """What of a pool is needed here."""

    @property
    def executors(self) -> dict[str, Any]: ...

    @property
    def run_id(self) -> str: ...

    @property
    def default_options(self) -> Any: ...

    def run_directory(self) -> str: ...

    def submit_with(
        self, options: Any, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> AppFuture[Any]: ...


class DataManager:
    """Brings the files of a pool's tasks.

    Args:
        dfk: the pool.

    Attributes:
        user: the future of the task that this one is about; None: it is about none.
    """

    def __init__(self, dfk: Pool) -> None:
        self._pool = ref(dfk)  # the flow has this, and outlives a pool that is dropped
        self._sharing = Sharing()
        # .depth: of calls of providers in this thread; .use: of the file that this one is about
        self._asked = threading.local()
        self.user: Future[Any] | None = None

    def for_task(self, user: Future[Any]) -> DataManager:
        """The same, for the files of that task."""
        mine = DataManager.__new__(DataManager)
        mine._pool, mine._sharing, mine._asked, mine.user = self._pool, self._sharing, self._asked, user
        return mine

    @property
    def dfk(self) -> Any:
        """The pool."""
        pool = self._pool()
        if pool is None:
            raise RuntimeError("the pool is gone")
        return pool

    @property
    def is_asking(self) -> bool:
        """True while this thread is in a provider's method: tasks that are submitted there bring files, and those among
        their own arguments are left alone."""
        return getattr(self._asked, "depth", 0) > 0

    @contextmanager
    def _asking(self) -> Iterator[None]:
        depth, use = getattr(self._asked, "depth", 0), getattr(self._asked, "use", None)
        self._asked.depth, self._asked.use = depth + 1, None
        try:
            yield
        finally:
            self._asked.depth, self._asked.use = depth, use

    # -- who does it

    def provider_in(self, executor: str, file: File) -> Staging:
        """Who brings this file to that executor's tasks. Raises StagingError."""
        providers = self._providers(executor)
        for provider in providers:
            if provider.can_stage_in(file):
                return provider
        raise _nobody(executor, file, "in", providers)

    def provider_out(self, executor: str, file: File) -> Staging:
        """Who brings this file from that executor's tasks. Raises StagingError."""
        providers = self._providers(executor)
        for provider in providers:
            if provider.can_stage_out(file):
                return provider
        raise _nobody(executor, file, "out", providers)

    def _providers(self, executor: str) -> list[Staging]:
        own: list[Staging] | None = getattr(self.dfk.executors[executor], "storage_access", None)
        return default_staging if own is None else own

    def are_in_place(self, executor: str, files: Iterable[File | DataFuture]) -> bool:
        """True if nothing is to be done for any of these. Raises StagingError."""
        return self.is_asking or all(self.provider_in(executor, file_of(thing)).moves_nothing for thing in files)

    # -- by Parsl's names

    def optionally_stage_in(
        self, input: Any, func: Callable[..., Any], executor: str
    ) -> tuple[Any, Callable[..., Any]]:
        """What a task gets in place of this argument, and what runs in place of its function."""
        if not isinstance(input, FILES):
            return input, func
        file = file_of(input).cleancopy()
        provider = self.provider_in(executor, file)
        if provider.moves_nothing:
            return input, func
        parent = input if isinstance(input, DataFuture) else None
        with self._asking():
            brought = self._brought_by(provider, executor, file, parent)
            instead = provider.replace_task(self, executor, file, func) or func
        if brought is not None:
            return brought, instead
        return (file if parent is None else DataFuture(parent, file)), instead

    def stage_in(self, file: File, input: Any, executor: str) -> Any:
        """What a task gets in place of this argument, which is `file`, or its DataFuture."""
        return self.optionally_stage_in(input, _nothing, executor)[0]

    def stage_out(self, file: File, executor: str, app_fu: Future[Any]) -> Future[Any] | None:
        """Prepare to bring out what a task will write; done when it has arrived. None: when the task is done."""
        provider = self.provider_out(executor, file)
        with self._asking():
            return provider.stage_out(self, executor, file, app_fu)

    def replace_task(self, file: File, func: Callable[..., Any], executor: str) -> Callable[..., Any]:
        """What runs in place of the function of a task that reads the file."""
        provider = self.provider_in(executor, file)
        with self._asking():
            return provider.replace_task(self, executor, file, func) or func

    def replace_task_stage_out(self, file: File, func: Callable[..., Any], executor: str) -> Callable[..., Any]:
        """What runs in place of the function of a task that writes the file."""
        provider = self.provider_out(executor, file)
        with self._asking():
            return provider.replace_task_stage_out(self, executor, file, func) or func

    def _brought_by(
        self, provider: Staging, executor: str, file: File, parent: DataFuture | None
    ) -> Future[Any] | None:
        def bring(number: int) -> Future[Any] | None:
            self._asked.use = self._use(number)
            return provider.stage_in(self, executor, file, parent)

        if not provider.is_shared or self.user is None:
            return provider.stage_in(self, executor, file, parent)
        key = (id(provider), executor, file.url, parent)
        staged = self._sharing.staged(key, self.user, file, bring)  # type: ignore[arg-type]  # shared: it has a future
        self._asked.use = self._use(staged.number)
        file.local_path = staged.file_obj.local_path or self.place_in(executor, file, self._asked.use)
        return staged

    def _use(self, number: int) -> str:
        return f"{self.dfk.run_id}-{number}"

    # -- for providers

    def directory(self, executor: str) -> str:
        """Where files of this executor's tasks are to be: its working_dir, else a folder in the run's directory."""
        own: str | None = getattr(self.dfk.executors[executor], "working_dir", None)
        return os.path.abspath(own) if own is not None else os.path.join(self.dfk.run_directory(), "files")

    def place(self, executor: str, file: File, use: str = "") -> str:
        """A path for this file in that directory, which no other URL has.

        Args:
            use: tells one use of the URL from another; without, all have the same path.
        """
        return os.path.join(self.directory(executor), _digest(f"{use}\n{file.url}"), _name(file))

    def place_in(self, executor: str, file: File, use: str) -> str:
        """A path in that directory where a use of the URL has it; `kept` says what else is there."""
        return os.path.join(self.directory(executor), _digest(f"in\n{file.url}"), _digest(use), _name(file))

    def use(self, executor: str, file: File, parent_fut: Future[Any] | None) -> str:
        """A text that is the same for all tasks which use the file at the same time, and for no later ones.

        Args:
            parent_fut: as `Staging.stage_in` gets it: what one task writes is not what was there before.
        """
        known: str | None = getattr(self._asked, "use", None)
        if known is not None:
            return known
        if self.user is None:
            return os.urandom(8).hex()
        return self._use(self._sharing.number((executor, file.url, parent_fut), self.user))

    def submit(
        self, executor: str, label: str, after: Future[Any] | None, fn: Callable[..., Any], *args: Any
    ) -> AppFuture[Any]:
        """Run `fn(*args)` as a task of its own, on that executor.

        Args:
            label: what people know the task by.
            after: it has to wait for this, and fails if that fails. None: for nothing.
        """
        return self._submitted(executor, label, after, False, fn, args)

    def submit_here(
        self, executor: str, label: str, after: Future[Any] | None, fn: Callable[..., Future[Any]], *args: Any
    ) -> AppFuture[Any]:
        """Run `fn(*args)` as a task of its own, in this process; it is done when the future is that `fn` returns.

        Args:
            executor: whose tasks the file is for.
            label, after: as for `submit`.
        """
        return self._submitted(executor, label, after, True, fn, args)

    def _submitted(
        self, executor: str, label: str, after: Future[Any] | None, is_here: bool, fn: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> AppFuture[Any]:  # fmt: skip
        pool = self.dfk
        options = pool.default_options._replace(
            executors=(executor,), label=label[:200], retries=0 if is_here else _LOSSES, cache=False,
            retry_handler=None if is_here else _cost, walltime=None, dependency_resolver=None, resources=None,
            join=is_here, sandbox=None,
        )  # fmt: skip
        future: AppFuture[Any]
        if after is None:
            future = pool.submit_with(options, fn, args, {})
        else:
            future = pool.submit_with(options, run_after, (ended(after), fn, args), {})
        return future


def run_after(_: Any, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The task of a call that has had to wait for another one, whose value does not matter."""
    return fn(*args)


def _cost(error: BaseException, _: Any) -> float:
    """Of a try: a transfer has been tried often enough before it fails, but not one whose worker was killed."""
    return 1.0 if isinstance(error, PlaceLost) else _LOSSES + 1.0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _name(file: File) -> str:
    """The file's own, if a file system takes it; of a long one its end, which tells the kind of file."""
    name = file.filename if file.filename not in ("", ".", "..") else "file"
    data = name.encode("utf-8", "surrogatepass")
    return name if len(data) <= _LONGEST_NAME else "_" + data[-_LONGEST_NAME:].decode("utf-8", "ignore")


def file_of(thing: File | DataFuture) -> File:
    """The File that an argument is, or will be."""
    return thing.file_obj if isinstance(thing, DataFuture) else thing


def _nothing() -> None:
    """A task's function where only its arguments matter."""


def _nobody(executor: str, file: File, way: str, providers: Iterable[Staging]) -> StagingError:
    names = ", ".join(type(provider).__name__ for provider in providers) or "none"
    return StagingError(
        f"nothing in storage_access of executor {executor!r} can stage {way} {shown(file.url)!r}; there is: {names}. "
        f"Add a provider for {file.scheme}: files to it"
    )
