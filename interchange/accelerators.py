"""A node's accelerators: which there are, and by what variables each worker is made to see its own alone.

    CUDA_VISIBLE_DEVICES (NVIDIA), ROCR_VISIBLE_DEVICES (AMD), ZE_AFFINITY_MASK (Intel): all get the same name
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from parsl_pool.interchange.named_tuple import NamedTuple

if TYPE_CHECKING:
    import subprocess

CUDA, ROCR, ZE = VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
HIP = "HIP_VISIBLE_DEVICES"
_TOOL_S = 5.0  # for each: a driver that hangs must not keep a node from work
_END_S = 0.5
_GPU = re.compile(r"GPU (\d+): ")
_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)\s]+)\)")
_ROCM = re.compile(r"GPU\[(\d+)\]\s*:")
_AMD = re.compile(r"GPU: (\d+)\s*$")
_SYCL = re.compile(r"\[(?:ext_oneapi_)?level_zero:gpu(?:\]\[level_zero)?:(\d+)\]")
_XPU = re.compile(r"\|\s*(\d+)\s*\|")


class Found(NamedTuple):
    """What a node has, by name, and how that is known: a sentence for the log."""

    names: list[str]
    how: str


class _Tool(NamedTuple):
    """A command that lists devices, the variable that hides some of them, and how its output is read."""

    command: list[str]
    variable: str
    read: Callable[[str], list[str]]


def find(environ: Mapping[str, str]) -> Found:
    """The accelerators that this process may use: those that a variable names, else those that a tool lists."""
    for variable in VARIABLES:
        names = listed(environ.get(variable, ""))
        if names:
            return Found(names, f"{variable}={environ[variable]}")
    problems = []
    for tool in _TOOLS:
        path = _which(tool.command[0], environ.get("PATH", os.defpath))
        if not path or tool.variable in environ:  # it is set, and says that there are none
            continue
        try:
            names = tool.read(_output([path, *tool.command[1:]], environ))
        except OSError as problem:
            problems.append(f"{tool.command[0]}: {problem}")
            continue
        if names:
            return Found(names, f"{' '.join(tool.command)} lists {len(names)}")
    return Found([], "; ".join(problems) or "no variable and no tool tells of any")


def listed(text: str) -> list[str]:
    """The devices in the value of a variable; what stands behind one that is none does not count, as with CUDA."""
    names: list[str] = []
    for name in map(str.strip, text.split(",")):
        if not name or name.startswith("-") or name.lower() in ("nodevfiles", "none", "void"):
            break
        names.append(name)
    return names


def variables(names: list[str], count: int, rank: int, workers: int, environ: Mapping[str, str], dev: str) -> list[str]:
    """What the environment of the worker with this rank says of accelerators: NAME=value. dev: /dev, but for tests.

    names: what they are called. Without names there are `count`: the first ones of those that a variable names
    already, else 0, 1, ... If there are fewer devices than workers, neighbours share one, as with CUDA's MPS.
    """
    found = []
    cards = count_of_cards(dev)
    for variable in VARIABLES:
        have = names or listed(environ.get(variable, ""))[:count]
        if not have:
            have = [str(number) for number in range(cards if 0 < cards < count else count)]
        found.append(f"{variable}={have[rank if workers <= len(have) else rank * len(have) // workers]}")
    if os.path.exists(os.path.join(dev, "kfd")):
        # AMD's HIP takes CUDA's variable for its own, and counts in what ROCR's has left.
        seen = found[1].count(",") + 1
        found.append(f"{HIP}={','.join(map(str, range(seen)))}")
    return found


def numbers(places: Sequence[Sequence[str]]) -> list[int]:
    """A number for the accelerator of each place, by its variables: the same for those that share one."""
    fewest: list[int] = []
    for variable in VARIABLES:
        names = [text for place in places for text in place if text.startswith(variable + "=")]
        order = list(dict.fromkeys(names))
        if names and (not fewest or len(order) <= max(fewest)):
            fewest = [order.index(name) for name in names]
    return fewest


def joined(places: Sequence[Sequence[str]]) -> list[str]:
    """The variables of one worker that is to see the accelerators of all these places."""
    found: list[str] = []
    for variable in (*VARIABLES, HIP):
        values = [text.partition("=")[2] for place in places for text in place if text.startswith(variable + "=")]
        names = list(dict.fromkeys(name for value in values for name in value.split(",")))
        if variable == HIP and names:
            names = [str(number) for number in range(found[1].count(",") + 1)]
        if names:
            found.append(f"{variable}={','.join(names)}")
    return found


def count_of_cards(dev: str) -> int:
    """How many NVIDIA cards there are; 0 if that is not known."""
    try:
        return sum(re.fullmatch(r"nvidia\d+", name) is not None for name in os.listdir(dev))
    except OSError:
        return 0


# ---- tools


def _nvidia(output: str) -> list[str]:
    """Numbers of cards; of one that is cut into parts (MIG), the parts."""
    names: list[str] = []
    card = ""
    for line in output.splitlines():
        if match := _GPU.match(line):
            card = match[1]
            names.append(card)
        elif match := _MIG.match(line):
            if names and names[-1] == card:
                names.pop()  # it can't be used as a whole
            names.append(match[1])
    return names


def _numbers(pattern: re.Pattern[str]) -> Callable[[str], list[str]]:
    def read(output: str) -> list[str]:
        found = {int(match[1]) for line in output.splitlines() if (match := pattern.match(line.strip()))}
        return [str(number) for number in sorted(found)]

    return read


_TOOLS = (
    _Tool(["nvidia-smi", "-L"], CUDA, _nvidia),
    _Tool(["rocm-smi", "--showid"], ROCR, _numbers(_ROCM)),
    _Tool(["amd-smi", "list"], ROCR, _numbers(_AMD)),
    _Tool(["sycl-ls"], ZE, _numbers(_SYCL)),
    _Tool(["xpu-smi", "discovery"], ZE, _numbers(_XPU)),
)


def _which(name: str, path: str) -> str:
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder, name)
        if os.path.isabs(candidate) and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return ""


def _output(command: list[str], environ: Mapping[str, str]) -> str:
    """What it prints. Raises OSError if it fails, or takes too long."""
    import subprocess  # only where somebody has asked for this

    with open(os.devnull, "rb") as nothing:
        process = subprocess.Popen(
            command, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**environ, "LC_ALL": "C"}, start_new_session=True,
        )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=_TOOL_S)
    except subprocess.TimeoutExpired:
        _end(process)
        raise OSError(f"it has not ended within {_TOOL_S:g} s") from None
    text = output.decode(errors="replace")
    if process.returncode:
        raise OSError(f"it ended with code {process.returncode}: {text.strip()[:200]}")
    return text


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started. One that waits for its driver can't be ended: nobody is to wait for that."""
    from subprocess import TimeoutExpired  # as above

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    assert process.stdout is not None
    process.stdout.close()
    try:
        process.wait(_END_S)
    except TimeoutExpired:
        return
