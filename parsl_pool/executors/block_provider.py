"""What every executor is whose workers run in blocks that a provider gives."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl_pool import checks
from parsl_pool.errors import ScalingFailed
from parsl_pool.executors.base import ParslExecutor

if TYPE_CHECKING:
    from parsl_pool.providers import ExecutionProvider, JobStatus

ErrorHandler = Callable[[Any, Mapping[str, Any]], object]

_COUNT = checks.whole(above=0)
_IDLE = checks.optional(checks.number(least=0, most=1e8, kind="a number of seconds"))


def _handler(value: Any) -> bool | ErrorHandler:
    if isinstance(value, bool):
        return value
    if not callable(value) or isinstance(value, type):
        raise TypeError
    try:
        parameters = inspect.signature(value)
    except ValueError:
        return value  # type: ignore[no-any-return]  # a callable written in C need not tell its signature
    try:
        parameters.bind(None, {})
    except TypeError as problem:
        raise ValueError(str(problem)) from None
    return value  # type: ignore[no-any-return]


_HANDLER = checks.Rule("True, False, or a callable(executor, {block: JobStatus})", "", _handler)


class BlockProviderExecutor(ParslExecutor):
    """An executor with blocks. One block is one job of the provider.

    Attributes:
        block_error_handler: what to do when blocks fail; see `HighThroughputExecutor`.
        monitoring_radio: what keeps the states of blocks: its `send(rows)` is called whenever some have changed, in the
            thread that keeps the blocks. None: nobody does.
    """

    block_error_handler: bool | ErrorHandler = True
    monitoring_radio: Any = None
    strategy: str = "keep"  # until a Config says another
    max_idletime: float = 120.0
    strategy_period: float = 5.0

    def take_handler(self, block_error_handler: Any) -> None:
        """Raises ConfigurationError."""
        self.block_error_handler = _HANDLER("block_error_handler", block_error_handler)

    def adopt_strategy(self, strategy: str, max_idletime: float, strategy_period: float) -> None:
        """See the base class."""
        self.strategy, self.max_idletime, self.strategy_period = strategy, max_idletime, strategy_period

    # -- what an executor says

    @property
    @abstractmethod
    def provider(self) -> ExecutionProvider | None:
        """Where blocks come from; None: this machine."""

    @property
    @abstractmethod
    def keeper(self) -> Any:
        """The `JobStatusPoller`; None if there is none, since it has not begun or its only block is fixed."""

    @property
    @abstractmethod
    def workers_per_node(self) -> int:
        """How many tasks a node runs at a time."""

    @property
    @abstractmethod
    def tasks(self) -> Mapping[int, Any]:
        """The futures of tasks that are under way, by number."""

    @abstractmethod
    def set_bad_state_and_fail_all(self, exception: BaseException) -> None:
        """Nothing can run any more: all tasks fail with this, and `submit` raises it from now on."""

    # -- what follows from that

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """As the base class. Raises what `set_bad_state_and_fail_all` was given, once it was."""
        if self.broken is not None:
            raise self.broken
        return super().submit(func, resource_specification, *args, **kwargs)

    @property
    def outstanding(self) -> int:
        """How many tasks wait for a worker, or run."""
        return len(self.tasks)

    @property
    def status_polling_interval(self) -> float:
        """Seconds that pass at least between two questions to the provider; 0: it is never asked."""
        return 0.0 if self.provider is None else float(self.provider.status_polling_interval)

    @property
    def bad_state_is_set(self) -> bool:
        """True once nothing can run any more."""
        return self.broken is not None

    @property
    def executor_exception(self) -> BaseException | None:
        """Why; None while all is well."""
        return self.broken

    def status(self) -> dict[str, JobStatus]:
        """What becomes of each block, by its id, the oldest first, as far as it is known by now."""
        known: dict[str, JobStatus] = self.keeper.statuses() if self.keeper is not None else {}
        return known

    def initialize_scaling(self) -> list[str]:
        """Start, and ask for the first blocks. Gives the ids of the blocks that there are. `start` does as much."""
        self.start()
        return list(self.status())

    def scale_out(self, blocks: int = 1) -> list[str]:
        """Start more blocks, as far as the provider's max_blocks allows. Gives their ids.

        Raises:
            ScalingFailed: the provider refuses them; or this executor has one block, which is fixed.
        """
        started: list[str] = self._scaled("blocks can't be added").scale_out(_COUNT("blocks", blocks))
        return started

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """End some blocks. Gives their ids.

        Args:
            blocks: how many.
            max_idletime: only those that have had no task for so many seconds, perhaps fewer than `blocks`. None: any,
                at once; what runs there is run again elsewhere, at the cost of `lost_retries`.
        """
        count, idle = _COUNT("blocks", blocks), _IDLE("max_idletime", max_idletime)
        ended: list[str] = self._scaled("it can't be ended alone").scale_in(count, idle)
        return ended

    def _scaled(self, what: str) -> Any:
        self.start()
        if self.keeper is None:
            raise ScalingFailed(self, f"its one block is part of the interchange, so {what}: give manager_inside=False")
        return self.keeper

    def handle_errors(self, status: Mapping[str, JobStatus]) -> None:
        """Call the handler of blocks that fail, if it is the user's own. In the thread that keeps the blocks."""
        if callable(self.block_error_handler):
            self.block_error_handler(self, status)

    def create_monitoring_info(self, status: Mapping[str, JobStatus]) -> list[dict[str, object]]:
        """A row for each of these blocks, as monitoring keeps it: executor_label, block_id, job_id, status (the state's
        name) and timestamp (a datetime, in UTC)."""
        from datetime import datetime, timezone  # rarely needed

        jobs: Mapping[str, str] = self.keeper.job_ids() if self.keeper is not None else {}
        now = datetime.now(timezone.utc)
        return [
            {
                "executor_label": self.label, "block_id": block, "job_id": jobs.get(block, ""),
                "status": one.status_name, "timestamp": now,
            }
            for block, one in status.items()
        ]  # fmt: skip

    def send_monitoring_info(self, status: Mapping[str, JobStatus]) -> None:
        """Give these rows to the `monitoring_radio`, if there is one."""
        if self.monitoring_radio is not None:
            self.monitoring_radio.send(self.create_monitoring_info(status))

    # -- the names by which Parsl's own parts call them

    def scale_out_facade(self, n: int) -> list[str]:
        """As `scale_out`."""
        return self.scale_out(n)

    def scale_in_facade(self, n: int, max_idletime: float | None = None) -> list[str]:
        """As `scale_in`."""
        return self.scale_in(n, max_idletime)

    def poll_facade(self) -> None:
        """Ask the provider now what becomes of the blocks, unless its `status_polling_interval` is not over."""
        if self.keeper is not None:
            self.keeper.poll()

    def status_facade(self) -> dict[str, JobStatus]:
        """As `status`."""
        return self.status()
