"""MPI programs in a block of a real Slurm: each on nodes of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from parsl_pool import Config, MPIExecutor, ParslPoolExecutor
from parsl_pool.interchange.mpi import is_open_mpi
from parsl_pool.providers import SimpleLauncher, SlurmProvider
from tests.services.clusters import SlurmCluster
from tests.services.slurm import NODES

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]


def hosts_of_ranks(program: str) -> tuple[list[str], list[str]]:
    """The nodes that we were given, and where Slurm has started our ranks."""
    command = f"{os.environ['PARSL_MPI_PREFIX']} {program}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (command, done.stderr)
    return os.environ["PARSL_MPI_NODELIST"].split(","), sorted(done.stdout.split())


def said_by_ranks(program: str, ranks: int) -> tuple[list[str], list[str]]:
    """The nodes that we were given, and the line that each rank says; then it is ended.

    Once in thirty times MPI_Finalize of MPICH 4.0 over UCX never returns in one rank, while the others are past it.
    """
    command = f"{os.environ['PARSL_MPI_PREFIX']} {program}"
    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said += [line.strip()] if "=" in line else []
        if len(said) == ranks:
            break
    else:
        raise AssertionError(f"{command} ended with code {process.wait()} when {said} had been said")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.communicate()
    return os.environ["PARSL_MPI_NODELIST"].split(","), said


NO_MPICH = "there is no mpiexec of MPICH's (Debian: mpich), which starts its processes by srun in a job of Slurm's"


@pytest.mark.parametrize("launcher", ["srun", "mpiexec"])
def test_programs_run_on_two_nodes_each(slurm: SlurmCluster, tmp_path: Path, launcher: str) -> None:
    if launcher == "mpiexec" and (not shutil.which("mpiexec.hydra") or is_open_mpi()):
        pytest.skip(NO_MPICH)
    provider = SlurmProvider(nodes_per_block=4, init_blocks=1, max_blocks=1, launcher=SimpleLauncher())
    executor = MPIExecutor("mpi", max_workers_per_block=2, mpi_launcher=launcher, provider=provider)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"))) as pool:
        two = pool.options(resources={"num_nodes": 2, "ranks_per_node": 2})
        futures = [two.submit(hosts_of_ranks, "hostname") for _ in range(4)]
        for future in futures:
            nodes, hosts = future.result()
            assert len(nodes) == 2 and set(nodes) <= set(NODES)
            assert hosts == sorted(2 * nodes)
        every = pool.options(resources={"num_nodes": 4, "num_ranks": 4})
        assert every.submit(hosts_of_ranks, "hostname").result() == (list(NODES), list(NODES))
    assert not slurm.left(20)


def test_ranks_on_two_nodes_talk_to_each_other(slurm: SlurmCluster, tmp_path: Path) -> None:
    """A program that calls MPI, compiled here: the sum over all ranks is known to each of them."""
    if not shutil.which("mpiexec.hydra") or is_open_mpi():
        pytest.skip(NO_MPICH)
    program, source = tmp_path / "ranks", Path(__file__).with_name("ranks.c")
    made = subprocess.run(["mpicc", "-o", program, source], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no program can be compiled for MPI (Debian: libmpich-dev, gcc): {made.stderr[-200:]}")
    provider = SlurmProvider(nodes_per_block=2, init_blocks=1, max_blocks=1, launcher=SimpleLauncher())
    executor = MPIExecutor("mpi", provider=provider)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"))) as pool:
        two = pool.options(resources={"num_nodes": 2, "ranks_per_node": 2})
        nodes, said = two.submit(said_by_ranks, str(program), 4).result()
    assert len(nodes) == 2
    assert sorted(line.split(":")[1] for line in said) == [f"{rank}/4=10" for rank in range(4)]
    assert sorted(line.split(":")[0] for line in said) == sorted(2 * nodes)
    assert not slurm.left(20)


@pytest.fixture
def open_mpi(tmp_path: Path) -> str:
    """What a job has to do so that `mpiexec` is Open MPI's, whichever is the first one on this machine."""
    real = shutil.which("mpiexec.openmpi")
    if real is None:
        pytest.skip("there is no mpiexec.openmpi (Debian: openmpi-bin)")
    (tmp_path / "open_mpi").mkdir()
    (tmp_path / "open_mpi" / "mpiexec").symlink_to(real)
    root = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"  # jobs here are root's
    return f"export PATH={tmp_path}/open_mpi:$PATH {root}"


def test_open_mpi_runs_programs_on_two_nodes_each(slurm: SlurmCluster, tmp_path: Path, open_mpi: str) -> None:
    provider = SlurmProvider(
        nodes_per_block=4, init_blocks=1, max_blocks=1, launcher=SimpleLauncher(), worker_init=open_mpi
    )
    executor = MPIExecutor("mpi", max_workers_per_block=2, provider=provider)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"))) as pool:
        two = pool.options(resources={"num_nodes": 2, "ranks_per_node": 2})
        for future in [two.submit(hosts_of_ranks, "hostname") for _ in range(4)]:
            nodes, hosts = future.result()
            assert len(nodes) == 2 and set(nodes) <= set(NODES)
            assert hosts == sorted(2 * nodes)
    assert not slurm.left(20)


def test_open_mpis_ranks_on_two_nodes_talk_to_each_other(slurm: SlurmCluster, tmp_path: Path, open_mpi: str) -> None:
    compiler = shutil.which("mpicc.openmpi")
    if compiler is None:
        pytest.skip("no program can be compiled for Open MPI (Debian: libopenmpi-dev)")
    program, source = tmp_path / "ranks", Path(__file__).with_name("ranks.c")
    subprocess.run([compiler, "-o", program, source], check=True)
    provider = SlurmProvider(
        nodes_per_block=2, init_blocks=1, max_blocks=1, launcher=SimpleLauncher(), worker_init=open_mpi
    )
    with ParslPoolExecutor(Config([MPIExecutor("mpi", provider=provider)], run_dir=str(tmp_path / "runs"))) as pool:
        two = pool.options(resources={"num_nodes": 2, "ranks_per_node": 2})
        nodes, said = two.submit(hosts_of_ranks, str(program)).result()
    assert len(nodes) == 2
    assert sorted(line.split(":")[1] for line in said) == [f"{rank}/4=10" for rank in range(4)]
    assert sorted(line.split(":")[0] for line in said) == sorted(2 * nodes)
    assert not slurm.left(20)
