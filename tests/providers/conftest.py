"""Providers that end their blocks, and a directory whose name asks for quoting."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool.providers import LocalProvider
from tests.eventually import eventually

SHELLS = [shell for shell in ("/bin/sh", "/bin/bash") if Path(shell).exists()]


@pytest.fixture
def script_dir(tmp_path: Path) -> Path:
    return tmp_path / 'it\'s a "dir" $HOME é `x` 100% \\'


@pytest.fixture
def new_provider(script_dir: Path) -> Iterator[Callable[..., LocalProvider]]:
    """Makes providers; their blocks end with the test."""
    made: list[LocalProvider] = []

    def new(**options: Any) -> LocalProvider:
        made.append(LocalProvider(**{"script_dir": script_dir, "cmd_timeout": 10, **options}))
        return made[-1]

    yield new
    for provider in made:
        assert all(provider.cancel(list(provider._blocks)))


@pytest.fixture
def provider(new_provider: Callable[..., LocalProvider]) -> LocalProvider:
    return new_provider()


def pid_in(path: Path) -> psutil.Process:
    """The process that has written its number there."""
    return psutil.Process(int(eventually(lambda: path.exists() and path.read_text())))


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
