"""Property tests over state machines: which pairs of state and event they met, and that none is missing."""

from collections.abc import Iterable
from itertools import product

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


class Drawn:
    """The pairs of state and event that there are, and those that were met."""

    def __init__(
        self, states: Iterable[str], events: Iterable[str], impossible: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.possible = set(product(states, events)) - set(impossible)
        self.met: set[tuple[str, str]] = set()

    def note(self, state: str, event: str) -> None:
        """This event is about to happen in this state."""
        assert (state, event) in self.possible, f"{event!r} in state {state!r} was thought to be impossible"
        self.met.add((state, event))

    def missing(self) -> list[tuple[str, str]]:
        """What was never drawn."""
        return sorted(self.possible - self.met)


def run_until_all_is_drawn(
    machine: type[RuleBasedStateMachine], drawn: Drawn, *, examples: int = 60, steps: int = 50
) -> None:
    """Run the machine; fail if a pair is missing even after more runs: chance must not fail a good build."""
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=False,  # as it is by default where CI is set: then each run would draw the same
        phases=[Phase.reuse, Phase.generate, Phase.shrink],  # not "explain": it takes minutes
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    for _ in range(20):
        run_state_machine_as_test(machine, settings=options)
        if not drawn.missing():
            return
    pytest.fail(f"never drawn: {drawn.missing()}")
