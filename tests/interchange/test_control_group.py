"""Limits of control groups, as files of both versions tell them."""

from pathlib import Path

import pytest

from parsl_pool import portable
from parsl_pool.interchange import control_group

pytestmark = pytest.mark.skipif(not portable.has_proc(), reason="only Linux has control groups")


def system(root: Path, groups: str, files: dict[str, str]) -> str:
    """A file system in which this process is in these groups."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{n}": text for n, text in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_version_2_and_the_smallest_limit_above_us_holds(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/slurm/job_7/step_0\n", {
        "slurm/cpu.max": "max 100000\n", "slurm/job_7/cpu.max": "250000 100000\n",
        "slurm/job_7/step_0/cpu.max": "800000 100000\n",
        "slurm/memory.max": "max\n", "slurm/job_7/memory.max": "4294967296\n",
    })  # fmt: skip
    assert control_group.processors(root) == 2.5
    assert control_group.memory(root) == 4 << 30


def test_version_1(tmp_path: Path) -> None:
    root = system(tmp_path, "5:cpu,cpuacct:/a/b\n4:memory:/a\n0::/\n", {
        "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
        "cpu/a/b/cpu.cfs_quota_us": "50000\n", "cpu/a/b/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/a/memory.limit_in_bytes": "1073741824\n",
    })  # fmt: skip
    assert control_group.processors(root) == 0.5
    assert control_group.memory(root) == 1 << 30


def test_in_a_container_the_kernel_tells_the_path_of_the_host(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/docker/0123\n", {"cpu.max": "150000 100000\n", "memory.max": "1000000\n"})
    assert (control_group.processors(root), control_group.memory(root)) == (1.5, 1000000)


@pytest.mark.parametrize("groups", ["", "0::/\n", "rubbish\n", "1:name=systemd:/x\n"])
def test_without_limits_there_are_none(tmp_path: Path, groups: str) -> None:
    root = system(tmp_path, groups, {"cpu.max": "max 100000\n"})
    assert control_group.processors(root) is None and control_group.memory(root) is None
    assert control_group.processors(str(tmp_path / "nowhere")) is None
