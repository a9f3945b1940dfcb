"""Launchers for blocks of several nodes: by the scheduler's own program, by MPI's, or by SSH.

Each writes text that ends when the last copy has. The command travels as one argument, in a variable: whatever quotes,
blanks and dollars are in it, a shell reads it exactly once, on the node.
"""

from __future__ import annotations

import base64
import shlex
from abc import abstractmethod

from parsl_pool import checks
from parsl_pool.providers.launchers import Launcher

_COMMAND = """\
parsl_pool_command=$(cat <<'{mark}'
{command}
{mark}
)
"""
_BASH = '/bin/bash -c "$parsl_pool_command"'
_REPORT = """\
parsl_pool_code=$?
echo "that ended with exit code $parsl_pool_code"
(exit "$parsl_pool_code")
"""


class NodeLauncher(Launcher):
    """Base of those that have a program start the command on each node.

    Args:
        debug: tell on stdout what is run, and how it ended.
        overrides: more options of that program, shell text.
    """

    all_nodes = True

    def __init__(self, debug: bool = True, overrides: str = "") -> None:
        super().__init__(debug)
        self.overrides = checks.any_text("overrides", overrides)

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        mark = "PARSL_POOL_COMMAND"
        while mark in command:
            mark += "_"
        text = self.text(tasks_per_node, nodes_per_block)
        say = f"echo {shlex.quote(text.strip())}\n" if self.debug else ""
        return _COMMAND.format(command=command, mark=mark) + say + text + (_REPORT if self.debug else "")

    @abstractmethod
    def text(self, tasks_per_node: int, nodes: int) -> str:
        """Shell text that has `$parsl_pool_command` run `tasks_per_node` times on each of so many nodes."""


def _line(*words: str) -> str:
    return " ".join(filter(None, words)) + "\n"


# What an srun before 20.11 does not know: without it, the tasks' own srun would wait for the manager's cores.
_OVERLAP = "parsl_pool_overlap=$(srun --help 2>&1 | grep -q -e --overlap && echo --overlap)\n"
# A manager that ends does not take the others with it, and workers are not bound to the first core.
_SRUN = "srun $parsl_pool_overlap --kill-on-bad-exit=0 --wait=0 --cpu-bind=none --label"


class SrunLauncher(NodeLauncher):
    """One srun for all nodes of a Slurm job."""

    program = "srun"

    def text(self, tasks_per_node: int, nodes: int) -> str:
        size = f"--nodes={nodes} --ntasks={tasks_per_node * nodes} --ntasks-per-node={tasks_per_node}"
        return _OVERLAP + _line(_SRUN, size, self.overrides, _BASH)


_SRUN_EACH = """\
parsl_pool_pids=
parsl_pool_index=0
while [ "$parsl_pool_index" -lt {copies} ]; do
    {run} &
    parsl_pool_pids="$parsl_pool_pids $!"
    parsl_pool_index=$((parsl_pool_index + 1))
done
trap 'kill $parsl_pool_pids 2>/dev/null; wait; exit 143' TERM
parsl_pool_failure=0
for parsl_pool_pid in $parsl_pool_pids; do
    wait "$parsl_pool_pid" || parsl_pool_failure=$?
done
(exit "$parsl_pool_failure")
"""


class SrunMPILauncher(NodeLauncher):
    """One srun for each copy, so that each is a job step of its own and its tasks can start MPI."""

    program = "srun"

    def text(self, tasks_per_node: int, nodes: int) -> str:
        relative = f'--relative="$((parsl_pool_index / {tasks_per_node}))"'
        run = _line(_SRUN, f"--nodes=1 --ntasks=1 {relative}", self.overrides, _BASH).strip()
        return _OVERLAP + _SRUN_EACH.format(copies=tasks_per_node * nodes, run=run)


class AprunLauncher(NodeLauncher):
    """By aprun, on Crays."""

    program = "aprun"

    def text(self, tasks_per_node: int, nodes: int) -> str:
        return _line("aprun", f"-n {tasks_per_node * nodes} -N {tasks_per_node}", self.overrides, _BASH)


class JsrunLauncher(NodeLauncher):
    """By jsrun, under LSF on IBM's machines: one resource set for each copy."""

    program = "jsrun"

    def text(self, tasks_per_node: int, nodes: int) -> str:
        return _line("jsrun", f"-n {tasks_per_node * nodes} -r {tasks_per_node}", self.overrides, _BASH)


class MpiExecLauncher(NodeLauncher):
    """By mpiexec, on the nodes that `$PBS_NODEFILE` names, if it is set.

    Args:
        bind_cmd: the option by which this mpiexec is told not to bind: ``--bind-to``, or ``--cpu-bind``; "" for none.
    """

    program = "mpiexec"

    def __init__(self, debug: bool = True, bind_cmd: str = "--bind-to", overrides: str = "") -> None:
        super().__init__(debug, overrides)
        self.bind_cmd = checks.any_text("bind_cmd", bind_cmd)

    def text(self, tasks_per_node: int, nodes: int) -> str:
        bind = f"{self.bind_cmd} none" if self.bind_cmd else ""
        hosts = '${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"}'
        return _line("mpiexec", bind, f"-n {tasks_per_node * nodes}", hosts, self.overrides, _BASH)


class MpiRunLauncher(NodeLauncher):
    """By mpirun, which finds the nodes itself. bash_location: the shell on the nodes."""

    program = "mpirun"

    def __init__(self, debug: bool = True, bash_location: str = "/bin/bash", overrides: str = "") -> None:
        super().__init__(debug, overrides)
        self.bash_location = checks.any_text("bash_location", bash_location)

    def text(self, tasks_per_node: int, nodes: int) -> str:
        bash = f'{shlex.quote(self.bash_location)} -c "$parsl_pool_command"'
        return _line("mpirun", f"-np {tasks_per_node * nodes}", self.overrides, bash)


class GnuParallelLauncher(Launcher):
    """By GNU parallel over SSH, on the nodes that `$PBS_NODEFILE` names; needs logins without a password."""

    program = "parallel"
    all_nodes = True

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        # Two shells and ssh read the line: what has only letters and digits means the same to all of them.
        text = base64.b64encode(command.encode("utf-8", "surrogateescape")).decode("ascii")
        say = f"echo 'GNU parallel: {tasks_per_node} on each node'\n" if self.debug else ""
        copies = tasks_per_node * nodes_per_block
        return (
            f"{say}parsl_pool_nodes=$(mktemp)\n"
            'sort -u "$PBS_NODEFILE" >"$parsl_pool_nodes"\n'
            f'seq {copies} | parallel --sshloginfile "$parsl_pool_nodes" --jobs {tasks_per_node} -n 1 '
            f"\"echo {text} | base64 -d | /bin/bash -s {{}}\"\n"
            + "parsl_pool_code=$?\n"
            'rm -f "$parsl_pool_nodes"\n'
            '(exit "$parsl_pool_code")\n'
        )
