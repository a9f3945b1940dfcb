"""Puts our futures into the suite's own tests of Future."""

from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any


def put_in_place(module: Any) -> None:
    """Make FutureTests, of that module, use AppFuture."""
    from parsl_pool.futures import AppFuture  # here: the standard library's pool must run without the product

    def create_future(
        state: str = PENDING, exception: BaseException | None = None, result: object = None
    ) -> AppFuture[Any]:
        """As the suite's own; but an outcome is set as executors set it, not by private attributes."""
        future: AppFuture[Any] = AppFuture()
        if state != FINISHED:
            future._state = state
        elif exception is not None:
            future.set_exception(exception)
        else:
            future.set_result(result)
        return future

    module.Future = AppFuture
    module.create_future = create_future
    module.PENDING_FUTURE = create_future(PENDING)
    module.RUNNING_FUTURE = create_future(RUNNING)
    module.CANCELLED_FUTURE = create_future(CANCELLED)
    module.CANCELLED_AND_NOTIFIED_FUTURE = create_future(CANCELLED_AND_NOTIFIED)
    module.EXCEPTION_FUTURE = create_future(FINISHED, exception=OSError())
    module.SUCCESSFUL_FUTURE = create_future(FINISHED, result=42)
