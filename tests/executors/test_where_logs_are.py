"""An executor says where its logs are; and asks for its first blocks when it is told to."""

from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import LocalProvider

pytestmark = pytest.mark.timeout(90)


def test_in_the_run_s_directory_or_where_the_user_says(tmp_path: Path) -> None:
    plain = HighThroughputExecutor("plain", max_workers_per_node=1, worker_debug=True)
    root = HighThroughputExecutor("root", max_workers_per_node=1, worker_debug=True, worker_logdir_root=tmp_path / "w")
    assert plain.logdir == "", "it has not begun"
    with ParslPoolExecutor(Config([plain, root], run_dir=tmp_path / "runs")) as pool:
        for name in "plain", "root":
            assert pool.options(executors=name).submit(abs, -1).result() == 1
        assert Path(plain.logdir).parent == tmp_path / "runs" and Path(plain.logdir, "parsl_pool.log").exists()
        assert plain.worker_logdir == plain.logdir == root.logdir
        assert list(Path(plain.worker_logdir).glob("block-*/*/worker-*.log"))
        assert Path(root.worker_logdir).parent == tmp_path / "w"
        assert list(Path(root.worker_logdir).glob("block-*/*/worker-*.log"))


def test_nowhere() -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1)
    with executor:
        assert executor.submit(abs, {}, -1).result() == 1
        assert executor.logdir == executor.worker_logdir == ""


def test_the_first_blocks_are_asked_for(tmp_path: Path) -> None:
    provider = LocalProvider(init_blocks=2, max_blocks=2)
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=provider, run_dir=tmp_path)
    with executor:
        executor.initialize_scaling()
        assert executor.submit(abs, {}, -1).result(60) == 1
        assert executor.initialize_scaling() == ["0", "1"], "they are there, and no others are asked for"
