"""The fixtures of these tests."""

import os

import pytest

from tests.recovery.arrangement import arrangement

__all__ = ["arrangement"]


@pytest.fixture(scope="session")
def kill_rounds(kill_rounds: int) -> int:
    """--kill-rounds, or what the environment says, for runs that can't pass options."""
    return int(os.environ.get("PARSL_POOL_KILL_ROUNDS", kill_rounds))
