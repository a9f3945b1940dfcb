"""Looks at one executor of a Config, without starting anything but the commands' names."""

from __future__ import annotations

import shlex
import sys
from typing import Any, NamedTuple

from parsl_pool.doctor import reach, rendering
from parsl_pool.doctor.finding import Finding, Level, good, note, problem, warning
from parsl_pool.errors import ExecutionProviderException
from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor
from parsl_pool.providers import LocalProvider, SimulatedProvider

_COMMAND_S = 30.0


class Inspection(NamedTuple):
    """What is to be said of one executor."""

    label: str
    kind: str
    blocks: str  # how many of what, in words
    rendered: rendering.Rendered | None
    findings: list[Finding]

    @property
    def can_be_tried(self) -> bool:
        """True if its workers run any call."""
        return not any(found.code == "simulated" for found in self.findings)

    @property
    def is_wrong(self) -> bool:
        """True if something does not work."""
        return any(found.level is Level.PROBLEM for found in self.findings)


def provider_of(executor: Any) -> Any:
    """Where its blocks come from; None if it has none."""
    if not isinstance(executor, HighThroughputExecutor):
        return None
    if executor._provider is None and not executor.manager_inside:
        executor._provider = LocalProvider()  # as its start does
    return executor._provider


def inspect(config: Any, executor: Any) -> Inspection:
    """All that can be said of it without asking for a node."""
    kind = type(executor).__name__
    provider = provider_of(executor)
    if not isinstance(executor, HighThroughputExecutor):
        text = "it runs tasks in this process: there is nothing to reach"
        return Inspection(executor.label, kind, "", None, [good("here", text)])
    if isinstance(provider, SimulatedProvider):
        text = "its nodes are made up: there is nothing to reach, and to be tried"
        return Inspection(executor.label, kind, _blocks(provider), None, [good("simulated", text)])
    if executor.manager_inside:
        text = f"{executor.max_workers_per_node} workers on this machine, without a block: there is nothing to reach"
        return Inspection(executor.label, kind, "", None, [good("here", text)])
    rendered, findings = rendering.render(executor, provider)
    findings = [
        *findings,
        *([] if executor.mpi_launcher else _about_launcher(provider)),  # programs take the other nodes
        *_about_commands(provider, rendered.preview),
        *reach.about_directory(reach.run_directory(config, executor), provider),
        *_about_scripts_there(provider),
        *_about_hosts(provider),
        *reach.about_address(executor, provider),
    ]
    return Inspection(executor.label, kind, _blocks(provider), rendered, findings)


def _blocks(provider: Any) -> str:
    limits = provider.limits
    nodes = f"{limits.nodes_per_block} node{'s' * (limits.nodes_per_block > 1)}"
    walltime = getattr(provider, "walltime", None)
    text = f"{limits.init_blocks} to begin with, {limits.min_blocks} to {limits.max_blocks} in all, of {nodes} each"
    return f"blocks of a {type(provider).__name__}: {text}" + (f", for {walltime}" if walltime else "")


def _about_launcher(provider: Any) -> list[Finding]:
    """Whether a manager would start on each node."""
    launcher, nodes = getattr(provider, "launcher", None), provider.limits.nodes_per_block
    if nodes == 1 or launcher is None or getattr(launcher, "all_nodes", True):
        return []
    return [
        warning(
            "launcher", f"a {type(launcher).__name__} starts one manager, on the first of {nodes} nodes: "
            "the others are left to what the tasks start (MPI programs)",
            "for tasks of one node each, use a launcher for all nodes, such as SrunLauncher(), MpiExecLauncher()",
        )
    ]  # fmt: skip


