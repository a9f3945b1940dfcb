"""The program whose cost is measured, from outside: what pytest itself does is not counted."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Program:
    """tests/cost/program.py, running."""

    def __init__(self, workers: int, manager_inside: bool) -> None:
        arrangement = "inside" if manager_inside else "apart"
        command = [sys.executable, "-m", "tests.cost.program", str(workers), arrangement]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def sizes(self, command: str) -> dict[int, int]:
        """What each of its processes has in memory after the command."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return {int(pid): size for pid, size in json.loads(self._process.stdout.readline()).items()}

    def end(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture
def start_program(manager_inside: bool) -> Iterator[Callable[[int], Program]]:
    programs: list[Program] = []

    def start(workers: int) -> Program:
        programs.append(Program(workers, manager_inside))
        return programs[-1]

    yield start
    for program in programs:
        program.end()


@pytest.fixture
def program(start_program: Callable[[int], Program]) -> Program:
    return start_program(2)
