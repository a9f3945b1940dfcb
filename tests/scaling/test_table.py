"""The table of blocks: any event in any state."""

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from parsl_pool.providers import JobState, JobStatus
from parsl_pool.scaling.table import CAPACITY, LATE_S, MOVES, Block, BlockStage, BlockTable, Failed, Fault, News, Told

RUNNING, PENDING = JobStatus(JobState.RUNNING), JobStatus(JobState.PENDING, "(Priority)")
FAILED, TIMEOUT = JobStatus(JobState.FAILED, exit_code=3), JobStatus(JobState.TIMEOUT)
UNKNOWN = JobStatus(JobState.UNKNOWN, "squeue says FROZEN")


def submitted(table: BlockTable, now: float = 0.0) -> Block:
    block = table.reserve(now)
    table.submitted(block, f"job{block.number}", now)
    return block


def up(table: BlockTable, *managers: str) -> Block:
    block = submitted(table)
    for manager in managers or ("m",):
        table.manager_up(block.number, manager, "n1", 0, 1.0)
    return block


def faults(news: News) -> list[Fault]:
    return [item.fault for item in news if isinstance(item, Failed)]


def test_a_block_counts_from_the_moment_of_the_submit_call() -> None:
    table = BlockTable()
    block = table.reserve(0.0)
    assert table.capacity() == [block] and table.statuses()["0"].state is JobState.PENDING


def test_a_block_that_was_refused_has_failed_and_counts_no_more() -> None:
    table = BlockTable()
    table.refused(table.reserve(0.0), "no such partition", 1.0)
    status = table.statuses()["0"]
    assert status.state is JobState.FAILED and status.message == "no such partition" and not table.capacity()


@pytest.mark.parametrize("state", sorted(JobState))
def test_what_has_no_manager_yet_is_missing_when_its_job_ends_and_alive_else(state: JobState) -> None:
    table = BlockTable()
    block = submitted(table)
    news = table.seen(block, JobStatus(state), 1.0)
    is_over = JobStatus(state).terminal
    assert faults(news) == [Fault.MISSING] * is_over
    assert (table.statuses()["0"].state is JobState.MISSING) is is_over and bool(table.capacity()) is not is_over


def test_an_unknown_state_is_told_once_and_counts_as_alive() -> None:
    table = BlockTable()
    blocks = [submitted(table), submitted(table)]
    news = [item for _ in range(3) for block in blocks for item in table.seen(block, UNKNOWN, 1.0)]
    assert [type(item) for item in news] == [Told] and table.capacity() == blocks


def test_the_end_of_a_walltime_after_a_manager_was_up_is_told_as_that() -> None:
    table = BlockTable()
    block = up(table)
    assert not faults(table.seen(block, TIMEOUT, 2.0))
    assert table.statuses()["0"].state is JobState.TIMEOUT


def test_a_manager_has_as_long_as_the_user_says_from_when_its_job_runs() -> None:
    table = BlockTable()
    block = submitted(table)
    table.seen(block, PENDING, 1000.0)
    assert table.overdue(60, 2000.0) == []
    table.seen(block, RUNNING, 2000.0)
    assert table.overdue(60, 2000.0 + LATE_S) == []
    (late,) = table.overdue(60, 2000.1 + LATE_S)
    assert isinstance(late, Told) and late.is_late and table.overdue(60, 2059.0) == []
    assert faults(table.overdue(60, 2061.0)) == [Fault.LATE] and block.stage is BlockStage.ENDING
    table.cancelled(block, 2062.0)
    table.seen(block, JobStatus(JobState.CANCELLED), 2063.0)
    assert table.statuses()["0"].state is JobState.MISSING


def test_a_job_that_is_put_back_into_the_queue_waits_again() -> None:
    table = BlockTable()
    block = submitted(table)
    table.seen(block, RUNNING, 1.0)
    table.seen(block, PENDING, 2.0)
    assert block.stage is BlockStage.PENDING and table.overdue(60, 1000.0) == []


def test_a_block_of_two_nodes_goes_on_with_the_manager_that_it_has_left() -> None:
    table = BlockTable()
    block = up(table, "a", "b")
    table.worker_up("0")
    assert table.manager_gone("0", "a", "killed", 2.0) == [] and table.at(BlockStage.UP) == [block]
    assert table.manager_gone("0", "b", "killed", 3.0) == [] and table.at(BlockStage.ENDING) == [block]


@pytest.mark.parametrize("job_first", [True, False])
def test_a_manager_that_ends_before_it_has_a_worker_was_of_no_use(job_first: bool) -> None:
    table = BlockTable()
    block = up(table)
    if job_first:
        table.seen(block, FAILED, 2.0)
    assert faults(table.manager_gone("0", "m", "exit code 9", 2.0)) == [Fault.USELESS]


def test_what_we_have_ended_ourselves_is_no_failure() -> None:
    table = BlockTable()
    blocks = [submitted(table), up(table), up(table)]
    table.end(blocks[0], 2.0)
    table.end(blocks[1], 2.0)
    assert table.drain(blocks[2], 2.0) and table.leaving() == blocks
    for block in blocks[1:]:
        assert table.manager_gone(block.number, "m", "told to end", 3.0) == []
    for block in blocks:
        table.cancelled(block, 3.0)
        assert not faults(table.seen(block, JobStatus(JobState.CANCELLED), 4.0))
    assert {status.state for status in table.statuses().values()} == {JobState.CANCELLED}


