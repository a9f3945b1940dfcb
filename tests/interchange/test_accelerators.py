"""Which accelerators there are, as variables and tools tell, and what workers are told of them."""

import os
from pathlib import Path

import pytest

from parsl_pool.interchange import accelerators
from parsl_pool.interchange.accelerators import find, listed, variables

# What the tools print: the forms are those of real machines, the identifiers are made up.
NVIDIA = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-2222-3333-4444-555555555555)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-66666666-7777-8888-9999-000000000000)
"""
MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-2222-3333-4444-555555555555)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaaaaaa-1111-5555-8888-000000000001)
  MIG 3g.20gb     Device  1: (UUID: MIG-aaaaaaaa-1111-5555-8888-000000000002)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-66666666-7777-8888-9999-000000000000)
"""
ROCM = """\


============================ ROCm System Management Interface ============================
=========================================== ID ===========================================
GPU[0]\t\t: Device Name: \t\tInstinct MI210
GPU[0]\t\t: Device ID: \t\t0x740f
GPU[0]\t\t: GUID: \t\t13566
GPU[1]\t\t: Device Name: \t\tInstinct MI210
GPU[1]\t\t: Device ID: \t\t0x740f
GPU[1]\t\t: GUID: \t\t30617
==========================================================================================
================================== End of ROCm SMI Log ===================================
"""
AMD = "GPU: 0\n    BDF: 0000:08:00.0\n    UUID: 23ff74a1-0000-1000-803a-000000000000\n\nGPU: 1\n    BDF: 0000:38:00.0\n"
SYCL = """\
[opencl:cpu][opencl:0] Intel(R) OpenCL, Intel(R) Xeon(R) CPU Max 9470 OpenCL 3.0 (Build 0) [2024.18.7.0.11_160000]
[level_zero:gpu][level_zero:0] Intel(R) Level-Zero, Intel(R) Data Center GPU Max 1550 1.3 [1.3.29735]
[level_zero:gpu][level_zero:1] Intel(R) Level-Zero, Intel(R) Data Center GPU Max 1550 1.3 [1.3.29735]
"""
OLD_SYCL = "[ext_oneapi_level_zero:gpu:0] Intel(R) Level-Zero, Intel(R) Data Center GPU Max 1550 1.3 [1.3.26516]\n"
XPU = """\
+-----------+--------------------------------------------------------------------------------------+
| Device ID | Device Information                                                                   |
+-----------+--------------------------------------------------------------------------------------+
| 0         | Device Name: Intel(R) Data Center GPU Max 1550                                       |
|           | Vendor Name: Intel(R) Corporation                                                    |
|           | UUID: 00000000-0000-0000-6769-df256e271362                                           |
+-----------+--------------------------------------------------------------------------------------+
| 1         | Device Name: Intel(R) Data Center GPU Max 1550                                       |
+-----------+--------------------------------------------------------------------------------------+
"""


def play(folder: Path, name: str, prints: str = "", then: str = "") -> dict[str, str]:
    """An environment in which this tool is found, and prints that."""
    (folder / "output").write_text(prints)
    tool = folder / name
    tool.write_text(f"#!/bin/sh\n/bin/cat '{folder}/output'\n{then}\n")
    tool.chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    "tool, prints, names",
    [
        ("nvidia-smi", NVIDIA, ["0", "1"]),
        ("nvidia-smi", MIG, [f"MIG-aaaaaaaa-1111-5555-8888-00000000000{n}" for n in (1, 2)] + ["1"]),
        ("rocm-smi", ROCM, ["0", "1"]),
        ("amd-smi", AMD, ["0", "1"]),
        ("sycl-ls", SYCL, ["0", "1"]),
        ("sycl-ls", OLD_SYCL, ["0"]),
        ("xpu-smi", XPU, ["0", "1"]),
    ],
)
def test_tools_tell(tmp_path: Path, tool: str, prints: str, names: list[str]) -> None:
    found = find(play(tmp_path, tool, prints))
    assert found.names == names and tool in found.how and str(len(names)) in found.how


@pytest.mark.parametrize("variable", accelerators.VARIABLES)
def test_a_variable_that_names_some_is_believed_before_any_tool(tmp_path: Path, variable: str) -> None:
    environ = {**play(tmp_path, "nvidia-smi", NVIDIA), variable: "3, GPU-5"}
    assert find(environ).names == ["3", "GPU-5"]


