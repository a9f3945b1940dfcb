"""Launchers for blocks of several nodes: srun, aprun and their kin are played by one script, which starts the copies.

Slurm's srun and an MPI's mpiexec are also run for real: slurm/test_jobs.py, slurm/test_mpi.py.
"""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsl_pool.providers import (
    AprunLauncher,
    GnuParallelLauncher,
    JsrunLauncher,
    MpiExecLauncher,
    MpiRunLauncher,
    SrunLauncher,
    SrunMPILauncher,
    WrappedLauncher,
)
from parsl_pool.providers.launchers import Launcher
from parsl_pool.providers.scripts import script_text, write_script
from tests.providers.test_launchers import WORDS

ODD = "it's \"one\" $HOME `id` \\ é; 100% <> PARSL_POOL_COMMAND\nPARSL_POOL_COMMAND\n* {} {{}}"

# Like each of them: options, then a program and its arguments, so and so many times; it fails if one does.
STARTER = """\
#!/bin/bash
[ "$1" = --help ] && { echo '      --overlap  as newer ones have'; exit; }
printf '%s\\n' "${0##*/}" "$@" >"$PLAYED/$$"
copies=1
while [ "${1##*/}" != bash ]; do
    case $1 in
        -n | -np) copies=$2 ;;
        --ntasks=*) copies=${1#*=} ;;
    esac
    shift
done
pids=
for _ in $(seq "$copies"); do "$@" & pids="$pids $!"; done
code=0
for pid in $pids; do wait "$pid" || code=$?; done
exit "$code"
"""
# It puts each line of its input in the place of {}, and a shell on a node reads the whole. It ends with the number of
# those that have failed.
PARALLEL = """\
#!/bin/bash
printf '%s\\n' parallel "$@" >"$PLAYED/$$"
pids=
while read -r line; do sh -c "$(printf %s "${@: -1:1}" | sed "s/{}/$line/g")" & pids="$pids $!"; done
failed=0
for pid in $pids; do wait "$pid" || failed=$((failed + 1)); done
exit "$failed"
"""

