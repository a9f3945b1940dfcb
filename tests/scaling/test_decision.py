"""How many blocks there are to be: examples, and thousands of random loads."""

from collections import Counter
from random import Random

import pytest

from parsl_pool.scaling.decision import STRATEGIES, BlockView, Idleness, Limits, Load, Plan, View, decide, wanted
from tests.scaling.simulated import Simulation, random_limits

SCALING = ["simple", "htex_auto_scale"]
LIMITS = Limits(least=0, most=10, parallelism=1, slots=4, max_idletime=120)


def up(*idle_s: float) -> tuple[BlockView, ...]:
    return tuple(BlockView(str(number), True, idle) for number, idle in enumerate(idle_s))


def view(tasks: int, blocks: tuple[BlockView, ...] = (), idle_s: float = 0, surplus_s: float = 0) -> View:
    return View(tasks, idle_s, surplus_s, blocks, 0)


@pytest.mark.parametrize("tasks, blocks", [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (100, 2)])
def test_with_two_workers_a_block_and_two_tasks_a_worker_the_fifth_task_asks_for_a_second_block(
    tasks: int, blocks: int
) -> None:
    assert wanted(tasks, Limits(least=1, most=2, parallelism=0.5, slots=2, max_idletime=120)) == blocks


@pytest.mark.parametrize(
    "least, parallelism, tasks, blocks",
    [
        (0, 0, 0, 0), (0, 0, 1, 1), (0, 0, 1000, 1), (3, 0, 0, 3), (3, 0, 1000, 3),
        (0, 1, 1, 1), (0, 1, 4, 1), (0, 1, 5, 2), (0, 1, 40, 10), (0, 1, 1000, 10),
        (0, 0.5, 8, 1), (0, 0.5, 9, 2), (0, 0.1, 120, 3), (0, 0.1, 121, 4),
    ],
)  # fmt: skip
def test_parallelism_is_the_number_of_slots_for_a_task(least: int, parallelism: float, tasks: int, blocks: int) -> None:
    assert wanted(tasks, LIMITS._replace(least=least, parallelism=parallelism)) == blocks


@pytest.mark.parametrize("strategy", SCALING)
def test_what_is_about_to_end_still_counts_with_the_scheduler(strategy: str) -> None:
    seen = view(1000, up(0, 0, 0))._replace(leaving=5)
    assert decide(strategy, LIMITS, seen) == Plan(start=2)


def test_none_starts_nothing_and_ends_nothing() -> None:
    assert decide("none", LIMITS, view(1000)) == Plan()
    assert decide("none", LIMITS, view(0, up(1e6, 1e6), idle_s=1e6)) == Plan()


def test_what_no_config_has_told_its_strategy_keeps_what_it_has() -> None:
    limits = LIMITS._replace(kept=3)
    assert decide("keep", limits, view(0, up(1e6))) == Plan(start=2)
    assert decide("keep", limits, view(1000, up(0, 0, 0))) == Plan()


def test_simple_ends_all_that_need_not_be_when_nothing_has_been_to_do_for_long() -> None:
    limits = LIMITS._replace(least=1)
    assert decide("simple", limits, view(1, up(500, 500, 0))) == Plan()
    assert decide("simple", limits, view(0, up(500, 500, 119), idle_s=119)) == Plan()
    assert decide("simple", limits, view(0, up(300, 500, 120), idle_s=120)) == Plan(release=("1", "0"))


def test_auto_ends_single_blocks_that_have_been_idle_for_longest() -> None:
    blocks = up(0, 500, 119, 121)
    assert decide("htex_auto_scale", LIMITS, view(4, blocks)) == Plan(release=("1", "3"))
    assert decide("htex_auto_scale", LIMITS, view(12, blocks)) == Plan(release=("1",))
    assert decide("htex_auto_scale", LIMITS, view(16, blocks)) == Plan()


def test_auto_takes_blocks_out_of_the_queue_that_nobody_has_wanted_for_long() -> None:
    blocks = (*up(0), BlockView("1", False, 0), BlockView("2", False, 0))
    assert decide("htex_auto_scale", LIMITS, view(4, blocks, surplus_s=119)) == Plan()
    assert decide("htex_auto_scale", LIMITS, view(4, blocks, surplus_s=120)) == Plan(release=("2", "1"))
    assert decide("htex_auto_scale", LIMITS, view(8, blocks, surplus_s=120)) == Plan(release=("2",))


