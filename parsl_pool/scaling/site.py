"""What the thread that keeps blocks needs to know of the executor that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from parsl_pool.providers.states import JobStatus
from parsl_pool.scaling.decision import Load
from parsl_pool.scaling.fuses import Fuses


class Site(Protocol):
    """An executor, as the keeper of its blocks sees it. May be called from that thread at any time."""

    def command(self, block: str) -> str:
        """The shell command of a block's manager."""

    def tasks(self) -> int:
        """How many wait for a worker, or run."""

    def done(self) -> int:
        """How many have been done since the start."""

    def slots_per_node(self) -> int:
        """How many tasks a node runs at a time."""

    def loads(self) -> Mapping[str, Load]:
        """What the managers of each block hold; a block that is not in it may be busy. Asks the interchange."""

    def drain(self, block: str) -> bool:
        """Have its managers take no more tasks, and end when they have done theirs. False: that can't be had."""

    def block_over(self, block: str, reason: str) -> None:
        """The job of this block is over: nobody need wait for signs of life of its managers."""

    def managers_changed(self) -> None:
        """A manager has come or gone: the order in which they get tasks may be another one."""

    def wants_states(self) -> bool:
        """Whether `states_changed` is to be called."""

    def states_changed(self, status: Mapping[str, JobStatus]) -> None:
        """These blocks are new, or in another state than before."""

    def condemn(self, task: str) -> None:
        """This task, by the name that tells it apart, is not to be tried again once it has lost another place."""

    def give_up(self, problem: str | BaseException) -> None:
        """No block can be started: everything fails, with this text or error."""

    def handle_errors(self, status: Mapping[str, JobStatus]) -> None:
        """Call the user's own handler of blocks that fail."""


class Rules(NamedTuple):
    """What the user has said of an executor's blocks.

    Attributes:
        strategy: see `decision.STRATEGIES`.
        max_idletime: seconds without work after which blocks may go.
        period_s: seconds between two decisions.
        start_s: how long a block's job may run until its manager registers.
        handler: what to do when blocks fail: True: the pool's own rule; False: nothing; or the user's callable.
    """

    strategy: str = "keep"
    max_idletime: float = 120.0
    period_s: float = 5.0
    start_s: float = 60.0
    handler: bool | Callable[..., Any] = True
    fuses: Fuses = Fuses()
