"""The scripts, submit descriptions and commands that providers write: whole, as they go to the scheduler."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import BadLauncher, ConfigurationError, WrongType
from parsl_pool.providers.cluster import ClusterProvider, JobRequest
from parsl_pool.providers.cobalt import CobaltProvider
from parsl_pool.providers.condor import CondorProvider
from parsl_pool.providers.grid_engine import GridEngineProvider
from parsl_pool.providers.lsf import LSFProvider
from parsl_pool.providers.node_launchers import SrunLauncher
from parsl_pool.providers.pbspro import PBSProProvider
from parsl_pool.providers.slurm import SlurmProvider
from parsl_pool.providers.torque import TorqueProvider

GOLDEN = Path(__file__).with_name("golden")
JOB = JobRequest("block.0", 2, 1, "/shared/run/block.0.out", "/shared/run/block.0.err")
SCRIPT = "/shared/run/block.0.sh"


def without_bad_nodes(provider: ClusterProvider) -> ClusterProvider:
    """As after two `exclude`, which may ask the scheduler."""
    provider.excluded = ("n1", "n2")
    return provider


PROVIDERS: dict[str, ClusterProvider] = {
    "slurm": SlurmProvider(
        partition="gpu", account="proj", qos="high", constraint="a100|h100", nodes_per_block=2, cores_per_node=64,
        mem_per_node=1.5, walltime="1-12:00:00", scheduler_options="#SBATCH --gres=gpu:4\n#SBATCH --licenses=x",
        worker_init="module load python", launcher=SrunLauncher(overrides="--gpus-per-task=4"),
    ),
    "slurm_plain": SlurmProvider(exclusive=False),
    "pbspro": PBSProProvider(
        account="proj", queue="prod", select_options="ngpus=4", cpus_per_node=32, nodes_per_block=2,
        scheduler_options="#PBS -l filesystems=home", worker_init="conda activate x", walltime="01:00:00",
    ),
    "torque": TorqueProvider(account="proj", queue="batch", nodes_per_block=2),
    "lsf": LSFProvider(project="proj", queue="batch", nodes_per_block=2, walltime="02:30:00"),
    "lsf_cores": LSFProvider(cores_per_block=84, cores_per_node=42, request_by_nodes=False, bsub_redirection=True),
    "grid_engine": GridEngineProvider(queue="all.q", scheduler_options="#$ -pe mpi 4", walltime="00:30:00"),
    "condor": CondorProvider(
        nodes_per_block=2, cores_per_slot=4, mem_per_slot=8, environment={"A": "it's", "B": 'a "b"'}, project="proj",
        transfer_input_files=["/data/in put"], requirements="OpSysMajorVer == 9", scheduler_options="priority = 3",
    ),
    "cobalt": CobaltProvider(account="proj", queue="debug", nodes_per_block=2, walltime="00:59:30"),
    "slurm_excluded": without_bad_nodes(SlurmProvider()),
    "lsf_excluded": without_bad_nodes(LSFProvider()),
    "grid_engine_excluded": without_bad_nodes(GridEngineProvider(queue="all.q")),
    "condor_excluded": without_bad_nodes(CondorProvider(requirements="OpSysMajorVer == 9 || Memory > 5")),
}  # fmt: skip


def rendered(name: str, tmp_path: Path) -> str:
    """All that the scheduler gets to see of a job."""
    provider = PROVIDERS[name]
    provider.script_dir = tmp_path
    text = provider.script("exec manager --block 0", 1, JOB)
    parts = [f"$ {provider.submit_command(SCRIPT)}", f"$ {provider.queue_command(['12', '13'])}",
             f"$ {provider.cancel_command(['12', '13'])}", text]  # fmt: skip
    description = provider.description(JOB, SCRIPT)
    return "\n".join([*parts, description] if description else parts)


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_the_scheduler_gets(name: str, tmp_path: Path) -> None:
    """A change here is a change for every site: look at it, then write the golden file anew."""
    assert rendered(name, tmp_path) == (GOLDEN / f"{name}.txt").read_text()


def test_options_that_are_not_set_give_no_directive() -> None:
    lines = SlurmProvider().directives(JOB)
    assert not [line for line in lines if re.search("partition|account|qos|constraint|mem|cpus", line)]


@pytest.mark.parametrize("kind", [SlurmProvider, PBSProProvider, TorqueProvider, LSFProvider, GridEngineProvider,
                                  CondorProvider, CobaltProvider])  # fmt: skip
@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"walltime": "10"}, ConfigurationError, "walltime must be HH:MM:SS, D-HH:MM:SS or minutes"),
        ({"walltime": "00:60:00"}, ConfigurationError, "walltime must be .*, got '00:60:00'"),
        ({"walltime": "00:00:00"}, ConfigurationError, "more than nothing"),
        ({"walltime": None}, WrongType, "walltime must be a text or a number, HH:MM:SS"),
        ({"min_blocks": 2, "max_blocks": 1}, ConfigurationError, "min_blocks <= init_blocks <= max_blocks"),
        ({"launcher": "srun"}, BadLauncher, "it cannot be called"),
        ({"channel": "here"}, WrongType, "channel must be a Channel, got 'here'"),
        ({"worker_init": 3}, WrongType, "worker_init must be a text"),
        ({"cmd_timeout": 0}, ConfigurationError, "cmd_timeout must be greater than 0"),
        ({"scheduler_options": ["#X"]}, WrongType, "scheduler_options must be a text"),
    ],
)
def test_wrong_options(kind: type[ClusterProvider], options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        kind(**options)


@pytest.mark.parametrize("options", ["--gres=gpu:4", "#SBATCH --gres=gpu:4\nmodule load x", "    #SBATCH -C gpu"])
def test_lines_that_no_scheduler_would_read_are_refused(options: str) -> None:
    """Those that are indented, too: sbatch takes them for comments, and says nothing."""
    with pytest.raises(ConfigurationError, match="scheduler_options must be lines of directives.*into worker_init"):
        SlurmProvider(scheduler_options=options)
    CondorProvider(scheduler_options="priority = 3")  # a line of its description
    assert SlurmProvider(scheduler_options="\n# why\n#SBATCH -C gpu\n\n").scheduler_options


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: SlurmProvider(partition=""), "partition must be"),
        (lambda: SlurmProvider(mem_per_node=0), "mem_per_node must be greater than 0"),
        (lambda: SlurmProvider(regex_job_id="job ([0-9]+)"), r"a group \(\?P<id>...\)"),
        (lambda: LSFProvider(request_by_nodes=False), "needs cores_per_block and cores_per_node"),
        (lambda: LSFProvider(request_by_nodes=False, cores_per_block=5, cores_per_node=2), "no multiple"),
        (lambda: CondorProvider(environment={"A": "x\ny"}), "environment must have no line breaks"),
        (lambda: PBSProProvider(cpus_per_node=0), "cpus_per_node must be at least 1"),
    ],
)
def test_wrong_options_of_one(make: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make()


def test_a_pickled_provider_has_the_options_and_no_jobs() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(PROVIDERS["slurm"]))
    assert list(again.directives(JOB)) == list(PROVIDERS["slurm"].directives(JOB)) and again._jobs == {}


@pytest.mark.parametrize("minutes, text", [(90, "01:30:00"), (0.5, "00:00:30"), ("100:00:00", "100:00:00")])
def test_walltimes_may_be_minutes(minutes: Any, text: str) -> None:
    assert str(SlurmProvider(walltime=minutes).walltime) == text


# -- nodes that are bad

TOOLS = {
    "slurm": ("scontrol", 'test "$3" = n1 -o "$3" = n-2'),
    "lsf": ("bhosts", """case "$2" in
