"""PBS Professional, OpenPBS."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from parsl_pool import checks
from parsl_pool.providers.channels.base import Channel
from parsl_pool.providers.cluster import JobRequest
from parsl_pool.providers.launchers import LauncherLike
from parsl_pool.providers.pbs import PBSFamilyProvider

_KILLED_BY_WALLTIME = -29


class PBSProProvider(PBSFamilyProvider):
    """Blocks as jobs of PBS Professional or OpenPBS.

    Args:
        account, queue: as qsub's -A and -q; None: no directive.
        scheduler_options: lines that begin with ``#PBS``.
        select_options: what is added to the chunk that is asked for, as ``ngpus=4``.
        cpus_per_node: cores to ask for on each node.
        others: see `ClusterProvider`.
    """

    name = "pbspro"
    name_length = 200
    over_walltime = frozenset({_KILLED_BY_WALLTIME})

    def __init__(
        self,
        channel: Channel | None = None,
        account: str | None = None,
        queue: str | None = None,
        scheduler_options: str = "",
        select_options: str = "",
        worker_init: str = "",
        nodes_per_block: int = 1,
        cpus_per_node: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        launcher: LauncherLike | None = None,
        walltime: str | float = "00:20:00",
        cmd_timeout: float = 120,
    ) -> None:
        super().__init__(
            channel=channel, nodes_per_block=nodes_per_block, init_blocks=init_blocks, min_blocks=min_blocks,
            max_blocks=max_blocks, parallelism=parallelism, walltime=walltime,
            launcher=launcher, scheduler_options=scheduler_options,
            worker_init=worker_init, cmd_timeout=cmd_timeout, account=account, queue=queue,
        )  # fmt: skip
        self.select_options = checks.any_text("select_options", select_options).strip(": ")
        self.cpus_per_node = checks.whole(least=1)("cpus_per_node", cpus_per_node)

    def resources(self, job: JobRequest) -> str:
        more = f":{self.select_options}" if self.select_options else ""
        return f"select={job.nodes}:ncpus={self.cpus_per_node}{more}"

    def queue_command(self, job_ids: Sequence[str]) -> str:
        return f"qstat -f -x {' '.join(map(shlex.quote, job_ids))}"