def test_a_block_of_which_nothing_is_known_counts_as_busy() -> None:
    """The interchange may be too busy to answer."""
    idleness = Idleness()
    for now in (0, 1000, 2000):
        seen = idleness.view(LIMITS, {"0": True, "1": True}, {"1": Load(0)}, 0, 0, 0, now)
    assert [block.idle_s for block in seen.blocks] == [0, 2000]


def test_tasks_that_come_and_go_between_two_looks_count() -> None:
    idleness = Idleness()
    seen = [idleness.view(LIMITS, {"0": True}, {"0": Load(0, 1.0)}, 0, now, 0, 10 * now) for now in range(20)]
    assert {one.idle_s for one in seen} == {0}


RUNS = 500
"""For each of two strategies, with managers that say since when they are idle and with those that don't: 2,000."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "seen"])
@pytest.mark.parametrize("strategy", SCALING)
def test_random_loads_never_leave_the_bounds_nor_end_what_is_busy(strategy: str, exact: bool) -> None:
    met: Counter[str] = Counter()
    for seed in range(RUNS):
        random = Random(seed)
        limits, init = random_limits(random)
        one = Simulation(strategy, limits, init, random.choice([0, 1, 7, 60]), random.choice([1, 5]), exact)
        busy = random.random()
        for _ in range(100):
            if random.random() < 0.05:
                busy = random.choice([0, 0, 0, 0.1, 1])
            one.advance([random.choice([1, 1, 3, 20]) for _ in range(3) if random.random() < busy])
            alive = sum(not block.is_leaving for block in one.blocks.values())
            assert limits.least <= alive <= len(one.blocks) <= limits.most, f"seed {seed}, second {one.now}"
        for step in one.steps:
            assert not any(step.held[number] for number in step.plan.release), f"seed {seed}, second {step.now}"
            assert not (step.plan.start and step.plan.release), f"seed {seed}, second {step.now}"
            met.update(start=step.plan.start, release=len(step.plan.release), blocks=len(step.view.blocks))
    assert met["start"] > RUNS and met["release"] > 50 and met["blocks"] > 1000, met


@pytest.mark.timeout(60)
@pytest.mark.parametrize("strategy", SCALING)
def test_under_a_constant_load_nothing_comes_and_goes(strategy: str) -> None:
    """As many tasks at any time: what ends is replaced at once."""
    met: Counter[int] = Counter()
    for seed in range(RUNS // 2):
        random = Random(seed)
        limits, init = random_limits(random)
        one = Simulation(strategy, limits, init, random.choice([0, 1, 7, 60]), random.choice([1, 5]), True)
        tasks, lasts = random.choice([1, 2, 7, 40]), random.choice([1, 3, 20])
        for _ in range(300):
            under_way = len(one.waiting) + sum(
                sum(end > one.now + 1 for end in block.ends) for block in one.blocks.values()
            )
            one.advance([lasts] * (tasks - under_way))
        late = [step for step in one.steps if step.now > 200]
        assert not any(step.plan.start or step.plan.release for step in late), f"seed {seed}"
        assert all(len(step.view.blocks) >= wanted(tasks, limits) for step in late), f"seed {seed}"
        met[len(late[0].view.blocks)] += 1
    assert len(met) > 5, met


@pytest.mark.parametrize("strategy", SCALING)
def test_when_all_is_done_only_those_are_left_that_have_to_be(strategy: str) -> None:
    for seed in range(100):
        random = Random(seed)
        limits, init = random_limits(random)
        one = Simulation(strategy, limits, init, 7, 5, True)
        one.advance([3] * 50)
        for _ in range(1000):
            one.advance([])
        assert len(one.blocks) == limits.least and not one.waiting, f"seed {seed}"


def test_each_strategy_of_a_config_is_there() -> None:
    from parsl_pool import config  # not at the top: this is all that is wanted of it

    assert set(STRATEGIES) - {"keep"} == set(config.STRATEGIES)
