"""How Python was started, and whether that is known."""

import re
import sys
from pathlib import Path

import pytest

from tests.environments.places import WORKS, Place

pytestmark = pytest.mark.timeout(120)

FLAGS = [
    ["-I"], ["-E", "-s", "-u"], ["-S"], ["-O"], ["-OO", "-B"], ["-bb"],
    ["-X", "dev"], ["-X", "utf8=0"], ["-W", "error"],
]  # fmt: skip
if sys.version_info >= (3, 11):
    FLAGS.append(["-P"])


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_options(folder: Path, flags: list[str]) -> None:
    """Tasks run with them, too: the program compares."""
    place = Place(flags=flags, environment={"PYTHONDONTWRITEBYTECODE": None})
    assert place.run(folder) == WORKS
    assert "Warning" not in place.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": None},
        {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "1", "PYTHONDEVMODE": "1", "PYTHONFAULTHANDLER": "1"},
        {"PATH": None, "PYTHONMALLOC": "debug", "PYTHONSTARTUP": "/none", "PYTHONINSPECT": "1"},
    ],
    ids=["safe path", "warnings", "no path"],
)
def test_options_in_the_environment(folder: Path, environment: dict[str, str | None]) -> None:
    assert Place(environment=environment).run(folder) == WORKS


@pytest.mark.parametrize("flag", ["-I", "-E"])
def test_what_an_option_keeps_out_stays_out(folder: Path, flag: str) -> None:
    """Modules on PYTHONPATH that would take the place of the standard library's."""
    modules = folder / "modules"
    modules.mkdir()
    for name in ("select", "socket", "queue", "random", "struct", "zmq"):
        (modules / f"{name}.py").write_text(f"raise SystemExit('this is no {name}')")
    assert Place(flags=[flag], environment={"PYTHONPATH": "{folder}/modules"}).run(folder) == WORKS


@pytest.mark.parametrize("unknown", ["None", "''"])
def test_an_embedded_python_finds_its_interpreter(folder: Path, unknown: str) -> None:
    assert Place(before=f"sys.executable = {unknown}").run(folder) == WORKS


NOWHERE = "sys.executable = None\nsys.exec_prefix = sys.base_exec_prefix = '/none'\n"


def test_an_embedded_python_is_told_its_interpreter(folder: Path) -> None:
    before = NOWHERE + f"import multiprocessing\nmultiprocessing.set_executable({sys.executable!r})"
    assert Place(before=before).run(folder) == WORKS


def test_an_embedded_python_without_an_interpreter(folder: Path) -> None:
    for text in Place(before=NOWHERE).run(folder).values():
        assert re.match(r"StartError: .*multiprocessing\.set_executable\(\)", text, re.S), text


OTHER_VERSION = """#!/bin/sh
BOOT="$2"; export BOOT; shift 2
exec "{python}" -c 'import os, sys; sys.version_info = (3, 4, 0); exec(os.environ["BOOT"])' "$@"
"""


@pytest.mark.parametrize(
    "program, outcome",
    [
        ("#!/bin/sh\necho no licence today >&2; exit 3\n", r"PoolBroken: .*exit code 3, and said: no licence today"),
        ("#!/bin/sh\nexit 0\n", r"PoolBroken: .*ended with exit code 0\ncommand: .*interchange"),
        ("no program", r"StartError: .*(Exec format error|exit code).*command: "),
        (OTHER_VERSION.replace("{python}", sys.executable), r"PoolBroken: .*this is Python 3\.4, the program runs \(3"),
        ("#!/bin/sh\nexec sleep 1000\n", r"PoolBroken: .*SIGKILL.*\ncommand: "),
    ],
    ids=["fails", "is something else", "is no program", "is another version", "hangs"],
)
def test_an_interpreter_that_is_none(folder: Path, program: str, outcome: str) -> None:
    path = folder / "python"
    path.write_text(program)
    path.chmod(0o755)
    patience = "from parsl_pool.executors.high_throughput import watchdog as w; w.START_S = 2; w.PING_S = 0.5\n"
    place = Place(before=f"{patience}sys.executable = {str(path)!r}")
    for text in place.run(folder).values():
        assert re.match(outcome, text, re.S), text
