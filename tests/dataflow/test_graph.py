import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parsl_pool.dataflow.graph import Effect, Graph, Launch, Refuse
from tests.interchange.drawn import Drawn, run_until_all_is_drawn


def test_a_task_without_dependencies_is_launched_at_once() -> None:
    graph = Graph()
    assert graph.submitted(1, set()) == [Launch(1)] and len(graph) == 0


def test_a_task_is_launched_when_the_last_of_its_dependencies_has_ended() -> None:
    graph = Graph()
    assert graph.submitted(1, {10, 11}) == []
    assert graph.settled(10, False) == [] and len(graph) == 1
    assert graph.settled(11, False) == [Launch(1)] and len(graph) == 0


def test_a_task_is_refused_when_all_have_ended_and_some_have_failed() -> None:
    """Not before: its error names all of them."""
    graph = Graph()
    graph.submitted(1, {10, 11, 12})
    assert graph.settled(10, True) == graph.settled(11, False) == []
    assert graph.settled(12, True) == [Refuse(1, [10, 12])]


def test_dependencies_that_have_failed_before_count_when_the_others_have_ended() -> None:
    graph = Graph()
    assert graph.submitted(1, set(), [10]) == [Refuse(1, [10])]
    assert graph.submitted(2, {11, 12}, [10]) == []
    assert graph.settled(11, False) == []
    assert graph.settled(12, True) == [Refuse(2, [10, 12])]


def test_one_dependency_may_have_many_dependents() -> None:
    graph = Graph()
    for task in range(1, 5):
        graph.submitted(task, {10})
    assert graph.settled(10, False) == [Launch(task) for task in range(1, 5)]
    assert graph.settled(10, False) == []


def test_a_withdrawn_task_is_forgotten() -> None:
    graph = Graph()
    graph.submitted(1, {10})
    assert graph.withdrawn(1) and not graph.withdrawn(1) and len(graph) == 0
    assert graph.settled(10, False) == []


def test_a_task_cannot_wait_twice() -> None:
    graph = Graph()
    graph.submitted(1, {10})
    with pytest.raises(ValueError, match="task 1 waits already"):
        graph.submitted(1, {11})


def test_a_withdrawn_tasks_number_can_be_given_again() -> None:
    """Numbers are those of objects, which are used again; what the first one waited for is nothing to the second."""
    graph = Graph()
    graph.submitted(1, {10})
    graph.withdrawn(1)
    graph.submitted(1, {11})
    assert graph.settled(10, False) == []
    assert graph.settled(11, False) == [Launch(1)]


def test_nobody_awaits_what_only_a_withdrawn_task_waited_for() -> None:
    """Who asks is about to ask the dependency to tell its end; it may be another one with the same number."""
    graph = Graph()
    graph.submitted(1, {10})
    assert graph.is_awaited(10)
    graph.withdrawn(1)
    assert not graph.is_awaited(10)


def test_a_hundred_thousand_dependencies_cost_one_step_each() -> None:
    """Also when they all belong to one task; a scan of them for each would take for ever."""
    graph = Graph()
    count = 100_000
    graph.submitted(0, set(range(1, count + 1)))
    effects = [effect for dependency in range(1, count + 1) for effect in graph.settled(dependency, False)]
    assert effects == [Launch(0)]


def test_withdrawing_one_of_many_dependents_costs_one_step() -> None:
    graph = Graph()
    count = 20_000
    for task in range(count):
        graph.submitted(task, {-1})
    for task in range(count - 1):
        graph.withdrawn(task)
    assert graph.settled(-1, False) == [Launch(count - 1)]


# ---- every event in every state

TASKS = st.integers(1, 4)
DEPENDENCIES = st.integers(1, 6)  # tasks 1 to 4 among them

TASK_STATES = ["new", "waiting", "waiting for a last one", "has a failed one", "gone"]
drawn = Drawn(
    [f"task {state}" for state in TASK_STATES] + ["dependency awaited", "dependency not awaited"],
    ["submitted", "withdrawn", "settled", "settled failed"],
    impossible=[
        *[(f"task {state}", event) for state in TASK_STATES for event in ("settled", "settled failed")],
        *[(f"dependency {state}", "withdrawn") for state in ("awaited", "not awaited")],
    ],
)


class GraphMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph()
        self.missing: dict[int, set[int]] = {}
        self.failed: dict[int, list[int]] = {}
        self.gone: set[int] = set()

    @initialize(dependencies=st.lists(st.sets(DEPENDENCIES, max_size=3), max_size=4))
    def begin(self, dependencies: list[set[int]]) -> None:
        for task, needed in enumerate(dependencies, 1):
            self.submitted(task, needed)

    def note(self, event: str, task: int) -> None:
        if task in self.missing:
            state = "waiting for a last one" if len(self.missing[task]) == 1 else "waiting"
            state = "has a failed one" if self.failed[task] else state
        else:
            state = "gone" if task in self.gone else "new"
        drawn.note(f"task {state}", event)

    def is_awaited(self, dependency: int) -> bool:
        return any(dependency in missing for missing in self.missing.values())

    @rule(task=TASKS, dependencies=st.sets(DEPENDENCIES, max_size=4))
    def submitted(self, task: int, dependencies: set[int]) -> None:
        self.note("submitted", task)
        for dependency in dependencies:
            drawn.note(f"dependency {'' if self.is_awaited(dependency) else 'not '}awaited", "submitted")
        if task in self.missing:
            with pytest.raises(ValueError):
                self.graph.submitted(task, dependencies)
            return
        effects = self.graph.submitted(task, dependencies)
        assert effects == ([] if dependencies else [Launch(task)])
        if dependencies:
            self.missing[task], self.failed[task] = set(dependencies), []
        else:
            self.gone.add(task)

    @rule(task=TASKS)
    def withdrawn(self, task: int) -> None:
        self.note("withdrawn", task)
        assert self.graph.withdrawn(task) == (task in self.missing)
        if self.missing.pop(task, None) is not None:
            self.gone.add(task)

    @rule(dependency=DEPENDENCIES, failed=st.booleans())
    def settled(self, dependency: int, failed: bool) -> None:
        awaited = self.is_awaited(dependency)
        drawn.note(f"dependency {'' if awaited else 'not '}awaited", f"settled{' failed' * failed}")
        expected: list[Effect] = []
        for task, missing in list(self.missing.items()):
            if dependency in missing:
                missing.remove(dependency)
                if failed:
                    self.failed[task].append(dependency)
                if not missing:
                    del self.missing[task]
                    self.gone.add(task)
                    bad = self.failed[task]
                    expected.append(Refuse(task, bad) if bad else Launch(task))
        effects = self.graph.settled(dependency, failed)
        assert sorted(effects, key=str) == sorted(expected, key=str)

    @invariant()
    def the_books_agree(self) -> None:
        assert len(self.graph) == len(self.missing)
        for dependency in range(1, 7):
            assert self.graph.is_awaited(dependency) == self.is_awaited(dependency)


def test_every_event_in_every_state() -> None:
    run_until_all_is_drawn(GraphMachine, drawn, examples=60, steps=15)
