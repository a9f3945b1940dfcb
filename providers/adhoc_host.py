"""A host without a scheduler, and the block on it, as their provider knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from parsl_pool.errors import ChannelError
from parsl_pool.providers.channels.base import Channel
from parsl_pool.providers.remote_directory import RemoteDirectory
from parsl_pool.providers.states import JobState, JobStatus


@dataclass(eq=False, slots=True)
class Block:
    """A block, from the call of `submit` on. Belongs to the provider's lock."""

    name: str
    command: str
    host: Host
    group: int | None = None  # its process group there; None: not started yet
    base: str = ""  # of one that another process has started: the path of its script there, without the suffix
    is_cancelled: bool = False
    last: JobStatus = field(default_factory=lambda: JobStatus(JobState.PENDING, "it waits for its host"))

    @property
    def is_alive(self) -> bool:
        return not self.last.terminal


@dataclass(eq=False, slots=True)
class Host:
    """A host, and the block on it. Belongs to the provider's lock, but for what its directory does."""

    channel: Channel
    directory: RemoteDirectory
    sees_our_files: bool | None  # None: nobody has looked
    block: Block | None = None
    trouble: ChannelError | None = None  # why it could not be used the last time
    brought: dict[str, tuple[float, int]] = field(default_factory=dict)  # files that it has, as they were then
    name: str = ""  # that it gives itself; "": nobody has asked
    is_bad: bool = False  # no further block is to be there
