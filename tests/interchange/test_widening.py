"""Tasks that ask for several accelerators: who has which, for any events in any order; the broker and two managers."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from parsl_pool.interchange import broker
from parsl_pool.interchange import manager_core as core
from parsl_pool.interchange.columns import Tasks
from parsl_pool.interchange.packing import Has
from parsl_pool.interchange.seat import Seat, SeatState
from parsl_pool.interchange.set_aside import SetAside
from parsl_pool.interchange.wire import OK
from tests.interchange.frames import asking, request, results, tasks

pytestmark = pytest.mark.timeout(120)

LONG_NS = 10_000_000
WHICH = st.integers(0, 20)
SITUATIONS = (
    "a wide worker is started", "a wide worker has another task", "a wide worker makes way", "a narrow one makes way",
    "a wide worker dies at its task", "what is on a wide worker waits",
)  # fmt: skip


class Node:
    """A manager's core, whose workers do what they are told. Checks each effect when it comes."""

    def __init__(self, site: "Site", name: str, devices: list[int], **options: Any) -> None:
        self.site, self.name, self.devices = site, name, devices
        workers = len(devices)
        self.has = Has(workers, workers, 0, 0, len(set(devices)), 0, 0)
        self.core = core.ManagerCore(workers, aside=SetAside(self.has), exclusive=True, devices=devices, **options)
        self.asked: dict[int, int] = {}  # task -> GPUs

    def begin(self) -> None:
        self.site.feed(self.site.broker.manager_registered(self.name, [], self.has))
        self.perform(self.core.begin(self.site.now))

    def perform(self, effects: list[core.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, core.SetWindow):
                self.site.feed(self.site.broker.window_set(self.name, effect.tasks, effect.lent, effect.least))
            elif isinstance(effect, core.Start):
                self.check_start(self.core.seats[effect.worker])
            elif isinstance(effect, core.Send):
                self.check_send(self.core.seats[effect.worker], effect.tasks)
            elif isinstance(effect, core.Retire):
                is_wide = len(self.core.seats[effect.worker].ranks) > 1
                self.site.met.add("a wide worker makes way" if is_wide else "a narrow one makes way")
            elif isinstance(effect, core.Lost):
                self.site.lost.append(effect.task)
                self.site.feed(self.site.broker.results_arrived(self.name, results([effect.task])))
            elif isinstance(effect, core.GiveBack):
                self.site.feed(self.site.broker.tasks_returned(self.name, effect.tasks))

    def check_start(self, seat: Seat) -> None:
        assert all(0 <= rank < self.core.workers for rank in seat.ranks)
        assert len({self.devices[rank] for rank in seat.ranks}) == len(seat.ranks), "one of them twice"
        others = [each for each in self.core.seats.values() if each is not seat and set(each.ranks) & set(seat.ranks)]
        assert all(other.waits for other in others), "two processes have one place"
        if len(seat.ranks) > 1:
            self.site.met.add("a wide worker is started")

    def check_send(self, seat: Seat, sent: Tasks) -> None:
        gpus = sent.request.gpus if sent.request is not None else 0
        assert seat.state is SeatState.READY and len(seat.ranks) == max(1, gpus)
        for other in self.core.seats.values():
            if other is not seat and other.held and not other.waits:
                assert not set(other.ranks) & set(seat.ranks), "two tasks have one accelerator"
        if gpus > 1 and seat.sent > 1:
            self.site.met.add("a wide worker has another task")

    def take(self, sent: Tasks) -> None:
        assert self.core.stopping is False
        self.perform(self.core.tasks_arrived(sent, self.site.now))

    def end(self, number: int) -> None:
        seat = self.core.seats[number]
        if seat.held and len(seat.ranks) > 1:
            self.site.met.add("a wide worker dies at its task")
        running = next(iter(seat.held), 0)
        self.core.failures = 0  # giving up is not what this is about
        self.perform(self.core.worker_ended(number, running, self.site.now))

    def finish(self, number: int) -> None:
        done = list(self.core.seats[number].held)
        self.site.done += done
        self.site.feed(self.site.broker.results_arrived(self.name, results(done)))
        self.perform(self.core.finished(number, [(task, OK) for task in done], LONG_NS, True, self.site.now))

    def move(self) -> bool:
        """Everybody does what is next. False if there was nothing."""
        moved = False
        for number, seat in list(self.core.seats.items()):
            if number not in self.core.seats:
                continue
            if seat.state is SeatState.STARTING:
                self.perform(self.core.worker_ready(number, self.site.now))
            elif seat.state is SeatState.LEAVING:
                self.end(number)
            elif seat.held:
                self.finish(number)
            else:
                continue
            moved = True
        return moved


class Site:
    """The broker, and its managers."""

    def __init__(self, met: set[str]) -> None:
        self.met = met
        self.broker = broker.Broker()
        self.broker.function_defined(9, b"f")
        self.nodes: dict[str, Node] = {}
        self.now = 1
        self.submitted = 0
        self.done: list[int] = []
        self.lost: list[int] = []
        self.refused: list[int] = []

    def feed(self, effects: list[broker.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, broker.SendTasks):
                self.nodes[effect.manager].take(effect.tasks)
            elif isinstance(effect, broker.Refuse):
                self.refused += effect.tasks.task_ids()

    def submit(self, gpus: int) -> None:
        self.submitted += 1
        if gpus:
            self.feed(self.broker.tasks_submitted(asking(self.submitted, request(gpus=gpus))))
        else:
            self.feed(self.broker.tasks_submitted(tasks([self.submitted], 9)))

    def settle(self) -> None:
        """All that runs comes to its end; nothing is left, nothing was done twice."""
        while any([node.move() for node in self.nodes.values()]):
            self.now += core.EXTRA_IDLE_NS
        over = [*self.done, *self.lost, *self.refused]
        assert sorted(over) == list(range(1, self.submitted + 1)), "some wait in vain"


met: set[str] = set()
DEVICES = st.sampled_from([[0], [0, 1], [0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 2]])


class GpuMachine(RuleBasedStateMachine):
    """Tasks come, wait, go on and end; workers come and go."""

    @initialize(
        devices=st.lists(DEVICES, min_size=1, max_size=2), eager=st.booleans(), children=st.sampled_from([0, 2])
    )  # fmt: skip
    def begin(self, devices: list[list[int]], eager: bool, children: int) -> None:
        self.site = Site(met)
        self.site.broker.managers_most = len(devices)
        for number, its in enumerate(devices):
            name = str(number)
            self.site.nodes[name] = Node(self.site, name, its, eager=eager, max_tasks_per_child=children)
        for node in self.site.nodes.values():
            node.begin()

    def seats(self, *, held: bool = False) -> list[tuple[Node, int]]:
        return [
            (node, number) for node in self.site.nodes.values() for number, seat in node.core.seats.items()
            if seat.held or not held
        ]  # fmt: skip

    @rule(gpus=st.sampled_from([0, 0, 1, 2, 2, 3, 4]), count=st.integers(1, 3))
    def tasks_come(self, gpus: int, count: int) -> None:
        for _ in range(count):
            self.site.submit(gpus)

    @rule(which=WHICH)
    def a_worker_is_up_or_gone(self, which: int) -> None:
        coming = [pair for pair in self.seats() if pair[0].core.seats[pair[1]].state is not SeatState.READY]
        if coming:
            node, number = coming[which % len(coming)]
            if node.core.seats[number].state is SeatState.LEAVING:
                node.end(number)
            else:
                node.perform(node.core.worker_ready(number, self.site.now))

    @precondition(lambda self: self.seats(held=True))
    @rule(which=WHICH, then=st.sampled_from(["ends", "ends", "dies", "waits", "waits"]))
    def something_happens_to_a_task(self, which: int, then: str) -> None:
        busy = self.seats(held=True)
        node, number = busy[which % len(busy)]
        seat = node.core.seats[number]
        if then == "dies":
            node.end(number)
        elif then == "ends":
            node.finish(number)
        else:
            if len(seat.ranks) > 1:
                met.add("what is on a wide worker waits")
            node.perform(node.core.waits(number, not seat.waits, self.site.now))

    @precondition(lambda self: self.seats())
    @rule(which=WHICH)
    def a_worker_ends(self, which: int) -> None:
        pairs = self.seats()
        node, number = pairs[which % len(pairs)]
        node.end(number)

    @rule(which=WHICH)
    def a_task_that_has_not_begun_is_cancelled(self, which: int) -> None:
        nodes = self.site.nodes.values()
        queued = [(node, task) for node in nodes for sent in node.core.queue for task in sent.task_ids()]
        if queued:
            node, task = queued[which % len(queued)]
            assert node.core.remove_queued(task)
            self.site.done.append(task)
            self.site.feed(self.site.broker.results_arrived(node.name, results([task])))

    @rule()
    def time_passes(self) -> None:
        self.site.now += 2 * core.EXTRA_IDLE_NS
        for node in self.site.nodes.values():
            node.perform(node.core.trim(self.site.now))

    def teardown(self) -> None:
        if hasattr(self, "site"):
            self.site.settle()


def test_any_event_in_any_order() -> None:
    run_state_machine_as_test(
        GpuMachine,
        settings=settings(
            max_examples=150, stateful_step_count=40, deadline=None, derandomize=True,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    assert met == set(SITUATIONS)


def site(*devices: list[int]) -> Site:
    made = Site(set())
    made.broker.managers_most = len(devices)
    for number, its in enumerate(devices):
        made.nodes[str(number)] = Node(made, str(number), its)
    for node in made.nodes.values():
        node.begin()
        while node.move():
            pass
    return made


def test_what_asks_for_all_waits_for_all_and_nothing_is_left_to_others_meanwhile() -> None:
    one = site([0, 1, 2, 3])
    (node,) = one.nodes.values()
    one.submit(0)
    one.submit(4)
    assert len(node.core.held_tasks()) == 1, "the broker keeps it back until there is room"
    node.finish(next(number for number, seat in node.core.seats.items() if seat.held))
    assert [seat.state for seat in node.core.seats.values()] == 4 * [SeatState.LEAVING]
    for number in list(node.core.seats)[:3]:
        node.end(number)
        assert not any(seat.state is SeatState.STARTING for seat in node.core.seats.values())
    node.end(next(iter(node.core.seats)))
    (seat,) = node.core.seats.values()
    assert seat.ranks == (0, 1, 2, 3)
    one.settle()


def test_two_that_share_the_node_run_at_once() -> None:
    one = site([0, 1, 2, 3])
    (node,) = one.nodes.values()
    for gpus in (2, 2):
        one.submit(gpus)
    while sum(bool(seat.held) for seat in node.core.seats.values()) < 2:
        for number, seat in list(node.core.seats.items()):
            if seat.state is SeatState.LEAVING:
                node.end(number)
            elif seat.state is SeatState.STARTING:
                node.perform(node.core.worker_ready(number, one.now))
    assert sorted(rank for seat in node.core.seats.values() for rank in seat.ranks) == [0, 1, 2, 3]
    one.settle()


def test_of_shared_ones_a_task_gets_different_ones() -> None:
    one = site([0, 0, 1, 1])
    one.submit(2)
    one.settle()
    (wide,) = [seat for seat in one.nodes["0"].core.seats.values() if len(seat.ranks) > 1]
    assert wide.ranks == (0, 2)


def test_what_waits_for_calls_of_its_own_lends_them_its_accelerators() -> None:
    one = site([0, 1])
    (node,) = one.nodes.values()
    one.submit(2)
    while not any(seat.held for seat in node.core.seats.values()):
        for number, seat in list(node.core.seats.items()):
            if seat.state is SeatState.LEAVING:
                node.end(number)
            else:
                node.perform(node.core.worker_ready(number, one.now))
    ((parent, first),) = node.core.seats.items()
    node.perform(node.core.waits(parent, True, one.now))
    one.submit(2)
    second = next(seat for seat in node.core.seats.values() if seat is not first)
    assert second.ranks == first.ranks == (0, 1)
    node.perform(node.core.worker_ready(second.number, one.now))
    node.finish(second.number)
    node.perform(node.core.waits(parent, False, one.now))
    one.settle()


def test_more_than_any_node_has_is_refused() -> None:
    one = site([0, 1], [0, 0, 1, 1])
    one.submit(3)
    assert one.refused == [1]
