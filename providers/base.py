"""What every provider is: the contract with the executor, and how many blocks it may hold."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError
from parsl_pool.providers.channels.base import Channel
from parsl_pool.providers.states import JobStatus
from parsl_pool.recipe import Recipe

_RULES: Mapping[str, checks.Rule[Any]] = {
    "init_blocks": checks.whole(),
    "min_blocks": checks.whole(),
    "max_blocks": checks.whole(),
    "nodes_per_block": checks.whole(least=1),
    "parallelism": checks.number(
        least=0, most=1, limits="from 0 (as few blocks as will do) to 1 (a slot for every task)"
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockLimits:
    """How many blocks a provider may hold at once, and how large one is.

    `parallelism` is the wanted number of slots for each waiting or running task, from 0 (as few blocks as
    will do) to 1 (a slot for every task, as far as `max_blocks` goes).
    """

    init_blocks: int = 1
    min_blocks: int = 0
    max_blocks: int = 1
    nodes_per_block: int = 1
    parallelism: float = 1

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            object.__setattr__(self, name, rule(name, getattr(self, name)))
        if not 0 <= self.min_blocks <= self.init_blocks <= self.max_blocks:
            raise ConfigurationError(
                f"need 0 <= min_blocks <= init_blocks <= max_blocks, got {self.min_blocks}, "
                f"{self.init_blocks} and {self.max_blocks}: {self._how_to_fix()}"
            )

    def _how_to_fix(self) -> str:
        if min(self.init_blocks, self.min_blocks, self.max_blocks) < 0:
            return "a number of blocks cannot be negative"
        if self.init_blocks > self.max_blocks:
            return f"raise max_blocks to {self.init_blocks}, or lower init_blocks"
        return f"raise init_blocks to {self.min_blocks}, or lower min_blocks"


class Preview(NamedTuple):
    """What `submit` would do, for people to read. Nothing has been written or run.

    Attributes:
        script: the text that the block would run.
        description: another file that goes with it; "" if there is none.
        submit: the command that would submit it; "" if it is just started.
        programs: those that the provider calls on the scheduler's machine, and cannot do without.
        extras: those that it asks too, if they are there.
    """

    script: str
    description: str = ""
    submit: str = ""
    programs: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


def check_job(command: str, tasks_per_node: int, job_name: str) -> None:
    """Raises ConfigurationError for what `submit` can't be given."""
    checks.any_text("command", command)
    checks.name("job_name", job_name)
    checks.whole(least=1)("tasks_per_node", tasks_per_node)


class ExecutionProvider(Recipe, ABC):
    """Gives blocks and takes them back. One block is one job: a batch job, a pod, a process group, ...

    A provider that knows a job counts it from `submit` on: `status` never says less of it than UNKNOWN.
    What goes wrong is an `ExecutionProviderException`.

    Attributes:
        limits: how many blocks there may be.
        script_dir: where submit scripts and the jobs' output go. The executor sets it before the first
            `submit`, to a private directory of the run.
        cores_per_node, mem_per_node: what to ask for on each node, the memory in GB; None leaves it open.
        status_polling_interval: seconds that the executor lets pass between two calls of `status`; 0: it calls
            it never.
        ends_with_client: its jobs end when this process does, however that ends.
    """

    limits: BlockLimits
    script_dir: str | os.PathLike[str] | None = None
    cores_per_node: int | None = None
    mem_per_node: float | None = None
    status_polling_interval: float = 30.0
    ends_with_client: bool = False

    @property
    @abstractmethod
    def label(self) -> str:
        """The provider's name in messages and logs."""

    @abstractmethod
    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl_pool.auto") -> str | None:
        """Starts a block whose nodes run `command`, a line of shell; gives the job's id.

        None, or an id that is empty: there is no room for another block now, and nothing was started. That is no
        fault, so it does not count as one.

        Raises:
            ScaleOutFailed, SubmitException, ScriptPathError: there is no block; nothing of it is left.
        """

    @abstractmethod
    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        """The status of each job, in the same order. An id that is not known is UNKNOWN."""

    @abstractmethod
    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        """Ends the jobs. For each, whether it has ended or surely will; one that had ended already: True."""

    def channels(self) -> list[Channel]:
        """What leads to other machines: a tunnel for managers can go through each."""
        return []

    def bring(self, path: str) -> str:
        """Sees to it that every node can read a private file of this machine; gives its path there.

        Called again when the file has changed; whoever reads it there never sees half of it.

        Raises:
            ExecutionProviderException: it is not there.
        """
        return path  # a file system that all see

    def preview(self, command: str, tasks_per_node: int, job_name: str) -> Preview | None:
        """What `submit` would do with this command; None if this provider does not say."""
        return None

    def exclude(self, host: str) -> bool:
        """No further job is to be on this host, since it is bad. False: that can't be said to this scheduler."""
        return False

    def adopt(self, job_ids: Sequence[str]) -> None:
        """These jobs were submitted by an equal provider, of a process that is gone: they are ours now."""
        return

    def find(self, job_name: str) -> list[str]:
        """The ids of jobs whose name begins so, as far as the scheduler can be asked for that."""
        return []

    @property
    def sees_our_files(self) -> bool:
        """Whether blocks find this machine's files, and its Python, under the same paths."""
        return True

    def close(self) -> None:  # most have nothing to close
        """Ends connections, and removes what was brought to other machines. Called after the last `cancel`.

        Raises:
            ExecutionProviderException: something may be left there.
        """

    @property
    def init_blocks(self) -> int:
        return self.limits.init_blocks

    @property
    def min_blocks(self) -> int:
        return self.limits.min_blocks

    @property
    def max_blocks(self) -> int:
        return self.limits.max_blocks

    @property
    def nodes_per_block(self) -> int:
        return self.limits.nodes_per_block

    @property
    def parallelism(self) -> float:
        return self.limits.parallelism
