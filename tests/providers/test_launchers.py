import functools
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsl_pool.errors import BadLauncher
from parsl_pool.providers import Launcher, SimpleLauncher, SingleNodeLauncher, WrappedLauncher, check_launcher
from parsl_pool.providers.launchers import LauncherLike, launched
from parsl_pool.providers.scripts import script_text, write_script
from tests.providers.conftest import SHELLS

DATA = Path(__file__).parent / "data"
COMMAND = "python -m pool.manager --name 'two words'"


def run_text(text: str, shell: str = "/bin/sh") -> subprocess.CompletedProcess[str]:
    return subprocess.run([shell, "-c", text], capture_output=True, text=True, timeout=30)


# ---- the text


@pytest.mark.parametrize(
    "file, launcher, copies",
    [
        ("single_node_one.sh", SingleNodeLauncher(), 1),
        ("single_node_three.sh", SingleNodeLauncher(), 3),
        ("single_node_three_fail_on_any_quiet.sh", SingleNodeLauncher(debug=False, fail_on_any=True), 3),
    ],
)
def test_the_text_is_as_in_the_file(file: str, launcher: Launcher, copies: int) -> None:
    assert launcher(COMMAND, copies, 1) == (DATA / file).read_text()


def test_the_simple_launcher_changes_nothing() -> None:
    assert SimpleLauncher()(COMMAND, 5, 7) == COMMAND


def test_the_wrapped_launcher_puts_its_text_first() -> None:
    assert WrappedLauncher("docker run --rm image")(COMMAND, 1, 1) == f"docker run --rm image {COMMAND}"


def test_a_launcher_shows_its_options() -> None:
    assert repr(WrappedLauncher("time", debug=False)) == "WrappedLauncher(debug=False, prepend='time', launcher=None)"
    assert repr(SingleNodeLauncher()) == "SingleNodeLauncher(debug=True, fail_on_any=False)"


def test_a_users_launcher_may_wrap_another() -> None:
    class Shifter(SimpleLauncher):
        def __init__(self, image: str) -> None:
            super().__init__()
            self.image = image

        def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
            return super().__call__(
                f"shifter --image={self.image} {command}", tasks_per_node, nodes_per_block
            )

    assert launched(check_launcher(Shifter("debian")), "ls", 1, 1) == "shifter --image=debian ls"