def _about_commands(provider: Any, preview: Any) -> list[Finding]:
    """Whether the commands are there that the provider and the launcher call."""
    found = []
    needed = preview.programs if preview is not None else ()
    place = _label(provider)
    if needed:
        try:
            missing = _missing(provider, [*needed, *preview.extras])
        except ExecutionProviderException as trouble:
            return [problem("channel", f"no command can be run on {place}: {trouble}", "put the channel right")]
        lacking = [name for name in needed if name in missing]
        if lacking:
            found.append(
                problem(
                    "command-missing", f"{place} has no {', '.join(lacking)}",
                    "run this where the scheduler's commands are (a login node), load its module first, or give the "
                    "provider a channel to such a machine",
                )
            )  # fmt: skip
        else:
            found.append(good("commands", f"{place} has {', '.join(needed)}"))
        found += [
            note("command-extra", f"{place} has no {name}: how jobs ended is learnt from what their scripts leave")
            for name in preview.extras
            if name in missing and not lacking
        ]
    return found + _about_program(provider, place)


def _about_program(provider: Any, place: str) -> list[Finding]:
    program = getattr(getattr(provider, "launcher", None), "program", "")
    if not program:
        return []
    try:
        missing = _missing(provider, [program])
    except ExecutionProviderException:
        return []  # told already, or a provider of the user's
    if not missing:
        return [good("launcher-command", f"{place} has {program}, which the launcher calls")]
    text, remedy = f"{place} has no {program}, which the launcher calls in the block", "load its module in worker_init"
    if isinstance(provider, LocalProvider) and not provider.worker_init:
        return [problem("launcher-command-missing", text, "install it, or use another launcher")]
    return [note("launcher-command-unknown", f"{text}: the nodes must have it", remedy)]


def _label(provider: Any) -> str:
    channel = getattr(provider, "channel", None)
    return str(channel.label) if channel is not None else "this machine"


def _missing(provider: Any, names: list[str]) -> list[str]:
    """Those that are no commands where the provider runs its own. Raises ExecutionProviderException."""
    from parsl_pool.providers.channels.local import LocalChannel  # where the provider has none

    channel = getattr(provider, "channel", None) or LocalChannel()
    line = "; ".join(f"command -v {shlex.quote(name)} >/dev/null || echo {shlex.quote(name)}" for name in names)
    result = channel.execute_wait(f"{line}; echo .", _COMMAND_S)
    if not result.stdout.rstrip().endswith("."):
        raise ExecutionProviderException(f"`command -v` gave exit code {result.code}: {result.stderr.strip()[:500]}")
    said = result.stdout.split()
    return [name for name in names if name in said]


def _about_scripts_there(provider: Any) -> list[Finding]:
    """Whether scripts can be written on another machine."""
    channel = getattr(provider, "channel", None)
    if channel is None or channel.is_shared:
        return []
    try:
        there = channel.abspath(channel.script_dir or ".")
        up = 'while [ ! -d "$place" ]; do place=$(dirname "$place"); done'
        result = channel.execute_wait(f'place={shlex.quote(there)}; {up}; test -w "$place"', _COMMAND_S)
    except ExecutionProviderException:
        return []  # told with the commands
    if result.code:
        text = f"scripts can't be written to {there} on {channel.label}: {result.stderr.strip()[:500]}"
        return [problem("script-dir", text, "give the channel another script_dir=")]
    return [good("script-dir", f"scripts can be written to {there} on {channel.label}")]


def _about_hosts(provider: Any) -> list[Finding]:
    """Whether each of a list of hosts answers, and has what a block needs."""
    if hasattr(provider, "channel"):
        return []
    found = []
    for channel in provider.channels():
        try:
            result = channel.execute_wait("command -v bash; command -v python3; echo .", _COMMAND_S)
        except ExecutionProviderException as trouble:
            remedy = "see whether `ssh` leads there; put its channel right"
            found.append(problem("host", f"{channel.label} can't be used: {trouble}", remedy))
            continue
        said = result.stdout.split()
        if result.code or "." not in said:
            what = f"exit code {result.code}: {result.stderr.strip()[:500]}"
            found.append(problem("host", f"{channel.label} does not run commands: {what}", "try the same by `ssh`"))
        elif not any(word.endswith("/python3") for word in said):
            text = f"{channel.label} has no python3 on the PATH of its logins"
            found.append(warning("host-python", text, "install it there, or load it in worker_init"))
        else:
            found.append(good("host", f"{channel.label} answers, and has python3"))
    return found


def python_here() -> str:
    """What runs here, and is to run there."""
    return f"Python {'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
