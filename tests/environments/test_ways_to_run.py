"""Programs that are no plain file: zip, package, -c, stdin, runpy; virtual environments; and what lies beside them."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.environments.places import PROGRAM, WORKS, Place

pytestmark = pytest.mark.timeout(120)


def test_a_zip_file(folder: Path) -> None:
    with zipfile.ZipFile(folder / "app.zip", "w") as app:
        app.writestr("__main__.py", PROGRAM.read_text())
    assert Place(command=["{folder}/app.zip"]).run(folder) == WORKS


def test_a_package(folder: Path) -> None:
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM.read_text())
    assert Place(command=["-m", "package"]).run(folder) == WORKS


@pytest.mark.parametrize(
    "command",
    [["-c", "{source}"], ["-c", "import runpy; runpy.run_path('program.py', run_name='__main__')"]],
    ids=["a text", "runpy"],
)
def test_a_command(folder: Path, command: list[str]) -> None:
    assert Place(command=command).run(folder) == WORKS


def test_standard_input(folder: Path) -> None:
    assert Place(command=["-"], stdin=str(PROGRAM)).run(folder) == WORKS


def test_a_virtual_environment_with_linked_interpreter(folder: Path) -> None:
    environment = folder / "an environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", environment], check=True, timeout=60)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "more.pth").write_text(sysconfig.get_path("purelib"))
    assert Place(interpreter=str(environment / "bin" / "python")).run(folder) == WORKS


# Not what cloudpickle imports: that happens in workers, where the program's path is the tasks' own.
SHADOWS = "queue random socket select signal mmap tempfile zmq parsl_pool".split()


@pytest.mark.parametrize("command", [["{program}"], ["-c", "{source}"]], ids=["a file", "-c"])
def test_modules_beside_the_program_with_our_names_or_the_standard_librarys(folder: Path, command: list[str]) -> None:
    """The program has seen to it that it gets the right ones; the pool's processes must do so, too."""
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"raise SystemExit('this is no {name}')")
    first = f"import sys; own = sys.path.pop(0); import {', '.join(SHADOWS)}; sys.path.insert(0, own)\n"
    source = f"import sys; sys.path.insert(1, {str(Path(__file__).parents[2])!r})\n" + first + PROGRAM.read_text()
    (folder / "own.py").write_text(source)
    command = ["{folder}/own.py"] if command == ["{program}"] else ["-c", source]
    assert Place(command=command).run(folder) == WORKS


def test_a_working_directory_with_such_modules(folder: Path) -> None:
    place_of_modules = folder / "modules"
    place_of_modules.mkdir()
    for name in SHADOWS:
        (place_of_modules / f"{name}.py").write_text(f"raise SystemExit('this is no {name}')")
    assert Place(steps=[["chdir", "{folder}/modules"]]).run(folder) == WORKS
