from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parsl_pool.dataflow.record import Fault, Options, TaskRecord
from tests.interchange.drawn import Drawn, run_until_all_is_drawn


def record(retries: int = 0, lost_retries: int = 0) -> TaskRecord:
    return TaskRecord(7, Options(retries, lost_retries), "fit", 100.0)


def test_a_label_of_the_call_goes_before_the_functions_name() -> None:
    assert record().label == "fit"
    assert TaskRecord(7, Options(label="mine"), "fit", 0.0).label == "mine"


def test_each_try_is_noted_with_its_time() -> None:
    it = record(retries=5)
    it.failed(Fault.TASK, "n1", "ValueError: why", 103.0)
    it.failed(Fault.PLACE, "n2", "lost", 104.5)
    assert [(each.number, each.host, each.began, each.ended, each.error) for each in it.attempts] == [
        (0, "n1", 100.0, 103.0, "ValueError: why"),
        (1, "n2", 103.0, 104.5, "lost"),
    ]


def test_waiting_somewhere_that_is_lost_costs_nothing_and_is_no_try() -> None:
    it = record()
    assert all(it.failed(Fault.NONE, "n1", "", 101.0) for _ in range(100))
    assert it.attempts == [] and it.failed(Fault.TASK, "n1", "", 102.0) is False


drawn = Drawn(["has tries left", "has none left"], [fault.name for fault in Fault])


class RecordMachine(RuleBasedStateMachine):
    @initialize(retries=st.integers(0, 3), lost_retries=st.integers(0, 3))
    def begin(self, retries: int, lost_retries: int) -> None:
        self.record = record(retries, lost_retries)
        self.left = {Fault.TASK: retries, Fault.PLACE: lost_retries}
        self.tries = 0
        self.ended = False

    @rule(fault=st.sampled_from(Fault))
    def failed(self, fault: Fault) -> None:
        if self.ended:
            return  # nobody tries again
        left = max(self.left.values()) if fault is Fault.NONE else self.left[fault]
        drawn.note("has tries left" if left > 0 else "has none left", fault.name)
        again = self.record.failed(fault, "n1", "why", float(self.tries))
        if fault is Fault.NONE:
            assert again
            return
        self.tries += 1
        self.left[fault] -= 1
        self.ended = not again
        assert again == (self.left[fault] >= 0)

    @invariant()
    def every_try_is_noted(self) -> None:
        if hasattr(self, "record"):
            assert [each.number for each in self.record.attempts] == list(range(self.tries))


def test_every_fault_with_and_without_a_budget() -> None:
    run_until_all_is_drawn(RecordMachine, drawn, examples=30, steps=10)
