"""The nodes of a block, who has which, and the commands that start MPI programs on them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.interchange import mpi
from parsl_pool.interchange.host_list import expanded
from parsl_pool.interchange.packing import Has
from parsl_pool.interchange.set_aside import SetAside, Share, settled_of
from tests.interchange.frames import asking, request

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    "text, hosts",
    [
        ("n1", ["n1"]),
        ("n1,n2", ["n1", "n2"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("node[08-10,7],login-1", ["node08", "node09", "node10", "node7", "login-1"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("c[1-2].site.org", ["c1.site.org", "c2.site.org"]),
        ("n[99-101]", ["n99", "n100", "n101"]),
    ],
)
def test_slurms_short_form_is_written_out(text: str, hosts: list[str]) -> None:
    assert expanded(text) == hosts


NO_LISTS = ["", "n[1-", "n1]", "n[[1]]", "n[3-1]", "n[a-b]", "n[]", "n1,,n2", "n[1-999999]", "a b"]


@pytest.mark.parametrize("text", NO_LISTS)
def test_what_is_no_list_of_hosts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="brackets|no host|no number|no range"):
        expanded(text)


def shortened(prefix: str, width: int, numbers: list[tuple[int, int]]) -> tuple[str, list[str]]:
    """Ranges as Slurm writes them, and what they mean."""
    parts = [str(a).zfill(width) if a == b else f"{str(a).zfill(width)}-{str(b).zfill(width)}" for a, b in numbers]
    hosts = [prefix + str(number).zfill(width) for a, b in numbers for number in range(a, b + 1)]
    return f"{prefix}[{','.join(parts)}]", hosts


RANGE = st.tuples(st.integers(0, 300), st.integers(0, 20)).map(lambda pair: (pair[0], sum(pair)))
RANGES = st.lists(RANGE, min_size=1, max_size=5)
GROUPS = st.builds(shortened, st.sampled_from(["n", "node-", "r1c"]), st.integers(1, 4), RANGES)


@settings(max_examples=100, deadline=None)
@given(st.lists(GROUPS, min_size=1, max_size=4))
def test_whatever_slurm_shortens_is_written_out(groups: list[tuple[str, list[str]]]) -> None:
    assert expanded(",".join(text for text, _ in groups)) == [host for _, hosts in groups for host in hosts]


@settings(max_examples=200, deadline=None)
@given(st.text("n1[],- ", max_size=20))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    try:
        hosts = expanded(text)
    except ValueError:
        return
    assert hosts and all(host and "[" not in host and "," not in host for host in hosts)


@pytest.mark.parametrize(
    "name, content",
    [
        ("PBS_NODEFILE", "n1\nn1\nn2\n"),
        ("COBALT_NODEFILE", "n1\nn2\n"),
        ("LSB_DJOB_HOSTFILE", "n1\nn1\nn2\n"),
        ("PE_HOSTFILE", "n1 4 all.q@n1 UNDEFINED\nn2 4 all.q@n2 UNDEFINED\n"),
        ("PARSL_MPI_HOSTFILE", "n1\nn2 slots=4\n"),
    ],
)
def test_the_nodes_of_a_job_stand_in_a_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "nodes").write_text(content)
    assert mpi.nodes_of_job({name: str(tmp_path / "nodes")}) == ["n1", "n2"]


def test_or_in_the_environment_itself() -> None:
    assert mpi.nodes_of_job({"SLURM_JOB_NODELIST": "n[1-2]"}) == ["n1", "n2"]
    assert mpi.nodes_of_job({"LSB_HOSTS": "n1 n1 n2"}) == ["n1", "n2"]
    assert len(mpi.nodes_of_job({})) == 1


@pytest.mark.parametrize("name, value", [("SLURM_JOB_NODELIST", "n[1"), ("PBS_NODEFILE", "/nowhere/at/all")])
def test_nodes_that_can_not_be_told_are_an_error_with_the_variable(name: str, value: str) -> None:
    with pytest.raises(mpi.NoNodes, match=f"{name}='.*' does not tell the nodes of this job"):
        mpi.nodes_of_job({name: value})


PROGRAM = request(num_nodes=2, ranks_per_node=3, num_ranks=6)


def test_the_commands_that_start_a_program() -> None:
    assert mpi.prefixes(PROGRAM, ["n1", "n2"], open_mpi=False) == {
        "mpiexec": "mpiexec -n 6 -ppn 3 -hosts n1,n2",
        "srun": "srun --nodes=2 --ntasks=6 --ntasks-per-node=3 --nodelist=n1,n2",
        "aprun": "aprun -L n1,n2 -n 6 -N 3",
    }
    command = "mpiexec -n 6 --host n1:3,n2:3 --map-by :OVERSUBSCRIBE"
    assert mpi.prefixes(PROGRAM, ["n1", "n2"], open_mpi=True)["mpiexec"] == command
    more = request(num_nodes=1, ranks_per_node=1, num_ranks=1, launcher_options="-x A='b c'")
    assert mpi.prefixes(more, ["n1"], open_mpi=False)["mpiexec"] == "mpiexec -n 1 -ppn 1 -hosts n1 -x A='b c'"


@pytest.mark.parametrize("launcher", mpi.LAUNCHERS)
def test_what_the_environment_of_a_task_says(launcher: str) -> None:
    said = dict(text.split("=", 1) for text in mpi.Surroundings(launcher, False)(PROGRAM, Share(1, ["n1", "n2"])))
    assert said["PARSL_MPI_PREFIX"] == said[f"PARSL_{launcher.upper()}_PREFIX"]
    assert said["PARSL_MPI_PREFIX"].startswith(launcher)
    assert said["PARSL_MPI_NODELIST"] == said["PARSL_NODELIST"] == "n1,n2"
    assert (said["PARSL_NUM_NODES"], said["PARSL_RANKS_PER_NODE"], said["PARSL_NUM_RANKS"]) == ("2", "3", "6")


# ---- who has which


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.lists(st.one_of(st.integers(1, 7), st.just(0)), max_size=40))
def test_no_node_is_given_twice_and_all_come_back(count: int, steps: list[int]) -> None:
    """A number asks for so many nodes, 0 ends the oldest program."""
    names = [f"n{number}" for number in range(count)]
    aside = SetAside(Has(8, 8, 0, 0, 0, count, 0), names, lambda wanted, share: [",".join(share.nodes)])
    running: dict[int, list[str]] = {}
    for task, wanted in enumerate(steps, 1):
        if not wanted:
            if running:
                oldest = min(running)
                del running[oldest]
                aside.give_back(oldest)
            continue
        frame = asking(task, request(num_nodes=wanted, ranks_per_node=1, num_ranks=wanted))
        free = count - sum(map(len, running.values()))
        if aside.take(frame, 8):
            assert frame.environment is not None
            running[task] = frame.environment[0].split(",")
            assert len(running[task]) == wanted <= free
        else:
            assert wanted > free
        held = [node for nodes in running.values() for node in nodes]
        assert len(held) == len(set(held)) and set(held) <= set(names)
    for task in list(running):
        aside.give_back(task)
    aside.give_back(99_999)
    last = asking(1, request(num_nodes=count, ranks_per_node=1, num_ranks=count))
    assert aside.take(last, 8) and last.environment == [",".join(names)]


def test_what_tasks_have_is_told_to_the_next_interchange() -> None:
    aside = SetAside(Has(4, 4, 1000, 0, 0, 4, 0), ["a", "b", "c", "d"])
    told = aside.told([(7, request(cores=2, memory_mb=5)), (8, request(num_nodes=3))])
    assert settled_of(told) == {7: (2, 5, 0, 0), 8: (1, 0, 0, 3)}
    assert settled_of(told[:-1]) == {7: (2, 5, 0, 0)}