# ---- what it does


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "codes, fail_on_any, expected",
    [
        ([0], False, 0),
        ([3], False, 3),
        ([3], True, 3),
        ([0, 0, 0], True, 0),
        ([0, 3, 0], False, 0),
        ([0, 3, 0], True, 3),
        ([3, 3, 3], False, 3),
        ([0, 0, 3], True, 3),
        ([3, 0, 0], True, 3),
    ],
)
def test_the_block_fails_if_all_copies_do_or_any_if_so_asked(
    shell: str, codes: list[int], fail_on_any: bool, expected: int, tmp_path: Path
) -> None:
    for code in {*codes}:
        for number in range(codes.count(code)):
            (tmp_path / f"{code}.{number}").touch()
    # Each copy takes a file that no other has taken; its name is the exit code.
    command = 'for f in *.*; do if mv "$f" "taken-$f" 2>/dev/null; then exit "${f%.*}"; fi; done'
    text = SingleNodeLauncher(fail_on_any=fail_on_any)(command, len(codes), 1)
    run = subprocess.run([shell, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert run.returncode == expected, run
    assert len(list(tmp_path.glob("taken-*"))) == len(codes)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("copies", [1, 3])
def test_copies_run_side_by_side_with_the_number_of_cores(shell: str, copies: int, tmp_path: Path) -> None:
    # Each says that it is there, and ends only when all are.
    (tmp_path / "meet").write_text(
        f'touch "$1/$$"; while [ "$(ls "$1" | wc -l)" -lt {copies} ]; do sleep .01; done; echo "$CORES cores"'
    )
    (tmp_path / "there").mkdir()
    command = shlex.join(["sh", str(tmp_path / "meet"), str(tmp_path / "there")])
    run = run_text(SingleNodeLauncher(debug=False)(command, copies, 1), shell)
    assert run.stdout.splitlines() == [f"{len(os.sched_getaffinity(0))} cores"] * copies


def test_only_debug_tells_what_goes_on() -> None:
    assert "ended with exit code 1" in run_text(SingleNodeLauncher()("false", 2, 1)).stdout
    assert run_text(SingleNodeLauncher(debug=False)("false", 2, 1)).stdout == ""


@pytest.mark.parametrize(
    "command",
    ["echo done # a comment", "cat <<END\ndone\nEND", "A=done; echo $A", "(echo done)", "echo do\\\nne"],
)
@pytest.mark.parametrize("copies", [1, 2])
def test_any_shell_text_can_be_the_command(command: str, copies: int) -> None:
    assert run_text(SingleNodeLauncher(debug=False)(command, copies, 1)).stdout == "done\n" * copies


# ---- quoting

ANYTHING = st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from(
    " \t\n'\"\\$`!*?[]{}()<>|&;#~%=-\r\udc80\udcff"  # the last two: bytes that are no text, in a file name
)
WORDS = st.text(ANYTHING, max_size=20)
FILE_NAMES = WORDS.filter(lambda name: name not in ("", ".", "..") and "/" not in name)
LAUNCHERS: list[tuple[LauncherLike, int]] = [
    (SimpleLauncher(), 1),
    (SingleNodeLauncher(), 1),
    (SingleNodeLauncher(), 2),
    (WrappedLauncher("nice -n 0"), 1),
]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(LAUNCHERS), directory=FILE_NAMES, job_name=WORDS, words=st.lists(WORDS, max_size=5)
)
@example(
    case=LAUNCHERS[2],
    directory="it's",
    job_name="a\nb",
    words=["", "$HOME", "a b", "'", '"', "`id`", "\\", "*"],
)
def test_arguments_and_paths_arrive_as_they_were_given(
    shell: str, case: tuple[LauncherLike, int], directory: str, job_name: str, words: list[str]
) -> None:
    launcher, copies = case
    with tempfile.TemporaryDirectory() as top:
        place = os.path.join(top, directory)
        os.mkdir(place)
        program = os.path.join(place, "a program")
        with open(program, "w") as file:
            file.write(
                '#!/bin/sh\nout=$1.$$; shift\nfor word in "$@"; do printf "%s\\0" "$word"; done >"$out"\n'
            )
        os.chmod(program, 0o700)
        body = launcher(shlex.join([program, os.path.join(place, "out"), *words]), copies, 1)
        text = script_text(shell=shell, job_name=job_name, worker_init="", body=body)
        script = write_script(place, job_name, text)
        run = subprocess.run([shell, script], cwd=top, capture_output=True, timeout=30)
        assert (run.returncode, run.stderr) == (0, b"")
        outputs = [Path(place, name).read_bytes() for name in os.listdir(place) if name.startswith("out.")]
    assert outputs == [b"".join(os.fsencode(word) + b"\0" for word in words)] * copies


# ---- what is a launcher


def with_defaults(command: str, tasks_per_node: int = 1, nodes_per_block: int = 1, extra: int = 0) -> str:
    return command


class Callable3:
    def __call__(self, line: str, copies: int, nodes: int) -> str:
        return line


@pytest.mark.parametrize(
    "launcher",
    [
        SimpleLauncher(),
        lambda a, b, c: a,
        lambda *args: args[0],
        with_defaults,
        functools.partial(with_defaults, extra=3),
        Callable3(),
        Callable3().__call__,
    ],
)
def test_whatever_takes_three_arguments_is_a_launcher(launcher: Any) -> None:
    assert check_launcher(launcher) is launcher


@pytest.mark.parametrize(
    "thing, reason",
    [
        (None, "cannot be called"),
        ("srun", "cannot be called"),
        (3, "cannot be called"),
        (SimpleLauncher, r"it is a class; give an object: SimpleLauncher\(...\)"),
        (lambda command: command, "too many positional"),
        (lambda a, b, c, d: a, "missing a required argument: 'd'"),
        (lambda *, command, tasks_per_node, nodes_per_block: command, "must take"),
    ],
)
def test_what_is_no_launcher_is_told_why(thing: object, reason: str) -> None:
    with pytest.raises(BadLauncher, match=reason):
        check_launcher(thing)


def test_a_launcher_that_gives_no_text_is_told_so() -> None:
    with pytest.raises(BadLauncher, match="gave no text, but None"):
        launched(lambda command, tasks, nodes: None, "ls", 1, 1)  # type: ignore[arg-type, return-value]
