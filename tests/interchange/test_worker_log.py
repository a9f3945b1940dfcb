"""worker_debug: what each worker does stands in a file of its own."""

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor

pytestmark = pytest.mark.timeout(60)


def pool_with(run_dir: Path | None = None, **options: Any) -> ParslPoolExecutor:
    executor = HighThroughputExecutor("it", max_workers_per_node=1, worker_debug=True, **options)
    return ParslPoolExecutor(Config([executor], run_dir=run_dir))


def use(pool: ParslPoolExecutor) -> int:
    """Its worker's process."""
    assert pool.submit(abs, -1).result(30) == 1
    assert isinstance(pool.submit(int, "x").exception(30), ValueError)
    assert len(pool.submit(bytes, 1 << 17).result(30)) == 1 << 17
    return pool.submit(os.getpid).result(30)


def check(log: Path, pid: int) -> None:
    text = log.read_text()
    who = rf"\S+ \S+ DEBUG worker-0\[{pid}\]"
    assert re.match(rf"{who} begun\n{who} gets 1 tasks: \d+ \(function \d+\)\n{who} task \d+ ok, \d+ bytes", text)
    assert re.search(rf"{who} task \d+ raised, \d+ bytes, after \d+\.\d+ ms\n", text)
    assert re.search(rf"{who} task \d+ ok, 131\d\d\d bytes", text), "one that goes by shared memory"
    assert text.count(" gets ") == text.count(" task ") == 4
    assert re.search(rf"{who} ending\n$", text)


def test_a_worker_says_what_it_does_below_the_run_directory(manager_inside: bool, tmp_path: Path) -> None:
    with pool_with(tmp_path, manager_inside=manager_inside) as pool:
        pid = use(pool)
    (log,) = (tmp_path / "000").glob("block-0/*/worker-0.log")
    check(log, pid)


def test_it_does_so_elsewhere_if_told(manager_inside: bool, tmp_path: Path) -> None:
    """For managers on nodes that do not see the run's directory. What is made is for its user alone."""
    before = os.umask(0)
    try:
        with pool_with(manager_inside=manager_inside, worker_logdir_root=tmp_path / "logs" / "workers") as pool:
            pid = use(pool)
    finally:
        os.umask(before)
    (log,) = tmp_path.glob("logs/workers/*/block-0/*/worker-0.log")
    check(log, pid)
    assert len(list(tmp_path.glob("logs/workers/*/manager-*.log"))) == (not manager_inside)
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "logs").rglob("*")} == {0}


def test_where_it_cannot_it_says_so_and_works(
    manager_inside: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pool_with(manager_inside=manager_inside, worker_logdir_root=tmp_path / "file") as pool:
        use(pool)
    assert manager_inside is ("cannot write the log" in capfd.readouterr().err)  # apart it is the block's own stderr
    assert (tmp_path / "file").read_text() == ""


def test_without_it_a_worker_has_none(manager_inside: bool, tmp_path: Path) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, manager_inside=manager_inside)
    with ParslPoolExecutor(Config([executor], run_dir=tmp_path)) as pool:
        use(pool)
    assert not list(tmp_path.rglob("block-*"))
