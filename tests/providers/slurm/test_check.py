"""`parsl-pool check` at a site with a real Slurm: it says what is wrong there, in the scheduler's words."""

from pathlib import Path

import pytest

from parsl_pool.cli.main import main
from tests.services.clusters import SlurmCluster

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(180)]

CONFIG = """
from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

provider = SlurmProvider(nodes_per_block=2, max_blocks=2, launcher=SrunLauncher(){options})
provider.status_polling_interval = 0.5
config = Config([HighThroughputExecutor("site", address="127.0.0.1", max_workers_per_node=1, provider=provider)])
"""


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ("", 0, ["submitted as job", "a call takes"]),
        (", partition='nosuch'", 1, ["invalid partition specified: nosuch", "sbatch"]),
        (", partition='closed'", 3, ["PartitionDown"]),
        (", worker_init='echo no such module >&2; exit 1'", 1, ["no such module"]),
    ],
    ids=["well", "unknown", "closed", "worker_init"],
)
def test_a_trial(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: str, status: int, words: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.py").write_text(CONFIG.format(options=options))
    limit = "5" if status == 3 else "90"
    assert main(["check", "site.py", "--run", "--no-script", "--timeout", limit]) == status, capsys.readouterr()
    seen = capsys.readouterr()
    for word in words:
        assert word in seen.out + seen.err
    assert not slurm.left(20)
