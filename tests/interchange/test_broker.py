"""The broker by example; test_broker_properties.py has every event in every state."""

from collections import Counter

from parsl_pool.interchange.broker import (
    Broker,
    Deliver,
    Effect,
    SendForget,
    SendFunction,
    SendTasks,
    TasksLost,
)
from parsl_pool.interchange.columns import Tasks
from tests.interchange.frames import results, tasks


def broker_with(*windows: tuple[str, int]) -> Broker:
    broker = Broker()
    for name, window in windows:
        broker.manager_registered(name, [])
        broker.window_set(name, window)
    return broker


def sent(effects: list[Effect]) -> list[tuple[str, list[int]]]:
    """Who is sent which tasks. Only for effects that send nothing else."""
    placed = []
    for effect in effects:
        assert isinstance(effect, SendTasks)
        placed.append((effect.manager, list(effect.tasks.task_ids())))
    return placed


def test_tasks_wait_until_a_manager_has_credit() -> None:
    broker = Broker()
    assert broker.tasks_submitted(tasks([1, 2, 3])) == []
    assert broker.manager_registered("a", []) == []
    assert sent(broker.window_set("a", 2)) == [("a", [1, 2])]
    assert (broker.waiting, broker.placed) == (1, 2)
    assert broker.holder(2) == "a" and broker.holder(3) is None


def test_a_result_makes_room_for_the_next_task() -> None:
    broker = broker_with(("a", 1))
    broker.tasks_submitted(tasks([1, 2]))
    deliver, *more = broker.results_arrived("a", result := results([1]))
    assert deliver == Deliver(result)
    assert sent(more) == [("a", [2])]


def test_a_frame_that_fits_is_passed_on_as_it_is() -> None:
    broker = broker_with(("a", 10))
    frame = tasks([1, 2, 3])
    (effect,) = broker.tasks_submitted(frame)
    assert isinstance(effect, SendTasks) and effect.tasks is frame


def test_tasks_are_shared_evenly_among_managers_with_credit() -> None:
    broker = broker_with(("a", 100), ("b", 100), ("c", 1))
    counts = Counter[str]()
    for name, ids in sent(broker.tasks_submitted(tasks(range(1, 10)))):
        counts[name] += len(ids)
    assert counts == {"a": 4, "b": 4, "c": 1}


def test_managers_with_credit_take_turns() -> None:
    broker = broker_with(("a", 10), ("b", 10))
    takers = [sent(broker.tasks_submitted(tasks([task])))[0][0] for task in range(1, 7)]
    assert takers == ["a", "b"] * 3


def test_a_lower_priority_number_goes_first() -> None:
    broker = Broker()
    for task, priority in ((1, 5), (2, -1), (3, 0), (4, -1)):
        broker.tasks_submitted(tasks([task], priority=priority))
    broker.manager_registered("a", [])
    order = [task for _, ids in sent(broker.window_set("a", 10)) for task in ids]
    assert order == [2, 4, 3, 1]


def test_a_function_goes_once_to_each_manager_and_before_its_first_task() -> None:
    broker = broker_with(("a", 1), ("b", 1))
    broker.function_defined(1, b"code")
    effects = broker.tasks_submitted(tasks([1, 2]))
    assert [type(effect) for effect in effects] == [SendFunction, SendTasks] * 2
    assert effects[0] == SendFunction("a", 1, b"code") and effects[2] == SendFunction("b", 1, b"code")
    broker.results_arrived("a", results([1]))
    assert sent(broker.tasks_submitted(tasks([3]))) == [("a", [3])]


def test_a_function_that_is_defined_again_is_sent_again() -> None:
    broker = broker_with(("a", 2))
    broker.function_defined(1, b"old")
    broker.tasks_submitted(tasks([1]))
    broker.function_defined(1, b"new")
    assert broker.tasks_submitted(tasks([2]))[0] == SendFunction("a", 1, b"new")


def test_a_forgotten_function_is_forgotten_by_those_who_know_it() -> None:
    broker = broker_with(("a", 1), ("b", 1))
    broker.function_defined(1, b"code")
    broker.tasks_submitted(tasks([1]))
    assert broker.functions_forgotten([1, 2]) == [SendForget("a", [1])]
    assert broker.functions_forgotten([1, 2]) == []


