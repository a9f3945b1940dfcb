"""Running a small program (program.py) in a bad environment, as a fresh process, and what came of it.

    Place(steps=..., environment=..., flags=...).run(folder)  ->  {"inside": "works", "apart": "StartError: ..."}

enter.py makes the place, in the new process, and becomes the program. The tests' own fixture looks for processes that
are left; the program itself looks for files, which nobody else may see.
"""

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("program.py")
LIMIT_S = 90

BOTH = ("inside", "apart")
WORKS = dict.fromkeys(BOTH, "works")

Step = list[object]


@dataclass
class Place:
    """Where and how the program runs. In texts, {folder} is the case's own folder, {program} the program's file.

    command: what follows the interpreter and its flags; the program's file, usually.
    before, after: the program's own code around its use of pools; extra: see program.py.
    environment: None takes a variable away.
    """

    steps: list[Step] = field(default_factory=list)
    environment: dict[str, str | None] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=lambda: ["{program}"])
    interpreter: str = sys.executable
    arrangements: tuple[str, ...] = BOTH
    before: str = ""
    after: str = ""
    extra: str = ""
    stdin: str = os.devnull
    stderr: str = ""  # what it said; known after `run`

    def run(self, folder: Path) -> dict[str, str]:
        """Run it: for each arrangement "works", or the error."""
        temporary = folder / "tmp"
        temporary.mkdir()
        temporary.chmod(0o1777)
        program = folder / "program.py"
        program.write_text(PROGRAM.read_text())
        names = {"{folder}": str(folder), "{program}": str(program), "{source}": PROGRAM.read_text()}

        def filled(text: object) -> object:
            for name, value in names.items():
                text = text.replace(name, value) if isinstance(text, str) else text
            return text

        read, write = os.pipe()
        case = {
            "say": write,
            "path": [str(ROOT), *([sysconfig.get_path("purelib")] if "-S" in self.flags else [])],
            "arrangements": self.arrangements,
            **{name: filled(getattr(self, name)) for name in ("before", "after", "extra")},
        }
        environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": None, **self.environment}
        variables = {name: str(filled(value)) for name, value in environment.items() if value is not None}
        steps = json.dumps([[filled(part) for part in step] for step in self.steps])
        enter = [sys.executable, "-I", "-S", str(PROGRAM.with_name("enter.py")), steps]
        command = [self.interpreter, *self.flags, *self.command]
        with open(str(filled(self.stdin)), "rb") as stdin, open(folder / "stderr", "w+b") as stderr:
            process = subprocess.Popen(
                [*enter, *(str(filled(part)) for part in command)],
                env={**variables, "CASE": json.dumps(case)},
                cwd=folder,
                stdin=stdin,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[write],
                start_new_session=True,
            )
        os.close(write)
        try:
            code = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it hangs; it said {self._said(read, folder)}") from None
        finally:
            os.set_blocking(read, False)
        return self._outcome(code, read, folder)

    def _outcome(self, code: int, read: int, folder: Path) -> dict[str, str]:
        reports = [json.loads(line) for line in self._said(read, folder).splitlines()]
        assert len(reports) == len(self.arrangements), f"it said {reports}, exit code {code}:\n{self.stderr[-3000:]}"
        assert code == 0, f"exit code {code}:\n{self.stderr[-3000:]}"
        assert not any(left for _, _, left in reports), f"files are left: {reports}"
        return {arrangement: outcome for arrangement, outcome, _ in reports}

    def _said(self, read: int, folder: Path) -> str:
        try:
            return os.read(read, 1 << 16).decode()
        except BlockingIOError:
            return ""
        finally:
            os.close(read)
            self.stderr = (folder / "stderr").read_text(errors="replace")


def other_user() -> list[Step]:
    """Steps to be a user without rights, without a home and with no other process; none if we are no root."""
    if os.getuid():
        return []
    needs_mounts()
    reached = [str(ROOT), sys.prefix, sys.base_prefix, "{folder}"]
    number = 60000 + os.getpid() % 5000  # which /etc/passwd does not know
    return [["own_mounts"], ["open_to_all", *dict.fromkeys(reached)], ["user", number]]


def needs(step: str, *arguments: object) -> None:
    """Skip the test where this step is not possible."""
    problem = _why_not(step, *arguments)
    if problem:
        pytest.skip(f"{step} is not possible here: {problem}")


def needs_mounts() -> None:
    """Skip the test where we may not have mounts of our own."""
    needs("own_mounts")


@cache
def _why_not(*step: object) -> str:
    command = [sys.executable, "-I", "-S", str(PROGRAM.with_name("enter.py")), json.dumps([step]), "/bin/true"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
