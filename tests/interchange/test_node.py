"""How many workers a node gets, and what belongs to each."""

import os
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import portable
from parsl_pool.interchange.layout import arrange, place_of
from parsl_pool.interchange.node import BILLION, arranged, count
from parsl_pool.interchange.node_facts import GB, Seen, facts, look
from parsl_pool.interchange.wanted import FIND, UnfitNode, Wanted

PLAIN: dict[str, Any] = dict(
    workers=0, cores_per_worker=0, memory_per_worker=0, accelerators=[], accelerator_count=0, affinity="none",
    prefetch=-1,
)  # fmt: skip
HERE = {"PARSL_CORES": "8", "PARSL_MEMORY_GB": "16"}
NODE = Seen(list(range(8)), 8, 16 * GB)


def wanted(**changes: Any) -> Wanted:
    return Wanted(**{**PLAIN, **changes})


@pytest.mark.parametrize(
    "changes, devices, workers",
    [
        ({}, 0, 8),
        ({"workers": 3}, 0, 3),
        ({"workers": 100}, 0, 100),
        ({"cores_per_worker": BILLION}, 0, 8),
        ({"cores_per_worker": 3 * BILLION}, 0, 2),
        ({"cores_per_worker": BILLION // 2}, 0, 16),
        ({"cores_per_worker": BILLION // 10}, 0, 80),
        ({"cores_per_worker": 1000, "workers": 5}, 0, 5),
        ({"cores_per_worker": 8 * BILLION}, 0, 1),
        ({"memory_per_worker": 3 * GB}, 0, 5),
        ({"cores_per_worker": BILLION, "memory_per_worker": 8 * GB}, 0, 2),
        ({"cores_per_worker": BILLION}, 4, 4),
        ({"cores_per_worker": BILLION, "workers": 2}, 4, 2),
        ({"affinity": "list:0:1:2"}, 0, 3),
        ({"affinity": "list:0:1:2", "cores_per_worker": BILLION}, 0, 8),
    ],
)
def test_the_least_of_what_each_thing_allows(changes: dict[str, Any], devices: int, workers: int) -> None:
    assert count(wanted(**changes), NODE, devices) == workers


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"cores_per_worker": 9 * BILLION}, "each is to have 9 cores, and it has 8"),
        ({"memory_per_worker": 17 * GB, "workers": 4}, "each is to have 17 GB of memory, and it has 16"),
    ],
)
def test_no_room_for_a_single_one_is_an_error(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnfitNode, match=reason):
        count(wanted(**changes), NODE, 0)


def test_memory_that_is_not_known_limits_nothing() -> None:
    assert count(wanted(memory_per_worker=17 * GB, workers=4), NODE._replace(memory=0), 0) == 4


def test_what_the_provider_has_asked_for_holds(tmp_path: Path) -> None:
    seen = look(HERE, str(tmp_path))
    assert (seen.usable, seen.memory) == (8, 16 * GB)


@pytest.mark.parametrize("text", ["no", "-1", "0", "nan", "inf"])
@pytest.mark.parametrize("name", HERE)
def test_a_variable_that_makes_no_sense_is_an_error(name: str, text: str) -> None:
    with pytest.raises(UnfitNode, match=f"{name}='{text}' in its environment is not a number greater than 0"):
        look({name: text})


def test_else_it_is_what_this_process_may_use(tmp_path: Path) -> None:
    seen = look({}, str(tmp_path))  # without control groups
    assert seen.usable == len(seen.cores)
    if portable.has(os, "sched_getaffinity"):
        assert seen.cores == sorted(os.sched_getaffinity(0))
    assert seen.memory > 1 << 20


@pytest.mark.skipif(not portable.has_proc(), reason="only Linux has control groups")
def test_a_control_group_can_allow_less_but_never_less_than_one_core(tmp_path: Path) -> None:
    for name, text in (("proc/self/cgroup", "0::/"), ("sys/fs/cgroup/cpu.max", "30000 100000"),
                       ("sys/fs/cgroup/memory.max", "1048576")):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    seen = look({}, str(tmp_path))
    assert (seen.usable, seen.memory) == (1, 1 << 20)


@pytest.mark.parametrize(
    "job, usable, memory",
    [
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "5"}, 1, 5 << 20),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_CPU": "7"}, 1, 7 << 20),
        ({"SLURM_CPUS_ON_NODE": "5000", "SLURM_MEM_PER_NODE": "0"}, None, None),
        ({"SLURM_CPUS_ON_NODE": "", "SLURM_MEM_PER_NODE": "4G"}, None, None),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "5", **HERE}, 8, 16 * GB),
    ],
)
def test_a_job_of_slurms_has_no_more_than_slurm_says(
    tmp_path: Path, job: dict[str, str], usable: int | None, memory: int | None
) -> None:
    everything, seen = look({}, str(tmp_path)), look(job, str(tmp_path))
    assert seen.usable == (everything.usable if usable is None else usable)
    assert seen.memory == (everything.memory if memory is None else memory)


