"""The fixtures of these tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.exits.scripts import Script
from tests.recovery.arrangement import arrangement

__all__ = ["arrangement"]

Runner = Callable[..., Script]


@pytest.fixture
def run(tmp_path: Path, manager_inside: bool) -> Iterator[Runner]:
    """Starts a script with this body; it is ended, and all that it started, when the test is over."""
    with ExitStack() as stack:
        yield lambda body, **environment: stack.enter_context(
            Script(tmp_path, body, manager_inside, PYTHONFAULTHANDLER="1", **environment)
        )
