"""Some of test_blocks.py with a Slurm that keeps accounts: how blocks ended is asked of sacct, too."""

import pytest

from tests.providers.slurm.test_blocks import ALONE
from tests.providers.slurm.test_blocks import (
    test_a_block_comes_to_its_walltime as test_a_block_comes_to_its_walltime,
)
from tests.providers.slurm.test_blocks import (
    test_a_block_is_cancelled_by_somebody_else as test_a_block_is_cancelled_by_somebody_else,
)
from tests.providers.slurm.test_blocks import test_a_node_is_lost as test_a_node_is_lost
from tests.providers.slurm.test_blocks import test_two_blocks_of_two_nodes as test_two_blocks_of_two_nodes
from tests.services.clusters import SlurmCluster
from tests.services.pools import NewPool, breaks_and_says
from tests.services.slurm import ACCOUNT

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def cluster(slurm_with_accounting: SlurmCluster) -> SlurmCluster:
    return slurm_with_accounting


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"account": "nosuch"},
            ["Invalid account or account/partition combination specified", "sbatch", "the script: "],
        ),
        ({"worker_init": "echo no such module >&2; exit 1"}, ["exit code 1", "FAILED", "no such module"]),
    ],
    ids=["account", "worker_init"],
)
def test_blocks_that_never_come_break_the_pool_and_say_why(
    new_pool: NewPool, cluster: SlurmCluster, options: dict[str, str], words: list[str]
) -> None:
    breaks_and_says(new_pool(**ALONE, **options), cluster, words)


def test_with_an_account_that_exists_all_is_well(new_pool: NewPool, cluster: SlurmCluster) -> None:
    pool = new_pool(account=ACCOUNT, partition="members", **ALONE)
    assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))
    pool.shutdown()
    assert not cluster.left(20)
