"""`Config`: where and how a pool runs, as plain, checked data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError
from parsl_pool.executors.base import ParslExecutor

_EXECUTORS = checks.list_of(
    checks.instance_of(ParslExecutor, "an executor"),  # type: ignore[type-abstract]  # only asked about
    "a list of executors, such as [HighThroughputExecutor(...)]",
)


class Config:
    """What a `ParslPoolExecutor` is to be made of.

    Args:
        executors: where tasks run; their labels must differ. None: one HighThroughputExecutor on this machine.
        retries: how often a task that fails is tried again.
        lost_retries: how often a task is tried again whose place was lost.
        run_dir: where each run's directory is made, numbered; None: a temporary one.

    A Config serves one pool: its executors are living things.

    Raises:
        ConfigurationError: something is wrong; the text says what, and what would be right.
    """

    def __init__(
        self,
        executors: Iterable[ParslExecutor] | None = None,
        *,
        retries: int = 0,
        lost_retries: int = 3,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.retries = checks.budget("retries", retries)
        self.lost_retries = checks.budget("lost_retries", lost_retries)
        self.run_dir = checks.optional(checks.path)("run_dir", run_dir)
        self.executors: list[ParslExecutor] = _default() if executors is None else _checked(executors)

    def claim(self) -> list[ParslExecutor]:
        """The executors, for the one pool that they serve.

        Raises:
            ConfigurationError: another pool has them.
        """
        for executor in self.executors:
            if executor.is_claimed:
                raise ConfigurationError(
                    f"the executor {executor.label!r} has been used for a pool already: make a new one, and a new "
                    "Config (in a function, if you need several)"
                )
        for executor in self.executors:
            executor.is_claimed = True
        return self.executors

    def __repr__(self) -> str:
        labels = ", ".join(f"<{type(executor).__name__} {executor.label!r}>" for executor in self.executors)
        return (
            f"Config(executors=[{labels}], retries={self.retries}, lost_retries={self.lost_retries}, "
            f"run_dir={self.run_dir!r})"
        )


def _default() -> list[ParslExecutor]:
    from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor  # not for pools of threads

    return [HighThroughputExecutor()]


def _checked(executors: Iterable[Any]) -> list[ParslExecutor]:
    known = _EXECUTORS("executors", executors)
    if not known:
        raise ConfigurationError("executors must be a list of executors, got []: a pool needs at least one")
    labels = [executor.label for executor in known]
    double = sorted({label for label in labels if labels.count(label) > 1})
    if double:
        raise ConfigurationError(f"two executors have the label {double[0]!r}: give each its own label=")
    return known
