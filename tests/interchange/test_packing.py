"""Tasks that ask for something: which manager gets them, and when. The broker without sockets."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.interchange import broker, packing
from parsl_pool.interchange.packing import Has, needs
from parsl_pool.interchange.request import Request
from tests.interchange.frames import asking, request, results, tasks

pytestmark = pytest.mark.timeout(60)

FUNCTION = 1


def has(
    workers: int = 4, cores: int = 4, memory_mb: int = 1000, disk_mb: int = 0, gpus: int = 0, nodes: int = 0,
    lasts_ms: int = 0,
) -> Has:  # fmt: skip
    return Has(workers, cores, memory_mb, disk_mb, gpus, nodes, lasts_ms)


class Site:
    """A broker, and managers that do as they are told. Every step checks that none has more than it can hold."""

    def __init__(self, managers: dict[str, Has]) -> None:
        self.now = 0.0
        self.broker = broker.Broker(lambda: self.now)
        self.has = managers
        self.placed: dict[str, dict[int, Request | None]] = {}
        self.where: dict[int, str] = {}
        self.sent: list[int] = []
        self.refused: dict[int, str] = {}
        self.broker.function_defined(FUNCTION, b"f")
        for name in managers:
            self.come(name)

    def come(self, name: str) -> None:
        self.placed[name] = {}
        self.perform(self.broker.manager_registered(name, [], self.has[name]))
        self.perform(self.broker.window_set(name, self.has[name].workers))

    def perform(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, broker.SendTasks):
                for task in effect.tasks.task_ids():
                    assert task not in self.where
                    self.placed[effect.manager][task] = effect.tasks.request
                    self.where[task] = effect.manager
                    self.sent.append(task)
            elif isinstance(effect, broker.Refuse):
                self.refused[effect.tasks.task_ids()[0]] = effect.reason
            elif isinstance(effect, broker.TasksLost):
                for task in effect.tasks:
                    del self.where[task]
        for name, placed in self.placed.items():
            limit = self.has[name]
            taken = [needs(wanted, limit) if wanted else (1, 0, 0, 0) for wanted in placed.values()]
            assert None not in taken
            places, memory, _, nodes = (sum(amounts[index] for amounts in taken if amounts) for index in range(4))
            assert places <= limit.workers and memory <= limit.memory_mb and nodes <= limit.nodes, (name, placed)

    def plain(self, *ids: int, priority: int = 0) -> None:
        self.perform(self.broker.tasks_submitted(tasks(ids, FUNCTION, priority)))

    def ask(self, task: int, wanted: Request, priority: int = 0) -> None:
        self.perform(self.broker.tasks_submitted(asking(task, wanted, priority)))

    def finish(self, task: int) -> None:
        name = self.where.pop(task)
        del self.placed[name][task]
        self.perform(self.broker.results_arrived(name, results([task])))

    def lose(self, name: str) -> None:
        del self.placed[name]
        self.perform(self.broker.manager_gone(name))


# ---- what a task takes


@pytest.mark.parametrize(
    "wanted, there, places",
    [
        (request(cores=1), has(4, 4), 1),
        (request(cores=2), has(4, 4), 2),
        (request(cores=2), has(4, 8), 1),  # each of four workers stands for two cores
        (request(cores=3), has(4, 8), 2),
        (request(cores=8), has(1, 8), 1),
        (request(cores=4), has(4, 2), 4),  # more workers than cores: the user knows why
        (request(memory_mb=5), has(4, 4), 1),
        (request(gpus=3), has(4, 4, gpus=4), 3),
    ],
)
def test_cores_and_gpus_are_workers_places(wanted: Request, there: Has, places: int) -> None:
    amounts = needs(wanted, there)
    assert amounts is not None and amounts[0] == places


@pytest.mark.parametrize(
    "wanted, there",
    [
        (request(cores=5), has(4, 4)),
        (request(memory_mb=1001), has()),
        (request(disk_mb=11), has(disk_mb=10)),
        (request(gpus=1), has()),
        (request(gpus=3), has(2, 8, gpus=4)),
        (request(num_nodes=3), has(nodes=2)),
        (request(running_ms=11), has(lasts_ms=10)),
    ],
)
def test_what_is_not_there_can_not_be_had(wanted: Request, there: Has) -> None:
    assert needs(wanted, there) is None


def test_what_nobody_knows_is_not_looked_at() -> None:
    assert needs(request(memory_mb=1 << 40, disk_mb=1 << 40), has(memory_mb=0)) is not None


@given(st.lists(st.integers(1, 16), max_size=16), st.integers(1, 16), st.integers(1, 64))
def test_tasks_whose_places_fit_have_no_more_cores_than_there_are(cores: list[int], workers: int, there: int) -> None:
    limit = has(workers, there)
    taken = [(number, amounts[0]) for number in cores if (amounts := needs(request(cores=number), limit))]
    while sum(places for _, places in taken) > workers:
        taken.pop()
    assert sum(number for number, _ in taken) <= max(workers, there)


# ---- who goes where, and when


def test_a_task_that_needs_two_cores_takes_two_places() -> None:
    site = Site({"a": has(4)})
    site.ask(1, request(cores=2))
    site.plain(2, 3, 4)
    assert site.sent == [1, 2, 3]
    site.finish(2)
    assert site.sent == [1, 2, 3, 4]
    site.ask(5, request(cores=2))
    site.finish(1)
    assert 5 in site.where


def test_memory_bounds_what_runs_at_once() -> None:
    site = Site({"a": has(4, memory_mb=1000)})
    for task in (1, 2, 3):
        site.ask(task, request(memory_mb=400))
    site.plain(4)
    assert sorted(site.where) == [1, 2, 4]  # who needs none goes on
    site.finish(1)
    assert 3 in site.where


def test_a_lower_number_goes_first_and_equals_in_their_order() -> None:
    site = Site({"a": has(1)})
    site.plain(1)
    site.ask(2, request(cores=1))
    site.plain(3)
    site.ask(4, request(cores=1), priority=-1)
    site.plain(5, priority=-1)
    site.ask(6, request(memory_mb=7))
    for task in (1, 4, 5, 2, 3, 6):
        assert list(site.where) == [task]
        site.finish(task)


def test_who_waits_for_room_is_not_overtaken_for_ever() -> None:
    site = Site({"a": has(4)})
    running = [1, 2, 3, 4]
    site.plain(*running)
    site.ask(5, request(cores=4))
    for task in range(6, 40):  # always somebody small who waits, too
        site.plain(task)
    for task in running:
        assert 5 not in site.where
        site.finish(task)
    assert list(site.where) == [5]


def test_who_waits_for_one_node_leaves_the_others_to_the_rest() -> None:
    site = Site({"a": has(4), "b": has(4)})
    site.plain(*range(1, 9))
    site.ask(100, request(cores=4))
    site.plain(*range(9, 50))
    other = None
    for _ in range(3):
        task = next(task for task in site.where if other is None or site.where[task] == other)
        other = site.where[task]
        site.finish(task)
    counts = sorted(len(placed) for placed in site.placed.values())
    assert counts == [1, 4]  # one of them is being emptied, the other one stays full
    site.finish(next(iter(site.placed[min(site.placed, key=lambda name: len(site.placed[name]))])))
    assert 100 in site.where


def test_who_takes_nothing_of_it_may_go_where_room_is_kept() -> None:
    site = Site({"a": has(4, memory_mb=1000)})
    site.ask(1, request(memory_mb=600))
    site.ask(2, request(memory_mb=900))  # waits for memory, and for one place
    site.plain(3, 4, 5)
    assert sorted(site.where) == [1, 3, 4]  # the fourth place is kept
    site.finish(1)
    assert sorted(site.where) == [2, 3, 4, 5]


def test_a_task_goes_only_where_so_much_time_is_left() -> None:
    site = Site({"short": has(lasts_ms=60_000), "long": has(lasts_ms=600_000)})
    site.ask(1, request(running_ms=120_000))
    assert site.where[1] == "long"
    site.now = 500.0
    site.ask(2, request(running_ms=120_000))
    assert 2 not in site.where
    site.has["fresh"] = has(lasts_ms=600_000)
    site.come("fresh")
    assert site.where[2] == "fresh"


def test_what_nobody_can_hold_is_refused_when_all_are_there() -> None:
    site = Site({"a": has(4, memory_mb=1000)})
    site.broker.managers_most = 2
    site.ask(1, request(cores=5))
    assert not site.refused
    site.has["b"] = has(4, memory_mb=2000)
    site.come("b")
    largest = "4 cores, 2,000 MB of memory, 0 GPUs a task"
    assert site.refused == {1: f"no manager can ever hold it; the largest has {largest}"}
    site.ask(2, request(memory_mb=2001))
    site.ask(3, request(memory_mb=2000))
    assert 2 in site.refused and site.where[3] == "b"


def test_tasks_that_wait_for_others_lend_their_places() -> None:
    site = Site({"a": has(2)})
    site.plain(1, 2)
    site.ask(3, request(cores=2))
    assert 3 not in site.where
    site.broker.window_set("a", 4, 2)
    site.has["a"] = has(4)  # that is what it comes to
    site.perform(site.broker.window_set("a", 4, 2))
    assert 3 in site.where or site.broker.loads()[0].held == 3


def test_a_manager_that_comes_back_says_what_its_tasks_have() -> None:
    site = Site({})
    site.has["a"] = has(4, memory_mb=1000)
    site.placed["a"] = {7: request(memory_mb=800)}
    site.where[7] = "a"
    site.perform(site.broker.manager_registered("a", [7], site.has["a"], {7: (1, 800, 0, 0)}))
    site.perform(site.broker.window_set("a", 4))
    site.ask(8, request(memory_mb=300))
    assert 8 not in site.where
    site.finish(7)
    assert 8 in site.where


def test_what_a_manager_gives_back_goes_first_again() -> None:
    site = Site({"a": has(1)})
    site.ask(1, request(cores=1))
    site.ask(2, request(cores=1))
    del site.placed["a"][1], site.where[1]
    site.perform(site.broker.tasks_returned("a", asking(1, request(cores=1))))
    assert list(site.where) == [1]


def test_blocks_for_mpi_are_filled_so_that_large_programs_fit() -> None:
    site = Site({"a": has(4, nodes=4), "b": has(4, nodes=4)})
    for task in (1, 2):
        site.ask(task, request(num_nodes=2))
    site.ask(3, request(num_nodes=4))
    assert site.where[1] == site.where[2] != site.where[3]


REQUESTS = st.builds(
    request,
    cores=st.integers(0, 4), memory_mb=st.sampled_from([0, 0, 100, 500, 1000]), gpus=st.integers(0, 1),
    num_nodes=st.sampled_from([0, 0, 1, 2]), running_ms=st.sampled_from([0, 0, 1000]),
)  # fmt: skip
MANAGERS = st.lists(
    st.builds(has, st.integers(1, 4), st.integers(1, 8), st.sampled_from([200, 1000]), gpus=st.integers(0, 2),
              nodes=st.integers(0, 2)),
    min_size=1, max_size=3,
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("plain"), st.integers(1, 6), st.integers(-1, 1)),
        st.tuples(st.just("ask"), REQUESTS, st.integers(-1, 1)),
        st.tuples(st.just("finish"), st.integers(0, 1000)),
        st.tuples(st.just("lose"), st.integers(0, 1000)),
        st.tuples(st.just("come"), st.integers(0, 1000)),
    ),
    max_size=60,
)


def numbers() -> Iterator[int]:
    yield from range(1, 100_000)


@settings(max_examples=250, deadline=None)
@given(MANAGERS, STEPS)
def test_none_gets_more_than_it_has_and_all_that_can_run_does(managers: list[Has], steps: list[Any]) -> None:
    site = Site({str(number): each for number, each in enumerate(managers)})
    ids = numbers()
    wanted: dict[int, Request | None] = {}
    for what, *rest in steps:
        if what == "plain":
            new = [next(ids) for _ in range(rest[0])]
            wanted.update(dict.fromkeys(new))
            site.plain(*new, priority=rest[1])
        elif what == "ask":
            task = next(ids)
            wanted[task] = rest[0]
            site.ask(task, rest[0], rest[1])
        elif what == "finish" and site.where:
            site.finish(sorted(site.where)[rest[0] % len(site.where)])
        elif what == "lose" and len(site.placed) > 1:
            site.lose(sorted(site.placed)[rest[0] % len(site.placed)])
        elif what == "come":
            away = sorted(set(site.has) - set(site.placed))
            if away:
                site.come(away[rest[0] % len(away)])
    while site.where:  # whoever runs ends, and nobody new comes
        site.finish(min(site.where))
    there = [site.has[name] for name in site.placed]
    never = {task for task in wanted if task not in site.sent}
    for task in never:
        asked = wanted[task]
        assert asked is not None and not any(needs(asked, each) for each in there)
    assert not [seat for seat in site.broker._managers.values() if seat.room.taken != (0, 0, 0, 0) or seat.room.extra]


@pytest.mark.parametrize("seed", range(5))
def test_a_large_task_comes_at_last_however_many_small_ones_there_are(seed: int) -> None:
    """Under a load of small tasks that never ends, a large one waits for those that ran when it came, and no more."""
    chance = random.Random(seed)
    site = Site({name: has(8, memory_mb=8000) for name in "abc"})
    ids = numbers()
    site.plain(*(next(ids) for _ in range(100)))
    before = set(site.where)
    site.ask(99_999, request(cores=8, memory_mb=8000))
    for _ in range(2000):
        if 99_999 in site.where:
            break
        site.finish(chance.choice(sorted(site.where)))
        site.plain(next(ids))
        site.ask(next(ids), request(cores=chance.randint(1, 2)))
    assert 99_999 in site.where
    assert not set(site.placed[site.where[99_999]]) & before


def test_what_waits_is_not_looked_at_again_for_each_that_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site({str(number): has(8) for number in range(50)})
    looked = 0
    real = packing.Round.fits

    def fits(self: packing.Round, line: packing.Line, seat: packing.Seat) -> Any:
        nonlocal looked
        looked += 1
        return real(self, line, seat)

    monkeypatch.setattr(packing.Round, "fits", fits)
    for task in range(1, 5001):
        site.broker.tasks_submitted(asking(task, request(cores=1)))
    assert site.broker.placed == 400
    assert looked < 2000