def test_a_job_that_we_have_ended_is_asked_for_until_its_end_is_known() -> None:
    table = BlockTable()
    known, unknown = up(table), up(table)
    for block in (known, unknown):
        table.end(block, 1.0)
        table.cancelled(block, 2.0)
    assert table.to_ask_for(3.0) == [known, unknown]
    table.seen(known, TIMEOUT, 3.0)
    assert table.to_ask_for(4.0) == [unknown] and table.to_ask_for(1e4) == []
    assert [status.state for status in table.statuses().values()] == [JobState.TIMEOUT, JobState.CANCELLED]


def test_managers_of_no_block_are_those_that_were_started_by_hand() -> None:
    table = BlockTable()
    table.manager_up("mine", "m", "n1", 0, 1.0)
    assert table.has_managers() and not table.blocks
    table.manager_gone("mine", "m", "killed", 2.0)
    assert not table.has_managers()


def test_a_run_of_months_does_not_fill_the_memory() -> None:
    table = BlockTable()
    for _ in range(20_000):
        table.refused(table.reserve(0.0), "no", 0.0)
    assert len(table.blocks) <= 2001 and list(table.blocks)[-1] == "19999"


def test_every_stage_can_be_reached_and_the_last_one_is_final() -> None:
    reached, before = {BlockStage.SUBMITTING}, set[BlockStage]()
    while reached != before:
        before = set(reached)
        reached |= {stage for known in before for stage in MOVES[known]}
    assert reached == set(BlockStage) == set(MOVES)
    assert [stage for stage, following in MOVES.items() if not following] == [BlockStage.ENDED]
    assert not CAPACITY & {BlockStage.DRAINING, BlockStage.ENDING, BlockStage.ENDED}


EVENTS = ["reserve", "submitted", "refused", "seen", "manager_up", "worker_up", "manager_gone", "overdue", "drain",
          "end", "cancelled", "forget"]  # fmt: skip
MET: Counter[tuple[BlockStage, str]] = Counter()


def happen(table: BlockTable, event: str, block: Block, what: int, now: float) -> News:
    number, manager = block.number, f"m{what % 2}"
    if event == "reserve" and len(table.blocks) < 4:
        table.reserve(now)
    elif event == "submitted" and block.stage is BlockStage.SUBMITTING:
        table.submitted(block, f"job{number}", now)
    elif event == "refused" and block.stage is BlockStage.SUBMITTING:
        table.refused(block, "no", now)
    elif event == "seen" and block.job:
        return table.seen(block, JobStatus(JobState(what % 8)), now)
    elif event == "manager_up":
        table.manager_up(number, manager, "n", 0, now)
    elif event == "worker_up":
        table.worker_up(number)
    elif event == "manager_gone":
        return table.manager_gone(number, manager, "gone", now)
    elif event == "overdue":
        return table.overdue(60, now)
    elif event == "drain":
        table.drain(block, now)
    elif event == "end":
        table.end(block, now)
    elif event == "cancelled" and block.stage is BlockStage.ENDING:
        table.cancelled(block, now)
    elif event == "forget" and block.stage is BlockStage.SUBMITTING and len(table.blocks) > 1:
        table.forget(block)
    return []


def script(random: Random) -> Iterator[tuple[str, int, int, float]]:
    for _ in range(40):
        event = random.choice([*EVENTS, "reserve", "submitted", "seen", "seen", "manager_up"])
        what = random.choice([JobState.RUNNING] * 6 + [JobState.PENDING] * 4 + list(JobState)[:8])
        yield event, random.randrange(4), what, random.choice([0.1, 1, 7, 50])


@pytest.mark.parametrize("seeds", [range(start, start + 250) for start in (0, 250, 500, 750)], ids=str)
def test_whatever_happens_the_table_makes_sense(seeds: range) -> None:
    for seed in seeds:
        go_through(seed)


def go_through(seed: int) -> None:
    table, now = BlockTable(), 0.0
    table.reserve(now)
    failed: Counter[str] = Counter()
    for event, which, what, later in script(Random(seed)):
        now += later
        blocks = list(table.blocks.values())
        block = blocks[which % len(blocks)]
        before = {one.number: one.stage for one in blocks}
        MET[block.stage, event] += 1
        for item in happen(table, event, block, what, now):
            failed[item.block.number] += isinstance(item, Failed)
            if isinstance(item, Failed):
                item.block.verdict = item.block.verdict or JobState.FAILED  # as the shell does it
        for one in blocks:
            assert one.stage is before[one.number] or _leads(before[one.number], one.stage), (event, one.stage)
            assert one.now().terminal == (one.stage is BlockStage.ENDED), one.now()
            assert (one.ended is not None) == (one.stage is BlockStage.ENDED)
        assert not failed or max(failed.values()) <= 1, "no block fails twice"
        assert len(table.capacity()) + len(table.leaving()) + len(table.at(BlockStage.ENDED)) == len(table.blocks)


def _leads(stage: BlockStage, to: BlockStage) -> bool:
    return to in MOVES[stage] or any(to in MOVES[between] for between in MOVES[stage])


def test_every_event_was_drawn_in_every_stage() -> None:
    MET.clear()
    for seed in range(300):
        go_through(seed)
    missing = [(stage.name, event) for stage in BlockStage for event in EVENTS if not MET[stage, event]]
    assert not missing
