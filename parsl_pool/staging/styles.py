"""The two ways to bring files: by a task of its own, for nodes that share the directory, or as a part of the task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from os.path import dirname
from pathlib import Path
from typing import Any, NamedTuple

from parsl_pool import checks
from parsl_pool.files import File
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.staging import in_task, inputs
from parsl_pool.staging.base import Manager, Staging
from parsl_pool.staging.transfers.urls import shown

CACHE_BYTES = 10**10
"""How many bytes of files stay in a working directory, unless something else is said."""

_BYTES = checks.whole(least=0, most=1 << 60, kind="a number of bytes")


class Protocol(NamedTuple):
    """How files of some schemes are transferred.

    Attributes:
        schemes: of their URLs.
        fetch: called with the URL, the path where it is to put the file, and the options. It puts it there whole or not
            at all. None: files of these schemes can't come in.
        send: called with the path, the URL and the options. None: they can't go out.
    """

    schemes: tuple[str, ...]
    fetch: Callable[[str, Path, Any], object] | None
    send: Callable[[Path, str, Any], object] | None = None


class _Transferring(Staging):
    protocol: Protocol
    options: Any = None  # the third argument of the protocol's functions
    cache_bytes: int = CACHE_BYTES

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self.cache_bytes = _BYTES("cache_bytes", cache_bytes)

    @property
    def fetch(self) -> Callable[[str, Path, Any], object]:
        """What brings a file in, once `can_stage_in` has said yes."""
        assert self.protocol.fetch is not None
        return self.protocol.fetch

    @property
    def send(self) -> Callable[[Path, str, Any], object]:
        """What brings a file out, once `can_stage_out` has said yes."""
        assert self.protocol.send is not None
        return self.protocol.send

    def _with_input(self, func: Callable[..., Any], file: File, path: str) -> Callable[..., Any]:
        return inputs.added(func, inputs.Input(self.fetch, file.url, path, self.options, self.cache_bytes))

    def can_stage_in(self, file: File) -> bool:
        """True for the protocol's schemes."""
        return self.protocol.fetch is not None and file.scheme in self.protocol.schemes

    def can_stage_out(self, file: File) -> bool:
        """True for the protocol's schemes, if it can send."""
        return self.protocol.send is not None and file.scheme in self.protocol.schemes


class SeparateTask(_Transferring):
    """Brings each file by a task of its own. All nodes of the executor must see its `working_dir`.

    A file that several tasks use at the same time is fetched once. If there is no room for files that no task uses yet,
    the task that needs it brings it.

    Args:
        cache_bytes: how many bytes of files may lie in the directory; those that no task uses are removed when others
            come, the longest unused first.
    """

    is_shared = True

    def stage_in(
        self, dm: Manager, executor: str, file: File, parent_fut: Future[Any] | None
    ) -> Future[File] | None:
        """See the base class."""
        file.local_path = dm.place_in(executor, file, dm.use(executor, file, parent_fut))
        fetching = dm.submit(
            executor, f"fetch {shown(file.url)}", parent_fut, in_task.fetched, self.fetch, file.url, file.local_path,
            self.options, self.cache_bytes,
        )  # fmt: skip
        return DataFuture(fetching, file)

    def replace_task(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See the base class."""
        path = dm.place_in(executor, file, dm.use(executor, file, None))
        if file.local_path != path:
            return None  # a subclass has it brought to another place
        return self._with_input(func, file, path)

    def stage_out(self, dm: Manager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """See the base class."""
        file.local_path = dm.place(executor, file, "out")  # a call that is known has not written it anew
        return dm.submit(
            executor, f"send {shown(file.url)}", app_fu, in_task.sent, self.send, file.local_path, file.url,
            self.options,
        )  # fmt: skip

    def replace_task_stage_out(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See the base class."""
        return partial(in_task.with_folder, func, dirname(str(file.local_path)))


class InTask(_Transferring):
    """Brings each file as a part of the task that needs it: for nodes that share no files.

    A file that several tasks use at the same time is fetched once a node.

    Args:
        cache_bytes: how many bytes of files may lie on a node; those that no task uses are removed when others come,
            the longest unused first.
    """

    def stage_in(
        self, dm: Manager, executor: str, file: File, parent_fut: Future[Any] | None
    ) -> Future[File] | None:
        """See the base class."""
        file.local_path = dm.place_in(executor, file, dm.use(executor, file, parent_fut))
        return None

    def replace_task(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See the base class."""
        return self._with_input(func, file, str(file.local_path))

    def stage_out(self, dm: Manager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """See the base class."""
        file.local_path = dm.place(executor, file, f"out-{dm.dfk.run_id}-{getattr(app_fu, 'tid', 0)}")
        return None

    def replace_task_stage_out(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See the base class."""
        return partial(in_task.with_output, func, self.send, str(file.local_path), file.url, self.options)
