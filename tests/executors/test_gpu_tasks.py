"""Tasks that ask for GPUs, on real workers. The GPUs are names: what is seen is who gets which."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import InvalidResourceSpecification, WorkerLost
from parsl_pool.providers import LocalProvider

pytestmark = pytest.mark.timeout(60)

VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")


@pytest.fixture(params=["inside", "apart"])
def pool(request: pytest.FixtureRequest) -> Iterator[ParslPoolExecutor]:
    executor = HighThroughputExecutor(
        "gpus", max_workers_per_node=4, available_accelerators=list("abcd"), cpu_affinity="none",
        manager_inside=request.param == "inside",
    )  # fmt: skip
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        yield pool


def told() -> list[str]:
    return [os.environ[name] for name in VARIABLES]


def test_a_task_sees_as_many_as_it_asked_for(pool: ParslPoolExecutor) -> None:
    for gpus in (2, 4, 1, 3):
        seen = pool.options(resources={"gpus": gpus}).submit(told).result()
        assert len(set(seen)) == 1, "all libraries are told the same"
        names = seen[0].split(",")
        assert len(set(names)) == len(names) == gpus and set(names) <= set("abcd")
    assert pool.submit(told).result()[0] in list("abcd"), "one that asks for nothing has one, as always"


def claim(folder: str) -> int:
    """Claim our devices by files, which must not be there, for a moment."""
    names = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    for name in names:
        Path(folder, name).touch(exist_ok=False)
    time.sleep(0.01)
    for name in names:
        Path(folder, name).unlink()
    return len(names)


def test_no_device_is_in_two_tasks(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "used"
    folder.mkdir()
    wanted = [0, 0, 2, 0, 1, 3, 0, 2, 2, 0, 4, 1]
    futures = [(pool.options(resources={"gpus": n}) if n else pool).submit(claim, str(folder)) for n in wanted]
    assert [future.result() for future in futures] == [n or 1 for n in wanted]


def die() -> None:
    os._exit(3)


def test_the_devices_of_a_worker_that_died_are_given_again(pool: ParslPoolExecutor) -> None:
    everything = pool.options(resources={"gpus": 4})
    for _ in range(2):
        with pytest.raises(WorkerLost):
            everything.submit(die).result()
    assert sorted(everything.submit(told).result()[0].split(",")) == list("abcd")
    assert pool.submit(abs, -1).result() == 1


def test_more_than_there_are_is_an_error_at_once(pool: ParslPoolExecutor) -> None:
    with pytest.raises(InvalidResourceSpecification, match="'gpus': 5.*no manager.*: each has .*4 GPUs a task"):
        pool.options(resources={"gpus": 5})


def wide_tree(pool: ParslPoolExecutor, depth: int) -> list[int]:
    seen = [len(told()[0].split(","))]
    if depth:
        both = pool.options(resources={"gpus": 2})
        for future in [both.submit(wide_tree, pool, depth - 1) for _ in range(2)]:
            seen += future.result()
    return seen


def test_a_task_that_waits_for_others_lends_its_devices(pool: ParslPoolExecutor) -> None:
    everything = pool.options(resources={"gpus": 4})
    assert everything.submit(wide_tree, pool, 2).result() == [4, 2, 2, 2, 2, 2, 2]


NVIDIA_SMI = """\
#!/bin/sh
[ "$*" = -L ] || exit 2
echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-2222-3333-4444-555555555555)"
echo "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-66666666-7777-8888-9999-000000000000)"
echo "GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaaaaaa-7777-8888-9999-000000000000)"
"""


@pytest.mark.parametrize("inside", [True, False])
def test_what_a_tool_on_the_path_lists_is_there_for_tasks(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    executor = HighThroughputExecutor(
        max_workers_per_node=8, available_accelerators="auto",
        provider=None if inside else LocalProvider(init_blocks=1, max_blocks=1),
    )  # fmt: skip
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        assert pool.options(resources={"gpus": 3}).submit(told).result() == 3 * ["0,1,2"]
        assert pool.submit(told).result()[0] in list("012")
        with pytest.raises(InvalidResourceSpecification, match="no manager .*can ever hold it.*3 GPUs a task"):
            pool.options(resources={"gpus": 4}).submit(told).result()
