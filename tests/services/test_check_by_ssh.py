"""`parsl-pool check` of a scheduler on another machine, over a real sshd."""

from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.doctor import diagnosis, trial
from parsl_pool.doctor.finding import Finding
from parsl_pool.doctor.inspection import inspect
from parsl_pool.providers import SlurmProvider
from parsl_pool.providers.channels.ssh import SSHChannel
from tests.services.sshd import Sshd
from tests.services.test_cluster_by_ssh import login_node as login_node
from tests.services.test_cluster_by_ssh import slurm

pytestmark = [pytest.mark.service, pytest.mark.timeout(110)]


def checked(provider: SlurmProvider, folder: Path) -> dict[str, Finding]:
    executor = HighThroughputExecutor("site", provider=provider, max_workers_per_node=1, address="tunnel")
    config = Config([executor], run_dir=folder / "runs")
    seen = inspect(config, executor)
    evidence = trial.try_executor(config, executor, timeout_s=60, nodes=1, say=print)
    found = diagnosis.diagnose(evidence, evidence.facts.get("python", "3.11.0"), 60)
    return {one.code: one for one in [*seen.findings, *found]}


def test_a_site_where_all_is_well(login_node: SSHChannel, sshd: Sshd, tmp_path: Path) -> None:
    found = checked(slurm(login_node), tmp_path)
    assert {"commands", "script-dir", "address", "worker", "round-trip"} <= set(found), found
    assert "tunnel" in found["address"].text and not [one for one in found.values() if one.level.value == "problem"]


def test_what_a_job_has_said_there_is_told_here(login_node: SSHChannel, sshd: Sshd, tmp_path: Path) -> None:
    provider = slurm(login_node)
    provider.worker_init = "echo there is no module >&2; exit 4"
    found = checked(provider, tmp_path)
    assert "exit code 4" in found["worker-init"].text and "there is no module" in found["worker-init"].text
