"""Each file in examples/configs makes a Config, whose blocks ask for what it should."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config
from parsl_pool.doctor import loading, rendering
from parsl_pool.doctor.inspection import provider_of

FOLDER = Path(__file__).parents[2] / "examples" / "configs"

# What stands in the script, or in what goes with it: no more than what the site's line is about.
ASKS: dict[str, list[str]] = {
    "threads.py": [],
    "local.py": ["parsl_pool_copy"],
    "elasticity.py": ["parsl_pool_copy"],
    "extreme_scale.py": ["manager_program"],
    "docker.py": ["docker run --rm --init --network host", "app1:v0.1"],
    "adhoc_ssh.py": ["python3 -c"],
    "adhoc_ssh.toml": ["python3 -c"],
    "cc_in2p3.py": [r"#\$ -l h_rt=00:20:00", r"#\$ -N parsl_pool.cc_in2p3_htex"],
    "cc_in2p3.toml": [r"#\$ -l h_rt=00:20:00"],
    "campus_cluster.toml": ["#SBATCH --partition=secondary-fdr", "#SBATCH --nodes=2", "conda activate YOUR_ENVIRONMENT",
                          "srun .*--ntasks=2"],
    "perlmutter.py": ["#SBATCH --qos=debug", "#SBATCH --constraint=gpu", "#SBATCH --gpus-per-node=4",
                      "srun .*--gpus-per-task=4"],
    "polaris.py": ["#PBS -A YOUR_ACCOUNT", "#PBS -q prod", "#PBS -l filesystems=home:eagle",
                   "#PBS -l select=128:ncpus=64:ngpus=4", "mpiexec --cpu-bind none -n 128 .*--depth=64 --ppn 1"],
    "polaris_mpi.py": ["#PBS -l place=scatter", "#PBS -l filesystems=home:eagle", "#PBS -l select=8:ncpus=64:ngpus=4",
                       "manager_program"],
    "expanse.py": ["#SBATCH --partition=compute", "#SBATCH --account=YOUR_ALLOCATION", "#SBATCH --nodes=2",
                   "#SBATCH --time=01:00:00", "srun .*--nodes=2 --ntasks=2 --ntasks-per-node=1"],
    "expanse.toml": ["#SBATCH --partition=compute", "srun .*--ntasks=2"],
    "frontera.py": ["#SBATCH --partition=normal", "#SBATCH --account=YOUR_ALLOCATION", "#SBATCH --nodes=128",
                    "srun .*--nodes=128 --ntasks=128"],
    "bridges.py": ["#SBATCH --partition=YOUR_PARTITION", "#SBATCH --time=00:10:00", "srun .*--ntasks=2"],
    "midway.py": ["#SBATCH --partition=YOUR_PARTITION", "#SBATCH --time=00:30:00", "srun .*--ntasks=2"],
    "midway_over_ssh.py": ["#SBATCH --partition=YOUR_PARTITION", "module load python", "^python3 -c"],
    "stampede2.toml": ["#SBATCH --partition=YOUR_PARTITION", "#SBATCH --nodes=2", "srun .*--ntasks=2"],
    "aspire1.py": ["#PBS -J 1-10", "#PBS -l walltime=24:00:00", "#PBS -l select=3:ncpus=24", "mpirun -np 3"],
    "summit.py": ["#BSUB -P YOUR_PROJECT", "#BSUB -nnodes 2", "#BSUB -W 0:10", "jsrun -n 2 -r 1"],
    "summit.toml": ["#BSUB -P YOUR_PROJECT", "#BSUB -nnodes 2", "jsrun -n 2 -r 1"],
    "osg.py": [r'\+ProjectName = "YOUR_PROJECT"', "requirements = HAS_MODULES =\\?= TRUE", "python3 -m venv env",
               "queue 1"],
    "toss3.toml": ["#SBATCH --partition=YOUR_PARTITION", "#SBATCH --time=00:30:00", "srun .*--mpibind=off"],
}  # fmt: skip
BLOCKS = {  # nodes of a block, and how many blocks: at first, at least, at most
    "local.py": (1, 1, 0, 1), "elasticity.py": (1, 1, 1, 2), "extreme_scale.py": (1, 0, 0, 1),
    "adhoc_ssh.py": (1, 2, 0, 2),
    "docker.py": (1, 2, 0, 2), "cc_in2p3.py": (1, 2, 0, 2), "expanse.py": (2, 1, 0, 1), "toss3.toml": (1, 1, 1, 1),
    "campus_cluster.toml": (2, 1, 0, 1), "perlmutter.py": (2, 1, 0, 1), "polaris.py": (128, 1, 0, 1),
    "polaris_mpi.py": (8, 1, 0, 1),
    "frontera.py": (128, 1, 1, 1), "bridges.py": (2, 1, 0, 1), "midway.py": (2, 1, 1, 1),
    "stampede2.toml": (2, 1, 1, 1), "midway_over_ssh.py": (1, 1, 1, 2),
    "aspire1.py": (3, 3, 3, 5), "summit.py": (2, 1, 0, 1), "osg.py": (1, 4, 0, 4),
}  # fmt: skip


@pytest.fixture
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """The Config of a file, on a machine whose interfaces are not those of the site."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = loading.load_config(str(FOLDER / request.param))
    yield config
    for executor in config.executors:
        executor.begin_shutdown(kill=True)


def rendered(config: Config) -> str:
    (executor,) = config.executors
    provider: Any = provider_of(executor)
    if provider is None:
        return ""
    preview, _ = rendering.render(executor, provider)
    assert preview.preview is not None
    return "\n".join((preview.preview.submit, preview.preview.description, preview.preview.script))


def test_each_file_is_in_the_tables() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".toml")}
    assert files == set(ASKS)
    table = (FOLDER / "README.md").read_text()
    assert all(f"`{Path(name).stem}.py`" in table or f"`{name}`" in table for name in files)


@pytest.mark.parametrize("made, lines", ASKS.items(), ids=list(ASKS), indirect=["made"])
def test_a_site_s_script(made: Config, lines: list[str]) -> None:
    text = rendered(made)
    for line in lines:
        assert re.search(line, text, re.MULTILINE), f"{line}\nis not in\n{text}"
    if text:
        script = text[text.index("#!") :]
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("made, limits", BLOCKS.items(), ids=list(BLOCKS), indirect=["made"])
def test_a_site_s_blocks(made: Config, limits: tuple[int, int, int, int]) -> None:
    found = provider_of(made.executors[0]).limits
    assert (found.nodes_per_block, found.init_blocks, found.min_blocks, found.max_blocks) == limits


@pytest.mark.parametrize("made", [name for name in ASKS if name.replace(".toml", ".py") in ASKS and "toml" in name],
                         indirect=True)  # fmt: skip
def test_what_toml_says_is_what_python_says(made: Config, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["made"].replace(".toml", ".py")
    other = loading.load_config(str(FOLDER / name))
    try:
        assert made.is_same_as(other)
    finally:
        for executor in other.executors:
            executor.begin_shutdown(kill=True)