LAUNCHERS: dict[str, type[Launcher]] = {
    "srun": SrunLauncher, "srun each": SrunMPILauncher, "aprun": AprunLauncher, "jsrun": JsrunLauncher,
    "mpiexec": MpiExecLauncher, "mpirun": MpiRunLauncher, "parallel": GnuParallelLauncher,
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", LAUNCHERS.values(), ids=LAUNCHERS)



@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH."""
    place = tmp_path_factory.mktemp("programs")
    for name in "srun", "aprun", "jsrun", "mpiexec", "mpirun", "parallel":
        (place / name).write_text(PARALLEL if name == "parallel" else STARTER)
        (place / name).chmod(0o755)
    return place


class Block:
    """A place where scripts of blocks run, on nodes that are this machine."""

    def __init__(self, place: Path, programs: Path) -> None:
        self.place, self.played = place, place / "played"
        self.played.mkdir()
        (place / "node file").write_text("n1\nn1\nn2\n")
        self.environment = {
            **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PLAYED": str(self.played),
            "PBS_NODEFILE": str(place / "node file"),
        }  # fmt: skip

    def run(self, launcher: Any, command: str, tasks: int = 1, nodes: int = 2) -> "subprocess.CompletedProcess[str]":
        text = script_text(
            shell="/bin/bash", job_name="b", worker_init="", body=f"(\n{launcher(command, tasks, nodes)}\n)"
        )
        script = write_script(self.place, "b", text)
        return subprocess.run(
            ["/bin/bash", script], env=self.environment, cwd=self.place, capture_output=True, text=True, timeout=30
        )

    def calls(self) -> list[list[str]]:
        """The words of each call of a played program, in order."""
        return sorted(file.read_text().splitlines() for file in self.played.iterdir())


@pytest.fixture
def block(tmp_path: Path, programs: Path) -> Block:
    return Block(tmp_path, programs)


def teller(place: Path) -> Path:
    """A program, in an odd place, of which each run leaves a file with its arguments."""
    home = place / "it's a $HOME"
    home.mkdir()
    program = home / "my `program`"
    program.write_text('#!/bin/sh\nout=$1.$$; shift\nfor word in "$@"; do printf "%s\\0" "$word"; done >"$out"\n')
    program.chmod(0o700)
    return program


def told(place: Path) -> list[bytes]:
    return [file.read_bytes() for file in place.glob("out.*")]


@KINDS
@settings(max_examples=8, deadline=None)
@given(words=st.lists(WORDS, max_size=4))
@example(words=[ODD, "", "-n", "9"])
def test_arguments_and_paths_arrive_on_each_node_as_they_were_given(
    programs: Path, kind: type[Launcher], words: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as top:
        place = Path(top)
        block = Block(place, programs)
        done = block.run(kind(debug=False), shlex.join([str(teller(place)), str(place / "out"), *words]))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert told(place) == [b"".join(os.fsencode(word) + b"\0" for word in words)] * 2


@KINDS
def test_one_wraps_what_another_starts(block: Block, kind: type[Launcher]) -> None:
    """The wrapping program runs on each node, and gets the command's words as they are."""
    wrapper = block.place / "my wrapper's $1"
    wrapper.write_text('#!/bin/sh\nprintf "%s\\n" "$OPTION" >"wrapped.$$"\nexec "$@"\n')
    wrapper.chmod(0o700)
    prepend = f"env OPTION={shlex.quote(ODD)} {shlex.quote(str(wrapper))}"
    twice = WrappedLauncher("nice -n 0", launcher=WrappedLauncher(prepend, launcher=kind(debug=False)))
    done = block.run(twice, shlex.join([str(teller(block.place)), str(block.place / "out"), ODD]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [file.read_text() for file in block.place.glob("wrapped.*")] == [ODD + "\n"] * 2
    assert told(block.place) == [ODD.encode() + b"\0"] * 2


@KINDS
def test_a_function_of_the_users_wraps_it_too(block: Block, kind: type[Launcher]) -> None:
    def numa(command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        return kind(debug=False)(f"env NODE=1 {command}", tasks_per_node, nodes_per_block)

    assert block.run(numa, "sh -c 'echo \"$NODE\"'").stdout == "1\n1\n"


@KINDS
@pytest.mark.parametrize("debug", [True, False])
def test_the_block_ends_as_a_copy_did_and_only_debug_tells(block: Block, kind: type[Launcher], debug: bool) -> None:
    done = block.run(kind(debug=debug), "exit 7")
    assert done.returncode == (2 if kind is GnuParallelLauncher else 7)
    assert bool(done.stdout) == debug
    assert block.run(kind(debug=debug), "true").returncode == 0


SIZES: dict[str, tuple[Launcher, list[list[str]]]] = {
    "srun": (SrunLauncher(overrides="--gres 'gpu:a 100'"), [
        ["srun", "--overlap", "--kill-on-bad-exit=0", "--wait=0", "--cpu-bind=none", "--label", "--nodes=3",
         "--ntasks=6", "--ntasks-per-node=2", "--gres", "gpu:a 100"],
    ]),
    "srun each": (SrunMPILauncher(overrides="-O"), [
        ["srun", "--overlap", "--kill-on-bad-exit=0", "--wait=0", "--cpu-bind=none", "--label", "--nodes=1",
         "--ntasks=1", f"--relative={node}", "-O"] for node in (0, 0, 1, 1, 2, 2)
    ]),
    "aprun": (AprunLauncher(overrides="-cc depth"), [["aprun", "-n", "6", "-N", "2", "-cc", "depth"]]),
    "jsrun": (JsrunLauncher(overrides="-g 1"), [["jsrun", "-n", "6", "-r", "2", "-g", "1"]]),
    "mpiexec": (MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--ppn 2"), [
        ["mpiexec", "--cpu-bind", "none", "-n", "6", "--hostfile", "NODES", "--ppn", "2"],
    ]),
    "mpirun": (MpiRunLauncher(overrides="--map-by node"), [["mpirun", "-np", "6", "--map-by", "node"]]),
    "parallel": (GnuParallelLauncher(), [["parallel", "--sshloginfile", "FILE", "--jobs", "2", "-n", "1"]]),
}  # fmt: skip


@pytest.mark.parametrize("launcher, calls", SIZES.values(), ids=SIZES)
def test_what_the_program_is_asked_for(block: Block, launcher: Launcher, calls: list[list[str]]) -> None:
    """Two on each of three nodes: all of them, and the user's own options after ours."""
    assert block.run(launcher, "echo here >here.$$", tasks=2, nodes=3).returncode == 0
    assert len(list(block.place.glob("here.*"))) == 6
    seen = block.calls()
    assert len(seen) == len(calls)
    for words, expected in zip(seen, calls):
        named = {"NODES": str(block.place / "node file"), "FILE": words[2]}
        assert words[: len(expected)] == [named.get(word, word) for word in expected]


def test_without_a_file_of_nodes_mpiexec_finds_them_itself(block: Block) -> None:
    del block.environment["PBS_NODEFILE"]
    assert block.run(MpiExecLauncher(bind_cmd=""), "true").returncode == 0
    (words,) = block.calls()
    assert words[:4] == ["mpiexec", "-n", "2", "/bin/bash"]


def test_a_shell_elsewhere_on_the_nodes(block: Block) -> None:
    place = block.place / "my shells"
    place.mkdir()
    (place / "bash").symlink_to("/bin/bash")
    assert block.run(MpiRunLauncher(bash_location=str(place / "bash")), "true").returncode == 0
    assert str(place / "bash") in block.calls()[0]


def test_an_srun_that_does_not_know_overlap_is_not_given_it(block: Block, programs: Path) -> None:
    old = block.place / "old"
    old.mkdir()
    (old / "srun").write_text(f'#!/bin/sh\n[ "$1" = --help ] || exec {shlex.quote(str(programs))}/srun "$@"\n')
    (old / "srun").chmod(0o755)
    block.environment["PATH"] = f"{old}:{block.environment['PATH']}"
    assert block.run(SrunLauncher(), "true").returncode == 0
    assert "--overlap" not in block.calls()[0]
