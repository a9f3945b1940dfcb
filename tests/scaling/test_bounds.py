"""Blocks that fail in a row, fuses, who is to blame, and the handlers: all without a clock."""

from collections.abc import Callable
from typing import Any

import pytest

from parsl_pool.errors import PoolBroken
from parsl_pool.providers import JobState, JobStatus
from parsl_pool.scaling.blame import Blame
from parsl_pool.scaling.error_handlers import noop_error_handler, simple_error_handler, windowed_error_handler
from parsl_pool.scaling.fuses import Budget, Fuses
from parsl_pool.scaling.streak import Streak
from parsl_pool.scaling.table import Block, BlockStage, Fault

HOUR = 3600.0


def block(number: int, began: float | None, ended: float | None = None) -> Block:
    one = Block(str(number), 0.0)
    one.began, one.ended = began, ended
    one.stage = BlockStage.UP if ended is None else BlockStage.ENDED
    return one


# -- in a row


def test_the_pause_grows_with_each_block_that_fails_and_one_that_works_ends_it() -> None:
    streak = Streak()
    pauses = []
    for _ in range(16):
        streak.failed(Fault.MISSING, "no licence", 100.0)
        pauses.append(streak.pause_s(100.0))
    assert pauses[:5] == [0, 0, 1, 2, 4] and pauses[-1] == 600.0 and pauses == sorted(pauses)
    assert streak.is_cautious and streak.pause_s(701.0) == 0
    streak.manager_up()
    assert streak.pause_s(100.0) == 0 and not streak.is_cautious


@pytest.mark.parametrize("fault, tries", [(Fault.REFUSED, 3), (Fault.MISSING, 3), (Fault.LATE, 2), (Fault.USELESS, 3)])
def test_after_so_many_there_is_no_hope(fault: Fault, tries: int) -> None:
    streak = Streak()
    for number in range(tries):
        assert not streak.hopeless()
        streak.failed(fault, f"words of block {number}", 0.0)
    assert f"{tries} blocks in a row" in streak.hopeless() and f"words of block {tries - 1}" in streak.hopeless()
    streak.manager_up()
    streak.worker_up()
    assert not streak.hopeless()


def test_blocks_that_come_and_go_without_doing_anything_are_started_less_and_less() -> None:
    streak = Streak()
    for _ in range(8):
        streak.vanished(False, 50.0)
    assert streak.pause_s(50.0) == 32 and not streak.hopeless()
    streak.vanished(True, 60.0)
    assert streak.pause_s(60.0) == 0


# -- fuses


def test_node_hours_are_those_of_all_nodes_of_blocks_that_run_or_have_run() -> None:
    budget = Budget(Fuses(node_hours=10), nodes_per_block=2)
    blocks = [block(0, 0.0, HOUR), block(1, HOUR), block(2, None)]
    assert budget.node_hours(blocks, 2 * HOUR) == 4 and not budget.is_blown(blocks, 2 * HOUR)
    assert budget.next_look_s(blocks, 2 * HOUR) == 3 * HOUR
    assert budget.node_hours(blocks[1:], 3 * HOUR) == 6, "the table has forgotten one that it counted"
    assert budget.is_blown(blocks, 5 * HOUR) and not budget.is_blown(blocks, 5 * HOUR - 1)


def test_no_more_jobs_an_hour_than_the_user_says() -> None:
    budget = Budget(Fuses(submissions_per_hour=3), 1)
    for now in (0.0, 10.0, 20.0):
        assert budget.room(now) and budget.free_in_s(now) == 0
        budget.submitted(now)
    assert budget.room(30.0) == 0 and budget.free_in_s(30.0) == HOUR - 30
    assert budget.room(HOUR) == 1 and budget.room(HOUR + 20) == 3


def test_without_fuses_nothing_is_counted() -> None:
    budget = Budget(Fuses(), 1)
    budget.submitted(0.0)
    assert budget.room(0.0) is None and budget.next_look_s([block(0, 0.0)], 1e9) is None
    assert not budget.is_blown([block(0, 0.0)], 1e9)


# -- blame


def test_a_task_that_was_running_in_two_lost_places_is_named_once() -> None:
    blame = Blame()
    assert blame.lost("n1", ["task 7 (fit)", "task 8 (plot)"]) == []
    (suspect,) = blame.lost("n2", ["task 7 (fit)", "task 9 (plot)"])
    assert suspect.name == "task 7 (fit)" and "2 places that were lost (on n1, n2)" in suspect.text
    assert blame.lost("n3", ["task 7 (fit)"]) == [] and blame.explain()[0].startswith("task 7 (fit) was running in 3")
    assert not blame.nodes


def test_a_node_that_loses_the_tasks_of_several_is_named_and_one_that_a_task_ends_is_not() -> None:
    blame = Blame()
    for number in range(3):
        news = blame.lost("bad", [f"task {number}"])
        blame.lost("good", ["the culprit"])
    assert [(suspect.kind, suspect.name) for suspect in news] == [("node", "bad")] and blame.nodes == {"bad"}


def test_a_place_where_nothing_was_running_is_nobodys_fault() -> None:
    blame = Blame()
    assert not any(blame.lost("n1", []) for _ in range(10)) and not blame.explain()


# -- handlers

STATES = {"r": JobState.RUNNING, "p": JobState.PENDING, "f": JobState.FAILED, "m": JobState.MISSING,
          "t": JobState.TIMEOUT, "c": JobState.CANCELLED, "o": JobState.COMPLETED}  # fmt: skip


class Executor:
    label = "far"

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def set_bad_state_and_fail_all(self, exception: BaseException) -> None:
        self.errors.append(exception)


def given_up(handler: Callable[..., Any], states: str, **options: Any) -> list[BaseException]:
    executor = Executor()
    status = {str(number): JobStatus(STATES[letter], f"words {number}") for number, letter in enumerate(states)}
    handler(executor, status, **options)
    return executor.errors


@pytest.mark.parametrize(
    "states, simple, windowed",
    [
        ("", 0, 0), ("f", 0, 0), ("ff", 0, 0), ("fff", 1, 1), ("fmf", 1, 1), ("mmm", 1, 1),
        ("ttt", 0, 0), ("ftf", 0, 0), ("ccc", 0, 0), ("fcf", 0, 0), ("rfff", 0, 1), ("offfff", 0, 1),
        ("fffr", 0, 0), ("ffp", 0, 0), ("fffp", 1, 0), ("fffff", 1, 1), ("tfff", 0, 1),
    ],
)  # fmt: skip
def test_handlers_give_up_after_the_first_or_the_latest_blocks(states: str, simple: int, windowed: int) -> None:
    assert len(given_up(simple_error_handler, states)) == simple
    assert len(given_up(windowed_error_handler, states)) == windowed
    assert not given_up(noop_error_handler, states)


@pytest.mark.parametrize("handler", [simple_error_handler, windowed_error_handler])
def test_what_the_jobs_have_said_is_in_the_error(handler: Callable[..., Any]) -> None:
    (error,) = given_up(handler, "mf", threshold=2)
    assert isinstance(error, PoolBroken) and "2 blocks have all failed" in str(error)
    assert "block 0 (MISSING): words 0" in str(error) and "block 1 (FAILED): words 1" in str(error)