def test_a_manager_that_closes_gets_nothing_more_and_its_results_count() -> None:
    broker = broker_with(("a", 2))
    broker.tasks_submitted(tasks([1]))
    broker.manager_closed("a")
    assert broker.tasks_submitted(tasks([2])) == []
    assert broker.results_arrived("a", result := results([1])) == [Deliver(result)]
    assert broker.window_set("a", 5) == []
    assert broker.waiting == 1


def test_returned_tasks_go_first_again() -> None:
    broker = broker_with(("a", 2))
    first: Tasks = tasks([1, 2])
    broker.tasks_submitted(first)
    broker.tasks_submitted(tasks([3]))
    broker.window_set("a", 0)
    broker.tasks_returned("a", first)
    broker.manager_registered("b", [])
    assert sent(broker.window_set("b", 2)) == [("b", [1, 2])]


def test_a_lost_manager_loses_what_it_held_and_nothing_else() -> None:
    broker = broker_with(("a", 2), ("b", 2))
    broker.tasks_submitted(tasks([1, 2]))
    assert broker.manager_gone("a") == [TasksLost("a", [1])]
    assert broker.manager_gone("a") == []
    assert broker.holder(2) == "b"


def test_a_manager_holds_its_own_tasks_and_no_others() -> None:
    broker = broker_with(("a", 1), ("b", 1))
    broker.tasks_submitted(tasks([1, 2]))
    assert broker.holds("a", 1) and broker.holds("b", 2)
    assert not broker.holds("a", 2) and not broker.holds("b", 3) and not broker.holds("nobody", 1)
    broker.results_arrived("a", results([1]))
    assert not broker.holds("a", 1)


def test_late_results_of_a_lost_manager_are_counted_and_dropped() -> None:
    broker = broker_with(("a", 2))
    broker.tasks_submitted(tasks([1, 2]))
    broker.manager_gone("a")
    assert broker.results_arrived("a", results([1, 2])) == []
    assert broker.late == 2


def test_a_manager_can_register_with_tasks_that_it_holds_already() -> None:
    broker = Broker()
    broker.manager_registered("a", [7])
    assert broker.window_set("a", 1) == []
    assert broker.tasks_submitted(tasks([8])) == []
    assert broker.holder(7) == "a"


def test_a_manager_that_comes_back_loses_only_what_it_no_longer_holds() -> None:
    """Its connection was gone for a while. What it still holds need not, and must not, run elsewhere too."""
    broker = broker_with(("a", 3))
    broker.tasks_submitted(tasks([1, 2, 3]))
    assert broker.manager_registered("a", [2, 3]) == [TasksLost("a", [1])]
    assert broker.holder(2) == broker.holder(3) == "a"


def test_a_hundred_thousand_tasks_cost_one_look_at_their_frame() -> None:
    """No payload is looked at, and no frame is split twice, when tasks come in batches and go in batches."""
    broker = broker_with(("a", 1000))
    frame = tasks(range(1, 100_001))
    (effect,) = broker.tasks_submitted(frame)
    assert isinstance(effect, SendTasks) and effect.tasks.count == 1000
    for start in range(1, 100_001, 1000):
        effects = broker.results_arrived("a", results(range(start, start + 1000)))
        assert len(effects) == 2 or start == 99_001
    assert broker.waiting == broker.placed == 0


def test_ranked_managers_are_filled_one_after_the_other() -> None:
    it = Broker()
    for name in "abc":
        it.manager_registered(name, [])
    it.function_defined(1, b"f")
    assert it.managers_ranked(["c", "a"]) == []
    for name in "abc":
        it.window_set(name, 4)
    sent: dict[str, int] = {}
    for effect in it.tasks_submitted(tasks(range(1, 11))):
        if isinstance(effect, SendTasks):
            sent[effect.manager] = sent.get(effect.manager, 0) + effect.tasks.count
    assert sent == {"c": 4, "a": 4, "b": 2}
    it.managers_ranked([])
    assert {seat.rank for seat in it._managers.values()} == {0}
