import pytest
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.interchange.drawn import Drawn, run_until_all_is_drawn


def test_a_pair_that_was_never_drawn_fails_the_test() -> None:
    drawn = Drawn(["on", "off"], ["push", "pull"])

    class OnlyPushed(RuleBasedStateMachine):
        @rule()
        def push(self) -> None:
            drawn.note("on", "push")
            drawn.note("off", "push")

    with pytest.raises(pytest.fail.Exception, match=r"never drawn: \[\('off', 'pull'\), \('on', 'pull'\)\]"):
        run_until_all_is_drawn(OnlyPushed, drawn, examples=2, steps=2)


def test_a_pair_that_was_thought_to_be_impossible_fails_the_test() -> None:
    drawn = Drawn(["on", "off"], ["push"], impossible=[("on", "push")])
    drawn.note("off", "push")
    with pytest.raises(AssertionError, match="thought to be impossible"):
        drawn.note("on", "push")
    assert not drawn.missing()
