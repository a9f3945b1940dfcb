"""Medians, ratios and verdicts."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import PAGE
from benchmarks.goals import GOALS, Goal
from benchmarks.harness import Sample
from benchmarks.lines import LINES
from benchmarks.peers import PEERS
from benchmarks.report import BEGIN, END, Figures, markdown, number, verdict, with_figures
from benchmarks.trial import percentile


def sample(peer: str, round_number: int, **values: float) -> Sample:
    return Sample(line="submit", peer=peer, round=round_number, values=values)


def figures(*samples: Sample) -> Figures:
    return Figures(list(LINES.values()), samples)


def test_a_ratio_is_taken_within_a_round_so_that_a_slow_round_does_not_count_twice() -> None:
    seen = figures(
        *(sample("inside", number, submit=rate) for number, rate in enumerate((100, 10, 100))),
        *(sample("ppe", number, submit=rate) for number, rate in enumerate((10, 1, 10))),
    )
    assert seen.ratio("submit", "inside", "ppe") == 10


def test_a_round_without_the_peer_gives_no_ratio() -> None:
    seen = figures(sample("inside", 0, submit=100), sample("ppe", 1, submit=10))
    assert seen.ratio("submit", "inside", "ppe") is None


@pytest.mark.parametrize(
    "rate, word", [(30, "target met"), (10, "minimum met"), (7, "below the minimum")]
)
def test_a_goal_of_a_rate_is_met_from_above(rate: float, word: str) -> None:
    seen = figures(sample("inside", 0, submit=rate), sample("ppe", 0, submit=1))
    assert verdict(seen, Goal("submit", "inside", "ppe", 25, 8)) == (rate, word)


def test_a_goal_of_a_cost_is_met_from_below() -> None:
    seen = figures(sample("inside", 0, queued_bytes=300.0))
    assert verdict(seen, Goal("queued_bytes", "inside", "", 164, 400)) == (300, "minimum met")
    assert verdict(seen, Goal("queued_bytes", "inside", "", 164)) == (300, "below the target")


def test_a_goal_without_bounds_only_shows_the_ratio() -> None:
    seen = figures(sample("inside", 0, submit=100), sample("ppe", 0, submit=10))
    assert verdict(seen, Goal("submit", "inside", "ppe", None)) == (10, "")


def test_what_was_not_measured_has_no_verdict() -> None:
    assert verdict(figures(), Goal("submit", "inside", "ppe", 25, 8)) is None


def test_the_page_names_failures_and_processes_left_over() -> None:
    failed = Sample(line="submit", peer="inside", round=0, failure="WrongResult: 3 tasks ran in the client")
    littered = Sample(line="submit", peer="ppe", round=0, values={"submit": 1.0}, left_over=["a worker"])
    page = markdown(figures(failed, littered), {"cpu": "abacus"})
    assert "cpu: abacus" in page
    assert "3 tasks ran in the client" in page
    assert "processes left over: a worker" in page


def test_every_goal_is_about_a_metric_and_peers_that_exist() -> None:
    metrics = {metric.name for line in LINES.values() for metric in line.metrics}
    assert {goal.metric for goal in GOALS} <= metrics
    assert {goal.peer for goal in GOALS} - {""} <= set(PEERS)


def test_numbers_are_short() -> None:
    assert [number(value) for value in (123456.7, 12.345, 0.01234, 0)] == ["123,457", "12.3", "0.0123", "0"]


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([float(i) for i in range(100)], 0.99) == 99
    assert percentile([1.0], 0.99) == 1


def test_the_figures_take_the_place_of_the_old_ones() -> None:
    page = f"# Page\n\n{BEGIN}\nold\n{END}\n\n## Rest\n"
    once = with_figures(page, "new\n")
    assert once == f"# Page\n\n{BEGIN}\nnew\n{END}\n\n## Rest\n"
    assert with_figures(once, "new\n") == once
    with pytest.raises(ValueError, match="no place"):
        with_figures("# Page\n", "new\n")


def test_the_page_of_the_project_has_a_place_for_them() -> None:
    assert "abacus" in with_figures(PAGE.read_text(), markdown(figures(), {"cpu": "abacus"}))
