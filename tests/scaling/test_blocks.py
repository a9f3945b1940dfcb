"""How often the keeper of the blocks asks their provider."""

from collections.abc import Callable
from typing import Any

import pytest

from parsl_pool.providers import BlockLimits, ExecutionProvider, JobState, JobStatus
from parsl_pool.scaling.blocks import BlockKeeper, BlockStage


class Queue(ExecutionProvider):
    """One whose jobs wait, or are in what state the test says."""

    label = "queue"

    def __init__(self, interval: float) -> None:
        self.limits = BlockLimits()
        self.status_polling_interval = interval
        self.state = JobState.PENDING
        self.asked = 0

    def submit(self, command: str, tasks_per_node: int, job_name: str = "") -> str:
        return job_name

    def status(self, job_ids: Any) -> list[JobStatus]:
        self.asked += 1
        return [JobStatus(self.state) for _ in job_ids]

    def cancel(self, job_ids: Any) -> list[bool]:
        return [True for _ in job_ids]


Make = Callable[[Queue], BlockKeeper]


@pytest.fixture
def given_up() -> list[str]:
    return []


@pytest.fixture
def keeper_of(given_up: list[str]) -> Make:
    """Makes one that has looked once, and so has a block. Its thread does not run: the test looks."""

    def make(provider: Queue) -> BlockKeeper:
        keeper = BlockKeeper("pool", provider, 1, lambda block: "true", given_up.append, lambda: True, 60.0)
        keeper._look()
        return keeper

    return make


def age(keeper: BlockKeeper, seconds: float) -> None:
    for block in keeper.blocks.values():
        block.since -= seconds


@pytest.mark.parametrize("interval", [0.5, 30.0, 300.0])
def test_a_provider_is_not_asked_more_often_than_it_says(keeper_of: Make, interval: float) -> None:
    keeper = keeper_of(Queue(interval))
    assert keeper._pause() == interval, "just submitted"
    age(keeper, 1e6)
    assert keeper._pause() == max(interval, 1.0), "waits for long"
    keeper.manager_up("0")
    assert keeper._pause() >= interval and keeper._pause() >= 30, "is up"


def test_a_block_that_waits_for_long_is_looked_at_less_and_less(keeper_of: Make) -> None:
    keeper = keeper_of(Queue(0.1))
    pauses = [keeper._pause()]
    for _ in range(8):
        age(keeper, 1.0)
        pauses.append(keeper._pause())
    assert pauses[0] == 0.1 and pauses[-1] == 1.0 and pauses == sorted(pauses)


def test_when_its_job_begins_it_is_looked_at_often_again(keeper_of: Make) -> None:
    """Jobs that end at once are noticed at once."""
    provider = Queue(0.1)
    keeper = keeper_of(provider)
    age(keeper, 1000.0)
    provider.state = JobState.RUNNING
    keeper._look()
    assert keeper.blocks["0"].stage is BlockStage.STARTED and keeper._pause() == 0.1


def test_no_interval_is_no_loop(keeper_of: Make) -> None:
    assert keeper_of(Queue(0.0))._pause() == 0.1


def test_two_blocks_that_use_up_their_time_are_enough(keeper_of: Make, given_up: list[str]) -> None:
    provider = Queue(0.1)
    provider.state = JobState.RUNNING
    keeper = keeper_of(provider)
    for number in ("0", "1"):
        keeper._look()
        keeper._look()  # the one before may have had to replace a block first
        assert keeper.blocks[number].stage is BlockStage.STARTED and not given_up
        age(keeper, 61.0)
    keeper._look()
    assert len(given_up) == 1 and given_up[0].startswith("2 blocks in a row")


def test_a_manager_that_registers_takes_back_what_was_held_against_others(
    keeper_of: Make, given_up: list[str]
) -> None:
    provider = Queue(0.1)
    provider.state = JobState.RUNNING
    keeper = keeper_of(provider)
    for number in range(6):
        keeper._look()
        keeper._look()
        if number % 2:
            keeper.manager_up(str(number))
            keeper.worker_up(str(number))
            keeper.manager_gone(str(number), "killed")
        else:
            age(keeper, 61.0)
    keeper._look()
    assert len(keeper.blocks) > 5 and not given_up
