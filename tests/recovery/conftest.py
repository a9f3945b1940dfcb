"""The fixtures of these tests."""

import os

import pytest

from tests.recovery.arrangement import arrangement

__all__ = ["arrangement"]


def rounds_of(config: pytest.Config) -> int:
    """--kill-rounds, or what the environment says, for runs that can't pass options."""
    return int(os.environ.get("PARSL_POOL_KILL_ROUNDS", config.getoption("--kill-rounds")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `kill_round` runs once for each: every round has its own limit, and is looked after alone."""
    if "kill_round" in metafunc.fixturenames:
        metafunc.parametrize("kill_round", range(rounds_of(metafunc.config)))


@pytest.fixture(scope="session")
def kill_rounds(pytestconfig: pytest.Config) -> int:
    """How often a test that counts for itself kills."""
    return rounds_of(pytestconfig)
