"""Torque."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from parsl_pool.providers.channels.base import Channel
from parsl_pool.providers.cluster import JobRequest
from parsl_pool.providers.launchers import LauncherLike
from parsl_pool.providers.node_launchers import AprunLauncher
from parsl_pool.providers.pbs import PBSFamilyProvider

_OVER_WALLTIME = -11  # JOB_EXEC_OVERLIMIT_WT


class TorqueProvider(PBSFamilyProvider):
    """Blocks as jobs of Torque.

    Args:
        account, queue: as qsub's -A and -q; None: no directive.
        scheduler_options: lines that begin with ``#PBS``.
        others: see `ClusterProvider`.
    """

    name = "torque"
    default_launcher = AprunLauncher
    name_length = 15  # longer ones are refused by older servers
    over_walltime = frozenset({_OVER_WALLTIME})

    def __init__(
        self,
        channel: Channel | None = None,
        account: str | None = None,
        queue: str | None = None,
        scheduler_options: str = "",
        worker_init: str = "",
        nodes_per_block: int = 1,
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

    def resources(self, job: JobRequest) -> str:
        return f"nodes={job.nodes}:ppn={job.tasks_per_node}"

    def queue_command(self, job_ids: Sequence[str]) -> str:
        return f"qstat -f {' '.join(map(shlex.quote, job_ids))}"