def test_tasks_that_ask_for_something_find_what_workers_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "5")
    for name in HERE:
        monkeypatch.delenv(name, raising=False)
    has, seen = facts(3, gpus=2), look(os.environ)
    assert (has.cores, has.memory_mb, has.workers, has.gpus) == (1, 5, 3, 2)
    assert (seen.usable, seen.memory) == (1, 5 << 20)
    monkeypatch.setenv("PARSL_MEMORY_GB", "1.5")
    assert facts(3).memory_mb == 1536
    monkeypatch.setenv("PARSL_CORES", "rubbish")  # a mere number of workers works on all the same
    assert (facts(3).cores, facts(3).memory_mb) == (1, 5)


@pytest.mark.parametrize(
    "changes, environ, devices",
    [
        ({"accelerators": ["x", "y", "z"]}, {}, [0, 1, 2]),
        ({"accelerators": ["x", "y", "x"]}, {}, [0, 1, 0]),
        ({"accelerator_count": 4}, {}, [0, 1, 2, 3]),
        ({"accelerator_count": 4}, {"CUDA_VISIBLE_DEVICES": "5,7"}, [0, 0, 1, 1]),
        ({}, {}, []),
    ],
)
def test_which_places_share_an_accelerator(
    tmp_path: Path, changes: dict[str, Any], environ: dict[str, str], devices: list[int]
) -> None:
    assert arranged(wanted(**changes), {**HERE, **environ}, str(tmp_path)).devices == devices


def test_a_worker_of_two_places_has_what_belongs_to_both(tmp_path: Path) -> None:
    cores = look({}).cores
    word = f"list:{cores[0]}:{cores[-1]}"
    node = arranged(wanted(affinity=word, accelerators=["x", "y"]), HERE, str(tmp_path))
    both = place_of(node, (0, 1))
    assert both.cores == list(dict.fromkeys([cores[0], cores[-1]]))
    assert both.variables[:2] == ["PARSL_WORKER_RANK=0", f"OMP_NUM_THREADS={len(both.cores)}"]
    assert {"CUDA_VISIBLE_DEVICES=x,y", "ROCR_VISIBLE_DEVICES=x,y", "ZE_AFFINITY_MASK=x,y"} <= set(both.variables)
    assert place_of(node, (1,)) is node.places[1]


def test_places_have_a_rank_cores_and_an_accelerator(tmp_path: Path) -> None:
    cores = look({}).cores
    word = f"list:{cores[0]}:{cores[-1]}"
    node = arranged(wanted(affinity=word, accelerators=["x", "y", "z"]), HERE, str(tmp_path))
    assert node.has_accelerators and len(node.places) == 2
    assert [place.cores for place in node.places] == [[cores[0]], [cores[-1]]]
    for rank, place in enumerate(node.places):
        assert {f"PARSL_WORKER_RANK={rank}", "OMP_NUM_THREADS=1", f"CUDA_VISIBLE_DEVICES={'xyz'[rank]}"} <= set(
            place.variables
        )


def test_cores_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(UnfitNode, match="is for 1 workers, and there are to be 2"):
        arranged(wanted(affinity="list:0", workers=2), {})


def test_auto_takes_what_is_found_and_binds_to_nothing_if_nothing_is(tmp_path: Path) -> None:
    node = arranged(wanted(accelerator_count=FIND), {**HERE, "CUDA_VISIBLE_DEVICES": "4,5"}, str(tmp_path))
    assert [place.variables[1] for place in node.places] == ["CUDA_VISIBLE_DEVICES=4", "CUDA_VISIBLE_DEVICES=5"]
    node = arranged(wanted(accelerator_count=FIND), {**HERE, "PATH": str(tmp_path)}, str(tmp_path))
    assert len(node.places) == 8 and not node.has_accelerators
    assert node.notes[0].startswith("available_accelerators='auto': none found (no variable and no tool")


def test_it_is_said_if_the_process_is_bound_to_less_than_was_asked_for() -> None:
    node = arranged(wanted(cores_per_worker=BILLION), {"PARSL_CORES": "5000"})
    assert len(node.places) == 5000
    assert any("PARSL_CORES says 5000 cores, and this process may use" in note for note in node.notes)


def test_it_is_said_where_no_process_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "FORCED", True)
    node = arranged(wanted(affinity="block"), {})
    assert any("this system binds no process to cores; OpenMP is told" in note for note in node.notes)
    assert node.places[0].variables[1].startswith("OMP_NUM_THREADS=")


def test_a_mere_number_looks_at_nothing() -> None:
    node = arrange(wanted(workers=2), {"PARSL_CORES": "rubbish"})
    assert [place.variables for place in node.places] == [["PARSL_WORKER_RANK=0"], ["PARSL_WORKER_RANK=1"]]
    assert not node.notes and not node.has_accelerators
