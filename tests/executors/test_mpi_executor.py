"""`MPIExecutor`: each task has nodes of its own, and is told which. The nodes are made up, but for the last test."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, MPIExecutor, ParslPoolExecutor
from parsl_pool.errors import ConfigurationError, InvalidResourceSpecification, WorkerLost
from parsl_pool.interchange.mpi import is_open_mpi
from parsl_pool.providers import LocalProvider, SrunLauncher

pytestmark = pytest.mark.timeout(60)

NODES = ["n1", "n2", "n3", "n4"]
JOBS = ("SLURM_JOB_NODELIST", "SLURM_NODELIST", "PBS_NODEFILE", "COBALT_NODEFILE", "LSB_DJOB_HOSTFILE", "LSB_HOSTS",
        "PE_HOSTFILE")  # fmt: skip


@pytest.fixture
def four_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were a job of four nodes."""
    for name in JOBS:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "hosts").write_text("\n".join(NODES))
    monkeypatch.setenv("PARSL_MPI_HOSTFILE", str(tmp_path / "hosts"))


@pytest.fixture(params=["inside", "apart"])
def pool(request: pytest.FixtureRequest, four_nodes: None) -> Iterator[ParslPoolExecutor]:
    executor = MPIExecutor("mpi", max_workers_per_block=4, manager_inside=request.param == "inside")
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        yield pool


def told() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PARSL_")}


def test_a_task_is_told_of_its_nodes(pool: ParslPoolExecutor) -> None:
    said = pool.options(resources={"num_nodes": 2, "ranks_per_node": 3}).submit(told).result()
    assert said["PARSL_NUM_RANKS"] == "6" and said["PARSL_MPI_NODELIST"] == "n1,n2"
    assert said["PARSL_MPI_PREFIX"] == said["PARSL_MPIEXEC_PREFIX"]
    assert said["PARSL_SRUN_PREFIX"].startswith("srun ") and said["PARSL_APRUN_PREFIX"].startswith("aprun ")
    again = pool.options(resources={"num_ranks": 4, "num_nodes": 4}).submit(told).result()
    assert again["PARSL_MPI_NODELIST"] == "n1,n2,n3,n4" and again["PARSL_RANKS_PER_NODE"] == "1"


def nodes_in_use(folder: str, pause: float) -> list[str]:
    """Claim our nodes by files, which must not be there, for a moment."""
    nodes = os.environ["PARSL_MPI_NODELIST"].split(",")
    for node in nodes:
        Path(folder, node).touch(exist_ok=False)
    time.sleep(pause)
    for node in nodes:
        Path(folder, node).unlink()
    return nodes


def test_no_two_programs_share_a_node(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "used"
    folder.mkdir()
    futures = [
        pool.options(resources={"num_nodes": 1 + n % 4, "ranks_per_node": 1}).submit(nodes_in_use, str(folder), 0.01)
        for n in range(24)
    ]
    assert [len(future.result()) for future in futures] == [1 + number % 4 for number in range(24)]


def die() -> None:
    os._exit(3)


def test_the_nodes_of_a_worker_that_died_are_given_again(pool: ParslPoolExecutor) -> None:
    all_of_them = pool.options(resources={"num_nodes": 4, "ranks_per_node": 1})
    for _ in range(2):
        with pytest.raises(WorkerLost):
            all_of_them.submit(die).result()
    assert all_of_them.submit(told).result()["PARSL_NUM_NODES"] == "4"


def test_a_call_that_asks_for_no_nodes_or_too_many_is_refused(pool: ParslPoolExecutor) -> None:
    for call in (
        lambda: pool.submit(told),
        lambda: pool.map(told, [1], chunksize=2),
        lambda: pool.options(resources={"priority": 1}),
        lambda: pool.options(retries=1).submit(told),
        lambda: pool.options(cache=True).submit(told).result(),
    ):
        with pytest.raises(InvalidResourceSpecification, match="an MPI program needs two of num_nodes"):
            call()
    with pytest.raises(InvalidResourceSpecification, match="memory is not for MPI programs"):
        pool.options(resources={"num_nodes": 1, "num_ranks": 1, "memory": 5})
    with pytest.raises(InvalidResourceSpecification, match="can ever hold it: each has .*4 nodes for MPI"):
        pool.options(resources={"num_nodes": 5, "num_ranks": 5})


@pytest.mark.parametrize("options", ["-n 5", "--hosts=a", "-w n1", "'unclosed"])
def test_options_of_the_launcher_that_say_what_is_said_apart_are_refused(options: str) -> None:
    with ParslPoolExecutor(Config([MPIExecutor("mpi")], run_dir=None)) as pool:
        with pytest.raises(InvalidResourceSpecification, match="launcher_options must"):
            pool.options(resources={"num_nodes": 1, "num_ranks": 1, "launcher_options": options})


def test_what_an_mpi_executor_can_not_be() -> None:
    with pytest.raises(ConfigurationError, match="must be one of 'mpiexec', 'srun', 'aprun', got 'mpirun'"):
        MPIExecutor(mpi_launcher="mpirun")
    with pytest.raises(ConfigurationError, match="max_workers_per_node=2 is no option of an MPIExecutor"):
        MPIExecutor(max_workers_per_node=2)
    with pytest.raises(ConfigurationError, match=r"launcher must be SimpleLauncher\(\)"):
        HighThroughputExecutor(enable_mpi_mode=True, provider=LocalProvider(launcher=SrunLauncher()))
    with pytest.raises(ConfigurationError, match="mpi_launcher must be one of"):
        HighThroughputExecutor(mpi_launcher="mpirun")


def ranks(script: str) -> list[str]:
    """Start a real program, and read what its ranks say."""
    command = f"{os.environ['PARSL_MPI_PREFIX']} {sys.executable} -c '{script}'"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=50, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (command, done.stderr)
    return sorted(done.stdout.split())


@pytest.mark.skipif(not shutil.which("mpiexec"), reason="there is no mpiexec (Debian: mpich, openmpi-bin)")
def test_a_real_program_runs_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*JOBS, "PARSL_MPI_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    variable = "OMPI_COMM_WORLD_RANK" if is_open_mpi() else "PMI_RANK"
    with ParslPoolExecutor(Config([MPIExecutor("mpi")], run_dir=None)) as pool:
        program = pool.options(resources={"num_nodes": 1, "num_ranks": 2})
        # In one write: print makes two where output is unbuffered, and the other rank's may come between.
        script = f'import os; os.write(1, (os.environ["{variable}"] + os.linesep).encode())'
        assert program.submit(ranks, script).result() == ["0", "1"]