@pytest.mark.parametrize("text", ["", "-1", "NoDevFiles", "void"])
def test_a_variable_that_hides_all_keeps_its_tool_from_being_asked(tmp_path: Path, text: str) -> None:
    environ = {**play(tmp_path, "nvidia-smi", NVIDIA), "CUDA_VISIBLE_DEVICES": text}
    assert find(environ).names == []
    play(tmp_path, "sycl-ls", SYCL)
    assert find(environ).names == ["0", "1"]


@pytest.mark.parametrize(
    "then, how",
    [
        ("exit 9", "nvidia-smi: it ended with code 9: Failed to initialize NVML"),
        ("exec /bin/sleep 600", "nvidia-smi: it has not ended within 0.3 s"),
        ("(/bin/sleep 600)&", "nvidia-smi: it has not ended within 0.3 s"),
        ("", "no variable and no tool tells of any"),
    ],
)
def test_a_tool_that_fails_or_hangs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, how: str
) -> None:
    monkeypatch.setattr(accelerators, "_TOOL_S", 0.3)
    environ = play(tmp_path, "nvidia-smi", "Failed to initialize NVML: Driver/library version mismatch\n", then)
    found = find(environ)
    assert found.names == [] and how in found.how
    # That what was started has ended is what every test checks.


def test_what_is_no_program_is_not_run(tmp_path: Path) -> None:
    play(tmp_path, "nvidia-smi", NVIDIA)
    (tmp_path / "nvidia-smi").chmod(0o644)
    (tmp_path / "rocm-smi").mkdir()
    here = os.path.relpath(tmp_path)
    assert find({"PATH": f"{tmp_path}::{here}"}).names == []


def told(names: list[str], count: int, workers: int, environ: dict[str, str], dev: Path) -> list[dict[str, str]]:
    """What each worker finds in its environment."""
    return [
        dict(text.split("=", 1) for text in variables(names, count, rank, workers, environ, str(dev)))
        for rank in range(workers)
    ]


def test_each_worker_has_one_of_the_names_in_all_variables(tmp_path: Path) -> None:
    found = told(["0,1", "2,3"], 0, 2, {"CUDA_VISIBLE_DEVICES": "7"}, tmp_path)
    assert found == [dict.fromkeys(accelerators.VARIABLES, name) for name in ("0,1", "2,3")]


def test_without_names_they_are_numbered(tmp_path: Path) -> None:
    assert [each["ZE_AFFINITY_MASK"] for each in told([], 4, 3, {}, tmp_path)] == ["0", "1", "2"]


def test_of_those_that_a_variable_names_the_first_are_taken(tmp_path: Path) -> None:
    found = told([], 2, 2, {"CUDA_VISIBLE_DEVICES": "4,5,6"}, tmp_path)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["4", "5"]
    assert [each["ROCR_VISIBLE_DEVICES"] for each in found] == ["0", "1"]


@pytest.mark.parametrize("workers, names", [(8, "00001111"), (5, "00011"), (2, "01"), (1, "0")])
def test_neighbours_share_a_card_if_there_are_fewer_than_workers(tmp_path: Path, workers: int, names: str) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    found = told([], 8, workers, {}, tmp_path)
    assert "".join(each["CUDA_VISIBLE_DEVICES"] for each in found) == names
    by_variable = told([], 8, workers, {"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path / "nothing")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in by_variable] == list(names)


def test_where_amd_is_its_own_variable_counts_in_what_the_other_has_left(tmp_path: Path) -> None:
    (tmp_path / "kfd").touch()
    assert [each["HIP_VISIBLE_DEVICES"] for each in told(["3", "4,5"], 0, 2, {}, tmp_path)] == ["0", "0,1"]


def test_a_worker_with_several_places_sees_what_is_in_all(tmp_path: Path) -> None:
    (tmp_path / "kfd").touch()
    places = [variables(["3", "4,5", "6"], 0, rank, 3, {}, str(tmp_path)) for rank in (0, 1)]
    assert accelerators.joined([["PARSL_WORKER_RANK=0", *place] for place in places]) == [
        "CUDA_VISIBLE_DEVICES=3,4,5", "ROCR_VISIBLE_DEVICES=3,4,5", "ZE_AFFINITY_MASK=3,4,5",
        "HIP_VISIBLE_DEVICES=0,1,2",
    ]  # fmt: skip


def test_what_stands_behind_a_device_that_is_none_does_not_count() -> None:
    assert listed("0,2,-1,3") == ["0", "2"] and listed("") == [] and listed("-1") == []
