"""Temporary directory, home, working directory, umask, shared memory: what files a pool needs, and where."""

import re
from pathlib import Path

import pytest

from parsl_pool import portable
from tests.environments.places import WORKS, Place, needs_mounts, other_user

pytestmark = pytest.mark.timeout(120)

MAKE_TMPDIR = "os.makedirs(os.environ['TMPDIR'])"
FULL = """
import tempfile
with open(os.path.join(tempfile.gettempdir(), "fill"), "wb", 0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
"""
NO_PLACE = r"ConfigurationError: cannot make a run directory in .*; give another one by run_dir="


@pytest.mark.parametrize(
    "name",
    ["x" * 200, "with 'spaces', \"quotes\"\nand a new line; $HOME \u00e9\u4e16", "{folder}/none/of/these"],
    ids=["too long for a socket", "odd", "missing"],
)
def test_any_temporary_directory_will_do(folder: Path, name: str) -> None:
    """One that is missing is not used: the standard library looks for another, as it does for every program."""
    path = name if name.startswith("{") else "{folder}/tmp/" + name
    before = "" if name.startswith("{") else MAKE_TMPDIR
    assert Place(environment={"TMPDIR": path}, before=before).run(folder) == WORKS


def test_a_user_without_name_and_home_whose_temporary_directory_is_read_only(folder: Path) -> None:
    place = Place(steps=other_user(), environment={"TMPDIR": "/usr", "HOME": None, "USER": None, "LOGNAME": None})
    assert place.run(folder) == WORKS


def test_a_home_that_is_not_ones_own(folder: Path) -> None:
    assert Place(steps=other_user(), environment={"HOME": "/root"}).run(folder) == WORKS


def is_as_inside_only(outcome: dict[str, str], error: str) -> None:
    """The manager inside works, apart it is this error. Where all shared memory is files, those are what is missed."""
    no_memory = r"StartError: .*(No usable temporary directory|No space left on device)"
    assert re.match(no_memory if portable.FORCED else "works$", outcome["inside"]), outcome["inside"]
    assert re.match(error, outcome["apart"]), outcome["apart"]


def test_a_read_only_machine(folder: Path) -> None:
    needs_mounts()
    is_as_inside_only(Place(steps=[["own_mounts"], ["all_read_only"]]).run(folder), NO_PLACE)


@pytest.mark.parametrize("options", ["size=1m", "size=1m,nr_inodes=4"], ids=["no room", "no more files"])
def test_a_temporary_directory_that_becomes_full(folder: Path, options: str) -> None:
    needs_mounts()
    place = Place(steps=[["own_mounts"], ["tmpfs", "{folder}/tmp", options]], before=FULL)
    is_as_inside_only(place.run(folder), NO_PLACE)


def test_a_working_directory_that_is_gone(folder: Path) -> None:
    assert Place(steps=[["removed_directory", "{folder}/gone"]]).run(folder) == WORKS


@pytest.mark.parametrize("mask", [0o777, 0o177])
def test_a_umask_that_takes_everything_away(folder: Path, mask: int) -> None:
    """As a user whom permissions concern."""
    assert Place(steps=[*other_user(), ["umask", mask]]).run(folder) == WORKS


@pytest.mark.parametrize(
    "steps",
    [
        [["tmpfs", "/dev/shm", "size=4k,mode=0"]],
        [["tmpfs", "/dev/shm", "size=4k"], ["read_only", "/dev/shm"]],
        [["tmpfs", "/dev/shm", "size=4k"], ["fill", "/dev/shm/fill"]],
        [["tmpfs", "/proc", "size=4k"]],
    ],
    ids=["shm forbidden", "shm read-only", "shm full", "no proc"],
)
def test_neither_dev_shm_nor_proc_is_needed(folder: Path, steps: list[list[object]]) -> None:
    """Shared memory has no names, so that it is in no file system that can be seen."""
    needs_mounts()
    assert Place(steps=[["own_mounts"], *steps]).run(folder) == WORKS


def test_names_that_the_locale_cannot_say(folder: Path) -> None:
    place = Place(
        environment={
            "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii",
            "TMPDIR": "{folder}/tmp/\u00e9\u4e16",
        },
        command=["{folder}/\u00e9\u4e16.py"],
        before=MAKE_TMPDIR,
    )  # fmt: skip
    (folder / "\u00e9\u4e16.py").symlink_to("program.py")
    assert place.run(folder) == WORKS
