"""`GlobusStaging`: files of Globus' endpoints."""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from os.path import dirname
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError, StagingError
from parsl_pool.files import File
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.staging import in_task
from parsl_pool.staging.base import Manager, Staging
from parsl_pool.staging.globus import login
from parsl_pool.staging.globus.mover import Mover
from parsl_pool.staging.globus.moves import Move
from parsl_pool.staging.globus.service import Place

SCHEME = "globus"
_PATH = checks.optional(checks.path)
_DEADLINE = checks.optional(checks.seconds)
_RETRIES = checks.whole(least=0, most=1000)


class GlobusStaging(Staging):
    """Files of Globus, `globus://UUID/path`. Globus brings them from endpoint to endpoint; this process asks for it.

    The nodes of the executor must see its `working_dir`, and an endpoint must, too. The user has to log in once, by
    `parsl-pool globus-auth`.

    Args:
        endpoint_uuid: the endpoint, or collection, that sees the `working_dir`.
        endpoint_path, local_path: a folder as that endpoint knows it, and as the nodes do, if they have different
            names for it: the `working_dir` must be in there.
        deadline: seconds that a file may take; None: as long as Globus goes on, which is a day.
        retries: how often a transfer is begun anew, if Globus has given it up for what may pass.

    Needs the extra "globus": ``pip install 'parsl_pool[globus]'``.
    """

    is_shared = True

    def __init__(
        self,
        endpoint_uuid: str,
        endpoint_path: str | None = None,
        local_path: str | os.PathLike[str] | None = None,
        *,
        deadline: float | None = None,
        retries: int = 2,
    ) -> None:
        self.endpoint_uuid = _uuid("endpoint_uuid", checks.name("endpoint_uuid", str(endpoint_uuid)))
        self.endpoint_path, self.local_path = _PATH("endpoint_path", endpoint_path), _PATH("local_path", local_path)
        self.deadline, self.retries = _DEADLINE("deadline", deadline), _RETRIES("retries", retries)
        if (self.endpoint_path is None) != (self.local_path is None):
            raise ConfigurationError(
                f"endpoint_path and local_path must be given together, or not at all, got {self.endpoint_path!r} and "
                f"{self.local_path!r}: they are two names of one folder"
            )
        if self.endpoint_path is not None and not self.endpoint_path.startswith("/"):
            raise ConfigurationError(f"endpoint_path must begin with a '/', got {self.endpoint_path!r}")
        if self.local_path is not None and not os.path.isabs(self.local_path):
            raise ConfigurationError(f"local_path must be an absolute path, got {self.local_path!r}")
        login.check_installed("GlobusStaging")
        self._mover = Mover()

    def can_stage_in(self, file: File) -> bool:
        """True for `globus:`."""
        return file.scheme == SCHEME

    def can_stage_out(self, file: File) -> bool:
        """True for `globus:`."""
        return file.scheme == SCHEME

    def stage_in(self, dm: Manager, executor: str, file: File, parent_fut: Future[Any] | None) -> Future[File] | None:
        """See the base class."""
        there = _place(file)
        here = self._prepare(dm, executor, file)
        return DataFuture(*self._move(dm, executor, f"fetch {file.url}", file, parent_fut, there, here))

    def stage_out(self, dm: Manager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """See the base class."""
        there = _place(file)
        here = self._prepare(dm, executor, file, "out")
        return self._move(dm, executor, f"send {file.url}", file, app_fu, here, there)[0]

    def replace_task_stage_out(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See the base class."""
        return partial(in_task.with_folder, func, dirname(str(file.local_path)))

    def _prepare(self, dm: Manager, executor: str, file: File, use: str = "") -> Place:
        """Where our endpoint is to put the file, or to find it. Raises StagingError."""
        if getattr(dm.dfk.executors[executor], "working_dir", None) is None:
            raise StagingError(
                f"executor {executor!r} needs a working_dir for {file.url}: a folder that its nodes see, and that the "
                f"Globus endpoint {self.endpoint_uuid} sees, too"
            )
        login.ensure()
        path = dm.place(executor, file, use)
        place = Place(self.endpoint_uuid, self.endpoint_path_of(path))
        file.local_path = path
        return place

    def endpoint_path_of(self, path: str) -> str:
        """What the endpoint calls this path of the nodes'.

        Raises:
            StagingError: it is not below local_path.
        """
        if self.local_path is None or self.endpoint_path is None:
            return path
        top, wanted = os.path.normpath(self.local_path), os.path.normpath(path)
        if os.path.commonpath([top, wanted]) != top:
            raise StagingError(
                f"the Globus endpoint {self.endpoint_uuid} can't see {path}: it is not below local_path, {top}, which "
                f"the endpoint calls {self.endpoint_path}: choose a working_dir in there"
            )
        return posixpath.join(self.endpoint_path, os.path.relpath(wanted, top))

    def _move(
        self, dm: Manager, executor: str, label: str, file: File, after: Future[Any] | None, source: Place,
        target: Place,
    ) -> tuple[Future[None], File, int]:  # fmt: skip
        """A future of the file's arrival, the file, and the number of the task that has it brought."""
        move = Move(file.url, source, target, self.retries, self.deadline)
        task = dm.submit_here(executor, label, after, self._begun, move)
        task.add_done_callback(partial(_end_with, move.future))
        move.future.add_done_callback(partial(_cancel_too, task))
        return move.future, file, task.tid

    def _begun(self, move: Move) -> Future[None]:
        """The task of a file: it ends when the file is there, and needs no thread until then."""
        self._mover.begin(move)
        return move.future


def _end_with(arrival: Future[None], task: Future[Any]) -> None:
    """The task has ended. If the file was not on its way yet, it will not come."""
    if arrival.done():
        return
    if task.cancelled():
        arrival.cancel()
    else:
        with suppress(InvalidStateError):  # somebody has cancelled it this moment
            arrival.set_exception(task.exception() or StagingError("it was not begun"))


def _cancel_too(task: Future[Any], arrival: Future[None]) -> None:
    if arrival.cancelled():
        task.cancel()


def _place(file: File) -> Place:
    """Where a URL says that the file is. Raises StagingError."""
    if not file.filename or not file.path.startswith("/"):
        raise StagingError(f"{file.url!r} must name a file, such as globus://UUID/folder/name")
    try:
        return Place(_uuid("its host", file.netloc), file.path)
    except ConfigurationError as problem:
        raise StagingError(f"{file.url!r} must be globus://UUID/path: {problem}") from None


def _uuid(name: str, text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ConfigurationError(f"{name} must be a UUID, as Globus shows it for the endpoint, got {text!r}") from None
