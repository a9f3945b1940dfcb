"""Everything that can be wrong with a site, made wrong: the command says which it is."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import parsl_pool
from tests.doctor.conftest import Cluster

pytestmark = pytest.mark.timeout(110)
TRY = ("--run", "--timeout", "60")


def test_a_site_where_all_is_well(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("partition='debug', worker_init='export SITE=here'"), *TRY)
    assert (done.status, done.problems) == (0, {}), done
    fine = done.texts("ok")
    assert {"script", "commands", "worker", "versions", "round-trip", "bandwidth"} <= set(fine), done
    assert "#SBATCH --partition=debug" in done.executor["script"] and "manager_program" in done.executor["script"]
    assert done.executor["submit"].startswith("sbatch ") and "manager_program" in done.executor["manager_command"]
    assert "submitted as job 100" in done.stderr and "a worker has answered" in done.stderr
    assert not (cluster.folder / "runinfo").exists(), "a trial that went well has left files"


def test_a_trial_with_fewer_nodes_than_blocks_have_says_so(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("nodes_per_block=9"), *TRY)
    assert done.status == 0
    assert "with a block of 1 node, though those of the pool have 9: --nodes 9 tries one of these" in done.stderr


def test_a_site_for_mpi_programs(cluster: Cluster) -> None:
    """A launcher for one node is right there, though blocks have several."""
    config = cluster.config("nodes_per_block=2, launcher=SingleNodeLauncher()", executor="enable_mpi_mode=True")
    done = cluster.check(config, *TRY, "--nodes", "2")
    assert (done.status, done.problems) == (0, {}), done
    assert "launcher" not in done.texts("warning") and {"worker", "round-trip"} <= set(done.texts("ok")), done


def test_what_worker_init_says_is_shown_if_it_goes_on(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("worker_init='no-such-module-command load python'"), *TRY)
    assert done.status == 0, done
    assert "no-such-module-command" in done.texts("note")["worker-init-says"], done


def test_a_partition_that_is_not_there(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("partition='nosuch'"), *TRY)
    assert done.status == 1 and "no such partition" in done.problems["partition"], done
    assert "invalid partition specified: nosuch" in done.problems["partition"], "the scheduler's own words are missing"


def test_an_account_that_is_not_yours(cluster: Cluster) -> None:
    cluster.set("refuse", "sbatch: error: Batch job submission failed: Invalid account or account/partition")
    done = cluster.check(cluster.config("account='theirs'"), *TRY)
    assert done.status == 1 and set(done.problems) == {"account"}, done


def test_a_scheduler_that_is_not_there(cluster: Cluster, without: Callable[[str], str]) -> None:
    done = cluster.check(cluster.config(), *TRY, PATH=without("sbatch"))
    assert done.status == 1 and set(done.problems) == {"command-missing"}, done
    before, after = (one["text"] for one in [*done.executor["findings"], *done.executor["trial"]]
                     if one["code"] == "command-missing")  # fmt: skip
    assert "has no sbatch" in before and "sbatch: not found" in after, done


def test_a_scheduler_that_does_not_answer(cluster: Cluster) -> None:
    cluster.set("mute-sbatch")
    cluster.set("slow-sbatch", "30")
    cluster.set("refuse", "")
    done = cluster.check(cluster.config("cmd_timeout=0.5"), *TRY)
    assert done.status == 1 and set(done.problems) <= {"scheduler-silent", "refused"}, done


def test_a_job_that_is_held(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("worker_init=': hold'"), "--run", "--timeout", "3")
    assert done.status == 1 and "JobHeldUser (it is held, by you" in done.problems["never-starts"], done


def test_a_worker_init_that_hangs(cluster: Cluster) -> None:
    config = cluster.config("worker_init='echo waiting for a licence; sleep 1000'")
    done = cluster.check(config, "--run", "--timeout", "4")
    assert done.status == 1 and "has not ended" in done.problems["worker-init"], done
    assert "waiting for a licence" in done.problems["worker-init"]


def test_a_worker_init_that_is_no_shell(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("worker_init='echo \"half of a quote'"))
    assert done.status == 1 and set(done.problems) == {"script-syntax"}, done


def test_a_python_that_the_nodes_do_not_have(cluster: Cluster) -> None:
    mine = _other_python(cluster, 'exec "$REAL" "$@"')
    head = f"import sys; sys.executable = {mine!r}"
    done = cluster.check(cluster.config(f"worker_init='rm {mine}'", head=head), *TRY)
    assert done.status == 1 and mine in done.problems["python-missing"], done


def test_a_python_of_another_version_on_the_nodes(cluster: Cluster) -> None:
    other = _python_of_another_version()
    mine = _other_python(cluster, f'[ -z "$ON_NODE" ] && exec "$REAL" "$@"; exec {other} "$@"')
    done = cluster.check(
        cluster.config("worker_init='export ON_NODE=1'", head=f"import sys; sys.executable = {mine!r}"), *TRY
    )
    assert done.status == 1 and "is Python 3." in done.problems["python-version"], done
    assert ".".join(map(str, sys.version_info[:3])) in done.problems["python-version"]


def _other_python(cluster: Cluster, text: str) -> str:
    path = cluster.folder / "python"
    path.write_text(f"#!/bin/sh\nREAL={sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def _python_of_another_version() -> str:
    own = f"python3.{sys.version_info[1]}"
    for place in os.environ["PATH"].split(os.pathsep):
        for path in Path(place).glob("python3.*"):
            if re.fullmatch(r"python3\.\d+", path.name) and path.name != own and "shims" not in path.parts:
                return str(path)  # shims (pyenv's) may lead nowhere
    pytest.skip("there is no Python of another version on PATH")


def test_a_package_that_does_not_work_on_the_nodes(cluster: Cluster) -> None:
    broken = cluster.folder / "broken"
    broken.mkdir()
    (broken / "zmq.py").write_text("raise ImportError('libzmq.so.5: cannot open shared object file')")
    done = cluster.check(cluster.config(f"worker_init='export PYTHONPATH={broken}'"), *TRY)
    assert done.status == 1 and "zmq (ImportError: libzmq.so.5" in done.problems["packages"], done


def test_another_version_of_this_project_on_the_nodes(cluster: Cluster) -> None:
    root = Path(parsl_pool.__file__).parent
    shutil.copytree(root, cluster.folder / "other" / "parsl_pool", ignore=shutil.ignore_patterns("__pycache__"))
    (cluster.folder / "other" / "parsl_pool" / "_version.py").write_text('__version__ = "0.0.1"\n')
    wire = cluster.folder / "other" / "parsl_pool" / "interchange" / "wire.py"
    wire.write_text(re.sub(r"^PROTOCOL = \d+", "PROTOCOL = 0", wire.read_text(), flags=re.MULTILINE))
    done = cluster.check(cluster.config(f"worker_init='export PYTHONPATH={cluster.folder}/other'"), *TRY)
    assert done.status == 1 and "0.0.1" in done.problems["version"], done


@pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0,
    reason="no network namespaces can be made here",
)
def test_nodes_that_cannot_connect_back(cluster: Cluster) -> None:
    cluster.set("cut-off")
    done = cluster.check(cluster.config(), "--run", "--timeout", "20")
    assert done.status == 1 and set(done.problems) == {"connect"}, done
    assert "tcp://" in done.problems["connect"]


def test_an_address_that_is_another_machine_s(cluster: Cluster) -> None:
    done = cluster.check(cluster.config(executor="address='192.0.2.1'"))
    assert done.status == 0 and "no network interface of this machine has it" in done.texts("warning")[
        "address-elsewhere"
    ], done


def test_a_launcher_whose_command_the_nodes_do_not_have(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("launcher=AprunLauncher()"), *TRY)
    assert done.status == 1 and "has no aprun" in done.problems["launcher-command"], done
    assert "has no aprun" in done.texts("note")["launcher-command-unknown"]


def test_nodes_that_do_not_see_the_run_s_directory(cluster: Cluster) -> None:
    cluster.set("blind")
    done = cluster.check(cluster.config(), *TRY)
    assert done.status == 1 and "has written nothing" in done.problems["no-output"], done


def test_a_worker_init_that_exits_and_what_a_trial_leaves_that_fails(cluster: Cluster) -> None:
    done = cluster.check(cluster.config("worker_init='echo no such environment >&2; exit 7'"), *TRY)
    assert done.status == 1 and "has ended the job (exit code 7)" in done.problems["worker-init"], done
    assert "no such environment" in done.problems["worker-init"], done
    (kept,) = (cluster.folder / "runinfo").iterdir()
    assert f"the trial's files are in {kept}" in done.stderr
    assert list(kept.rglob("*.sh")) and list(kept.rglob("*.out"))
    jobs = subprocess.run(["squeue", "--jobs=100,101,102"], capture_output=True, text=True).stdout.splitlines()
    assert jobs and not [line for line in jobs if "RUNNING" in line or "PENDING" in line]
