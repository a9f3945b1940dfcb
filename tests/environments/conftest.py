"""The fixtures of these tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one case, which every user may write to who can reach it."""
    path = Path(tempfile.mkdtemp(prefix="e-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)
