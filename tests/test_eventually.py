"""Tests of tests/eventually.py."""

import pytest

from tests.eventually import eventually


def test_the_first_true_value_is_returned() -> None:
    values = iter([0, "", [], "here"])
    assert eventually(lambda: next(values)) == "here"


def test_an_exception_counts_as_not_yet() -> None:
    answers = iter([KeyError("a"), OSError("b"), None])

    def check() -> bool:
        answer = next(answers)
        if answer is not None:
            raise answer
        return True

    assert eventually(check)


def test_a_failure_tells_the_check_and_its_last_value() -> None:
    workers: list[int] = []
    with pytest.raises(AssertionError, match=r"not within 0\.02 s .*\(lambda: workers.*value was \[\]"):
        eventually(lambda: workers, within=0.02)


def test_a_failure_tells_what_was_raised_last() -> None:
    def check() -> bool:
        raise OSError("no such manager")

    with pytest.raises(AssertionError, match="it last raised OSError: no such manager") as failure:
        eventually(check, within=0.02)
    assert isinstance(failure.value.__cause__, OSError)


def test_a_check_slower_than_the_limit_is_called_once_more() -> None:
    values = iter([False, True])
    assert eventually(lambda: next(values), within=0)


def test_ctrl_c_is_not_swallowed() -> None:
    def check() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eventually(check)
