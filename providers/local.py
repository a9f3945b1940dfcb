"""Blocks on this machine: each is a process group, and ends when this process does, however that ends."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError, ScaleOutFailed
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.base import BlockLimits, ExecutionProvider, Preview
from parsl_pool.providers.channels.base import Channel
from parsl_pool.providers.launchers import LauncherLike, SingleNodeLauncher, check_launcher, launched
from parsl_pool.providers.process_group import Ending, ProcessGroup, terminate_all
from parsl_pool.providers.scripts import describe_failure, script_text, write_script
from parsl_pool.providers.states import JobState, JobStatus

log = careful_logger(__name__)

SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
"""The first of them that is there runs the scripts: bash if possible, people write `worker_init` for it."""

_GRACE_S = 5.0  # between SIGTERM and SIGKILL: long enough for a manager to hand back what it holds


_JOB_IDS = checks.list_of(checks.any_text, "a list of job ids")


def _own_channel(value: object) -> Channel | None:
    if value is not None and not isinstance(value, Channel):
        raise TypeError
    if isinstance(value, Channel) and not value.is_shared:
        raise ValueError("its blocks are on this machine; for others, take a scheduler's provider, or an AdHocProvider")
    return value


_CHANNEL = checks.Rule("a LocalChannel, or None", "", _own_channel)


@dataclass(slots=True)
class _Block:
    group: ProcessGroup
    stdout: Path
    stderr: Path
    cancelled: bool = False  # before it had ended
    last: JobStatus | None = None  # once it has


class LocalProvider(ExecutionProvider):
    """Starts blocks as processes of this machine, below this process.

    Args:
        nodes_per_block: more than 1 only with a launcher that reaches other machines, inside an allocation.
        launcher: how the command is started in a block.
        init_blocks, min_blocks, max_blocks, parallelism: see `BlockLimits`.
        worker_init: shell text that runs first in each block (bash, where there is one).
        cmd_timeout: seconds that `cancel` may take. Half of it, 5 s at most, is what processes get between
            SIGTERM and SIGKILL.
        script_dir: see `ExecutionProvider`.
        channel, move_files: accepted for configurations written for Parsl: a LocalChannel, or None; blocks are on this
            machine, and nothing has to be moved.

    A copy, pickled or not, has the options and none of the blocks.
    """

    ends_with_client = True
    status_polling_interval = 0.1  # a look at our own children costs next to nothing

    def __init__(
        self,
        nodes_per_block: int = 1,
        launcher: LauncherLike | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        worker_init: str = "",
        cmd_timeout: float = 30,
        parallelism: float = 1,
        script_dir: str | os.PathLike[str] | None = None,
        *,
        channel: Channel | None = None,
        move_files: bool | None = None,
    ) -> None:
        self.limits = BlockLimits(
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            nodes_per_block=nodes_per_block,
            parallelism=parallelism,
        )
        self.launcher = check_launcher(SingleNodeLauncher() if launcher is None else launcher)
        if self.nodes_per_block > 1 and isinstance(self.launcher, SingleNodeLauncher):
            raise ConfigurationError(
                f"nodes_per_block={nodes_per_block} with a SingleNodeLauncher would start on one node only; "
                "use a launcher for several nodes, or nodes_per_block=1 and more blocks (max_blocks)"
            )
        self.worker_init = checks.any_text("worker_init", worker_init)
        self.cmd_timeout = checks.seconds("cmd_timeout", cmd_timeout)
        self.script_dir = checks.optional(checks.path)("script_dir", script_dir)
        _CHANNEL("channel", channel)
        checks.optional(checks.flag)("move_files", move_files)
        self._blocks: dict[str, _Block] = {}

    @property
    def label(self) -> str:
        return "local"

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl_pool.auto") -> str:
        if self.script_dir is None:
            raise ConfigurationError(
                "the provider has no script_dir: an executor sets it; who uses the provider alone must set "
                "provider.script_dir to a private directory"
            )
        shell = self._shell()
        text = self._text(shell, command, tasks_per_node, job_name)
        script = write_script(self.script_dir, job_name, text)
        stdout, stderr = script.with_suffix(".out"), script.with_suffix(".err")
        try:
            group = ProcessGroup(shell, script, stdout, stderr)
        except OSError as error:
            for path in (script, stdout, stderr):
                path.unlink(missing_ok=True)
            raise ScaleOutFailed(self, f"cannot start {script}: {describe_failure(error)}") from error
        job_id = script.stem
        self._blocks[job_id] = _Block(group, stdout, stderr)
        log.info("job %s: process group %d runs %s", job_id, group.pid, script)
        return job_id

    def preview(self, command: str, tasks_per_node: int, job_name: str) -> Preview:
        return Preview(self._text(self._shell(), command, tasks_per_node, job_name))

    def _text(self, shell: str, command: str, tasks_per_node: int, job_name: str) -> str:
        checks.any_text("command", command)
        checks.name("job_name", job_name)
        checks.whole(least=1)("tasks_per_node", tasks_per_node)
        body = launched(self.launcher, command, tasks_per_node, self.nodes_per_block)
        return script_text(shell=shell, job_name=job_name, worker_init=self.worker_init, body=body)

    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        return [self._status(job_id) for job_id in _JOB_IDS("job_ids", job_ids)]

    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        """Ends the jobs' process groups: by SIGTERM, then SIGKILL; a job that has only just begun by SIGKILL.

        Returns within `cmd_timeout`, with who has ended by then.

        False: an id that is not known, or a process that not even SIGKILL ends (it hangs in the kernel).
        """
        job_ids = _JOB_IDS("job_ids", job_ids)
        blocks = {job_id: self._blocks[job_id] for job_id in job_ids if job_id in self._blocks}
        running = [b for b in blocks.values() if b.group.poll() is None and not b.group.is_inherited]
        for block in running:
            block.cancelled = True
        terminate_all(
            [block.group for block in running],
            grace_s=min(_GRACE_S, self.cmd_timeout / 2),
            timeout_s=self.cmd_timeout,
        )
        return [job_id in blocks and blocks[job_id].group.poll() is not None for job_id in job_ids]

    def __repr__(self) -> str:
        return (
            f"LocalProvider(nodes_per_block={self.nodes_per_block}, launcher={self.launcher!r}, "
            f"init_blocks={self.init_blocks}, min_blocks={self.min_blocks}, max_blocks={self.max_blocks}, "
            f"worker_init={self.worker_init!r}, cmd_timeout={self.cmd_timeout}, "
            f"parallelism={self.parallelism})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blocks": {}}

    def _shell(self) -> str:
        for shell in SHELLS:
            if os.access(shell, os.X_OK):
                return shell
        raise ScaleOutFailed(self, f"no shell to run its script, looked for {', '.join(SHELLS)}")

    def _status(self, job_id: str) -> JobStatus:
        block = self._blocks.get(job_id)
        if block is None:
            return JobStatus(JobState.UNKNOWN, f"this provider has not started {shlex.quote(job_id)}")
        if block.last is None:
            status = self._look_at(block)
            if not status.terminal:
                return status
            log.info("job %s: %s, %s", job_id, status.status_name, status.message)
            block.last = status
        return block.last

    def _look_at(self, block: _Block) -> JobStatus:
        ending = block.group.poll()
        if block.group.is_inherited:
            return JobStatus(JobState.UNKNOWN, "started by the process of which this one is a fork")
        if ending is None:
            state, message = JobState.RUNNING, f"process group {block.group.pid}"
        elif block.cancelled:
            state, message = JobState.CANCELLED, f"cancelled: {ending}"
        else:
            state = JobState.COMPLETED if ending.exit_code == 0 else JobState.FAILED
            message = str(ending)
        return JobStatus(state, message, _exit_code(ending), str(block.stdout), str(block.stderr))


def _exit_code(ending: Ending | None) -> int | None:
    if ending is None:
        return None
    if ending.exit_code is None and ending.signal_number is not None:
        return 128 + ending.signal_number
    return ending.exit_code
