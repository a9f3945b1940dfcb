"""The programs in examples/workflows run, and print what they should."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "workflows"

PRINTS = {
    "hello": "Hello, world!\nHELLO, WORLD!\n",
    "bag_of_tasks": "the longest way below 1000 has 871: 178 steps\n",
    "chain": "100\n",
    "diamond": "from 1 to 3\n",
    "files": "2825\n",
    "remote_files": "apple\nfig\npear\nSMALL LETTERS\n",
    "map_reduce": "[('the', 3), ('dog', 2)]\n",
    "pi": "3.14\n",
    "recursive": "144\n[0, 1, 4, 9]\n",
    "other_systems": "19\n",
    "two_places": "False 2470\n",
    "model_once": "[9, 900, 90000]\n",
    "retry_until_right": "0 3 1 the command of bash app hopeless ended with exit code 1\n",
    "resources": "10000 [0, 1, 4, 9]\nInvalidResourceSpecification\n",
    "docking": "(-65, 'globin', 'heme')\n",
    "mpi": "8 1 1\n8 2 2\n16 1 1\n16 2 2\n",
    "project/run": "0 + 1 = 1\n1 + 1 = 2\n2 + 1 = 3\n3 + 1 = 4\n4 + 1 = 5\n",
}
NO_MPI = pytest.mark.skipif(not shutil.which("mpiexec"), reason="there is no mpiexec (Debian: mpich, openmpi-bin)")


def test_each_program_is_here_and_in_the_table() -> None:
    programs = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py")}
    assert programs == {*PRINTS, "project/config", "project/library"}
    table = (FOLDER / "README.md").read_text()
    assert all(f"`{name}.py`" in table for name in PRINTS)
    assert all(f"`{path.name}`" in table for path in FOLDER.glob("*.ipynb"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [pytest.param(name, marks=NO_MPI if name == "mpi" else ()) for name in PRINTS])
def test_a_program(name: str, tmp_path: Path) -> None:
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    clean = {**os.environ, **as_root, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning"}
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py")],
        cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.stdout == PRINTS[name], done.stderr
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"runinfo"}, "it has left something"
