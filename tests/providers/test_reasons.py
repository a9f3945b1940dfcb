"""What schedulers' reasons mean."""

import pytest

from parsl_pool.providers import reasons


@pytest.mark.parametrize(
    "reason, text",
    [
        ("Priority", "Priority (jobs with a higher priority are before it)"),
        ("(Resources)", "(Resources) (it is next, as soon as enough nodes are free)"),
        ("QOSMaxJobsPerUserLimit", "the qos has reached a limit (QOSMaxJobsPerUserLimit)"),
        ("AssocGrpCpuLimit", "the account has reached a limit (AssocGrpCpuLimit)"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "down, or reserved for a maintenance"),
        ("Job held by user on Sat Nov 21", "Job held by user on Sat Nov 21"),
        ("", ""),
    ],
)
def test_a_reason_in_plain_words(reason: str, text: str) -> None:
    assert text in reasons.with_meaning(reason)
    assert reasons.with_meaning(reason).startswith(reason)


def test_some_reasons_do_not_go_away() -> None:
    assert reasons.needs_somebody("PartitionTimeLimit") and reasons.needs_somebody("BadConstraints")
    assert not reasons.needs_somebody("Priority") and not reasons.needs_somebody("anything else")
