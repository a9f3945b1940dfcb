"""Turns samples into medians, ratios and verdicts: one JSON file, one page of markdown.

A ratio is taken within a round, where both were measured minutes at most apart, and then its median over the
rounds: the machine's slow drift falls out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median

from benchmarks.goals import GOALS, Goal
from benchmarks.harness import Sample
from benchmarks.peers import SUBJECTS
from benchmarks.trial import Line, Metric

BEGIN, END = "<!-- figures -->", "<!-- end of the figures -->"

Series = Mapping[int, float]    # round -> value


class Figures:
    """The samples of a run, looked up by metric and peer."""

    def __init__(self, lines: Sequence[Line], samples: Sequence[Sample]) -> None:
        self.metrics = {metric.name: metric for line in lines for metric in line.metrics}
        self.samples = samples
        self._series: dict[tuple[str, str], dict[int, float]] = {}
        for sample in samples:
            for name, value in (sample.values or {}).items():
                self._series.setdefault((name, sample.peer), {})[sample.round] = value

    def series(self, metric: str, peer: str) -> Series:
        """All rounds of one figure."""
        return self._series.get((metric, peer), {})

    def value(self, metric: str, peer: str) -> float | None:
        """The median over the rounds."""
        series = self.series(metric, peer)
        return median(series.values()) if series else None

    def ratio(self, metric: str, subject: str, peer: str) -> float | None:
        """The subject's figure over the peer's: the median over the rounds that have both."""
        ours, theirs = self.series(metric, subject), self.series(metric, peer)
        ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
        return median(ratios) if ratios else None

    def peers(self) -> list[str]:
        """Everyone with a figure: our arrangements first, the others in the order they came."""
        seen = dict.fromkeys(peer for _, peer in self._series)
        ours = [name for name in SUBJECTS if name in seen]
        return ours + [name for name in seen if name not in SUBJECTS]


def verdict(figures: Figures, goal: Goal) -> tuple[float, str] | None:
    """The figure of a goal and what to say of it; None if it was not measured."""
    reached = (
        figures.ratio(goal.metric, goal.subject, goal.peer)
        if goal.peer
        else figures.value(goal.metric, goal.subject)
    )
    if reached is None:
        return None
    more = figures.metrics[goal.metric].more_is_better

    def met(bound: float) -> bool:
        return reached >= bound if more else reached <= bound

    if goal.minimum is not None and not met(goal.minimum):
        return reached, "below the minimum"
    if goal.minimum is None and goal.target is None:
        return reached, ""
    if goal.target is not None and not met(goal.target):
        return reached, "below the target" if goal.minimum is None else "minimum met"
    return reached, "target met" if goal.target is not None else "minimum met"


def markdown(figures: Figures, machine: Mapping[str, str]) -> str:
    """The page: the machine, the medians, the goals, and what went wrong."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in machine.items())]
    parts += ["\n".join(_medians(figures)), "\n".join(_goals(figures)), "\n".join(_troubles(figures))]
    return "\n\n".join(part for part in parts if part) + "\n"


def with_figures(text: str, page: str) -> str:
    """A document with the page between its two marks, instead of what is there.

    Raises:
        ValueError: it has no such marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no place for the figures: {BEGIN!r} ... {END!r}")
    return f"{before}{begin}\n{page}{end}{after}"


def as_json(figures: Figures, machine: Mapping[str, str]) -> str:
    """Everything, the single samples included."""
    goals = [asdict(goal) | _reached(figures, goal) for goal in GOALS if goal.metric in figures.metrics]
    everything = {"machine": dict(machine), "goals": goals, "samples": list(map(asdict, figures.samples))}
    return json.dumps(everything, indent=1)


def _reached(figures: Figures, goal: Goal) -> dict[str, object]:
    found = verdict(figures, goal)
    reached, word = found or (None, "not measured")
    return {"reached": reached, "verdict": word}


def _medians(figures: Figures) -> Iterator[str]:
    peers = figures.peers()
    yield _row(["", "unit", *peers])
    yield _row(["---"] * 2 + ["--:"] * len(peers))
    for metric in figures.metrics.values():
        cells = [_cell(figures, metric, peer) for peer in peers]
        if any(cells):
            yield _row([metric.title, metric.unit, *cells])


def _cell(figures: Figures, metric: Metric, peer: str) -> str:
    series = figures.series(metric.name, peer)
    if not series:
        return ""
    low, high = min(series.values()), max(series.values())
    middle = number(median(series.values()))
    return middle if low == high else f"{middle} ({number(low)}-{number(high)})"


def _goals(figures: Figures) -> Iterator[str]:
    goals = [goal for goal in GOALS if goal.metric in figures.metrics]
    rows = [(goal, found) for goal in goals if (found := verdict(figures, goal))]
    if not rows:
        return
    yield _row(["", "arrangement", "against", "reached", "target", "minimum", ""])
    yield _row(["---"] * 3 + ["--:"] * 3 + ["---"])
    for goal, (reached, word) in rows:
        metric = figures.metrics[goal.metric]
        sign = ">= " if metric.more_is_better else "<= "
        suffix = "x" if goal.peer else f" {metric.unit}".rstrip()
        target, minimum = (
            "" if bound is None else sign + number(bound) + suffix for bound in (goal.target, goal.minimum)
        )
        yield _row([metric.title, goal.subject, goal.peer, number(reached) + suffix, target, minimum, word])


def _troubles(figures: Figures) -> Iterator[str]:
    for sample in figures.samples:
        where = f"- {sample.line}, {sample.peer}, round {sample.round + 1}"
        if sample.failure:
            yield f"{where}: {sample.failure.strip()[-300:]}"
        if sample.left_over:
            yield f"{where}: processes left over: {', '.join(sample.left_over)[:300]}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