n1.cluster|n-2) echo "HOST_NAME   STATUS   JL/U"; echo "$2   ok   -";;
*) echo "$2: Bad host name, host group name or cluster name" >&2; exit 255;;
esac"""),
    "grid_engine": ("qconf", "echo n1; echo n-2.other"),
    "condor": ("none", ""),
}  # fmt: skip
TOLD = {
    "slurm": "#SBATCH --exclude=n1,n-2",
    "lsf": """#BSUB -R "select[hname!='n1.cluster' && hname!='n-2']\"""",
    "grid_engine": "#$ -l h=!n1&!n-2.other",
    "condor": 'requirements = !regexp("^n1([.]|$)", TARGET.Machine, "i")'
              ' && !regexp("^n-2([.]|$)", TARGET.Machine, "i")',
}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_a_scheduler_is_told_of_nodes_that_are_bad(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, text = TOOLS[name]
    (tmp_path / tool).write_text(f"#!/bin/sh\n{text}\n")
    (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kind: Any = type(PROVIDERS[name])
    provider = kind()

    def asked() -> list[str]:
        return [*provider.directives(JOB), *provider.description(JOB, SCRIPT).splitlines()]

    before = asked()
    assert TOLD[name] not in before
    assert provider.exclude("n1.cluster") and provider.exclude("n-2") and provider.exclude("n1.cluster")
    for host in ("", "n1,n2", "n 1", "n1'", '$(date)', "n1;date", "n1]"):
        assert not provider.exclude(host), host
    assert name == "condor" or not provider.exclude("n3"), "the scheduler does not know it"
    after = asked()
    assert [line for line in after if line not in before] == [TOLD[name]] and len(after) == len(before) + 1


@pytest.mark.parametrize("name", ["pbspro", "torque", "cobalt"])
def test_a_scheduler_without_words_for_it_is_not_told(name: str) -> None:
    kind: Any = type(PROVIDERS[name])
    provider = kind()
    assert not provider.exclude("n1") and not provider.excluded


@pytest.mark.parametrize(
    "make",
    [
        lambda: SlurmProvider(scheduler_options="#SBATCH --exclude=n7"),
        lambda: SlurmProvider(scheduler_options="#SBATCH -x n7"),
        lambda: GridEngineProvider(scheduler_options="#$ -l mem=1G,h=n1"),
        lambda: CondorProvider(scheduler_options="Requirements = Memory > 5"),
    ],
)
def test_what_the_user_says_of_nodes_would_go_before_it(make: Any) -> None:
    assert not make().exclude("n1")
