"""The check on a real Grid Engine of one node."""

import pytest

from tests.doctor.conftest import Cluster

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]
TRY = ("--run", "--timeout", "120")
KIND = "GridEngineProvider"


def test_a_site_where_all_is_well(grid_engine_cluster: Cluster) -> None:
    done = grid_engine_cluster.check(grid_engine_cluster.config(kind=KIND), *TRY)
    assert (done.status, done.problems) == (0, {}), done
    assert {"commands", "worker", "versions", "round-trip"} <= set(done.texts("ok")), done


@pytest.mark.parametrize(
    "options, code, said",
    [
        ("queue='nosuch.q'", "partition", "unknown queue"),
        ("scheduler_options='#$ -l nosuch=1'", "resources", "unknown resource"),
        ("worker_init='echo no module >&2; exit 3'", "worker-init", "exit code 3"),
    ],
    ids=["queue", "resource", "worker_init"],
)
def test_what_is_wrong_is_named(grid_engine_cluster: Cluster, options: str, code: str, said: str) -> None:
    done = grid_engine_cluster.check(grid_engine_cluster.config(options, kind=KIND), *TRY)
    assert done.status == 1 and said in done.problems[code], done
