"""Who is measured when."""

from __future__ import annotations

from itertools import groupby

from benchmarks.__main__ import _ordinary
from benchmarks.harness import Plan, _turns
from benchmarks.lines import LINES
from benchmarks.peers import PEERS


def plan(limit_s: float, rounds: int = 3) -> Plan:
    return Plan(lines=list(LINES.values()), peers=list(PEERS.values()), rounds=rounds, limit_s=limit_s)


def test_a_run_with_a_limit_has_all_of_one_round_before_the_next() -> None:
    turns = list(_turns(plan(60)))
    assert [number for number, _ in groupby(turns, key=lambda turn: turn[2])] == [0, 1, 2]
    assert {line.name for line, _, number in turns if number == 0} == set(LINES)


def test_slow_peers_come_once_and_last_in_the_first_round() -> None:
    first = [peer.is_slow for _, peer, number in _turns(plan(60)) if number == 0]
    assert any(first) and first == sorted(first)
    assert not any(peer.is_slow for _, peer, number in _turns(plan(60)) if number > 0)


def test_without_a_limit_everybody_takes_part_in_every_round() -> None:
    turns = list(_turns(plan(float("inf"))))
    assert {peer.name for _, peer, number in turns if number == 2} == set(PEERS)


def test_nobody_always_comes_first() -> None:
    names = [[peer.name for line, peer, n in _turns(plan(60)) if line.name == "map1" and n == m] for m in range(3)]
    assert len({row[0] for row in names}) == 3


def test_what_takes_minutes_is_left_out_of_a_run_with_a_limit() -> None:
    assert set(LINES) - set(_ordinary(7)) == {"resume", "scale-1000", "scale-8000"}
    assert _ordinary(0) == list(LINES)
