"""`Staging`: what brings files of one kind to the tasks of an executor, and away from them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from parsl_pool.files import File
from parsl_pool.futures import AppFuture
from parsl_pool.recipe import Recipe


class Manager(Protocol):
    """What a provider can ask for: a `DataManager`, which says what each of these does."""

    @property
    def dfk(self) -> Any: ...

    def directory(self, executor: str) -> str: ...

    def place(self, executor: str, file: File, use: str = "") -> str: ...

    def place_in(self, executor: str, file: File, use: str) -> str: ...

    def use(self, executor: str, file: File, parent_fut: Future[Any] | None) -> str: ...

    def submit(
        self, executor: str, label: str, after: Future[Any] | None, fn: Callable[..., Any], *args: Any
    ) -> AppFuture[Any]: ...

    def submit_here(
        self, executor: str, label: str, after: Future[Any] | None, fn: Callable[..., Future[Any]], *args: Any
    ) -> AppFuture[Any]: ...


class Staging(Recipe):
    """Says which files it can bring, and brings them. This one can none; a subclass overrides what it needs.

    An executor has a list of these, `storage_access`. Of each file of a task they are asked in turn, and the first that
    can does it. All methods are called where the task is submitted, in that thread.

    Attributes:
        moves_nothing: files are where they are needed: no method but `can_...` has anything to do.
        is_shared: what `stage_in` brings can serve all tasks that ask for it while one of them is under way; so it is
            called once for them.
    """

    moves_nothing = False
    is_shared = False

    def can_stage_in(self, file: File) -> bool:
        """True if it can bring this file to a task."""
        return False

    def can_stage_out(self, file: File) -> bool:
        """True if it can bring this file from a task to its URL."""
        return False

    def stage_in(
        self, dm: Manager, executor: str, file: File, parent_fut: Future[Any] | None
    ) -> Future[File] | None:
        """Begin to bring a file.

        Args:
            executor: label of the task's executor.
            file: a copy for this purpose; say in its `local_path` where the task will find it.
            parent_fut: the future of the file, if another task writes it: nothing can be brought before.

        Returns:
            A future whose result is `file`: the task waits for it. None: the task gets `file` as it is.
        """
        return None

    def stage_out(self, dm: Manager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """Prepare to bring a file away, before its task is sent.

        Args:
            file: a copy for this purpose; say in its `local_path` where the task is to write it.
            app_fu: the future of the task: whatever brings the file has to wait for that.

        Returns:
            A future that is done when the file has arrived. None: when the task is done, it has.
        """
        return None

    def replace_task(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """What is to run in place of the task's function, so that it finds the file; None: the function itself."""
        return None

    def replace_task_stage_out(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """What is to run in place of the task's function, so that the file goes out; None: the function itself."""
        return None
