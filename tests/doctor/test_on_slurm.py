"""The check on a real Slurm of four nodes: what is well, and what Slurm itself says of what is not."""

import pytest

from tests.doctor.conftest import Cluster

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]
TRY = ("--run", "--timeout", "120")
QUICK = ("--run", "--timeout", "10")


def test_two_nodes_where_all_is_well(real_cluster: Cluster) -> None:
    config = real_cluster.config("partition='main', nodes_per_block=2, launcher=SrunLauncher(), exclusive=False")
    done = real_cluster.check(config, *TRY, "--nodes", "2")
    assert (done.status, done.problems) == (0, {}), done
    assert {"commands", "launcher-command", "worker", "versions", "round-trip"} <= set(done.texts("ok")), done


@pytest.mark.parametrize(
    "options, code, said",
    [
        ("partition='nosuch'", "partition", "invalid partition specified: nosuch"),
        ("constraint='no-such-feature'", "resources", "Invalid feature specification"),
        ("mem_per_node=1e6", "resources", "emory specification can not be satisfied"),
        ("worker_init='echo no module >&2; exit 3'", "worker-init", "exit code 3"),
        ("launcher=AprunLauncher()", "launcher-command", "has no aprun"),
    ],
    ids=["partition", "constraint", "memory", "worker_init", "launcher"],
)
def test_what_is_wrong_is_named(real_cluster: Cluster, options: str, code: str, said: str) -> None:
    done = real_cluster.check(real_cluster.config(f"exclusive=False, {options}"), *TRY)
    assert done.status == 1 and said in done.problems[code], done


@pytest.mark.parametrize(
    "options, status, level, code, said",
    [
        ("partition='closed'", 3, "warning", "queue", "PartitionDown (the partition is closed for now"),
        ("nodes_per_block=9", 1, "problem", "never-starts", "PartitionNodeLimit"),
        ("partition='brief', walltime='00:05:00'", 1, "problem", "never-starts", "PartitionTimeLimit (it asks"),
    ],
    ids=["closed", "nodes", "time"],
)
def test_why_a_job_waits(real_cluster: Cluster, options: str, status: int, level: str, code: str, said: str) -> None:
    nodes = ("--nodes", "9") if "nodes" in options else ()
    done = real_cluster.check(real_cluster.config(f"exclusive=False, {options}"), *QUICK, *nodes)
    assert done.status == status and said in done.texts(level)[code], done


def test_an_account_that_is_not_there(cluster_with_accounts: Cluster) -> None:
    done = cluster_with_accounts.check(cluster_with_accounts.config("exclusive=False, account='nosuch'"), *TRY)
    assert done.status == 1 and "Invalid account or account/partition" in done.problems["account"], done
