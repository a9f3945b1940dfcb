"""The table of calls: known results, calls under way, bounded memory."""

import threading
from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parsl_pool.memoization.keys import CallKey, key_of_call
from parsl_pool.memoization.table import MINE, Hit, MemoTable, Running


def f(x: int) -> int:
    return x


def key(x: int) -> CallKey:
    return key_of_call(f, (x,), {})


class Earlier:
    """Results of another run, in memory."""

    def __init__(self, results: dict[int, bytes]) -> None:
        self.results = {key(x).digest: (key(x), data) for x, data in results.items()}
        self.asked = 0

    def get(self, digest: bytes) -> bytes | None:
        self.asked += 1
        found = self.results.get(digest)
        return found[1] if found is not None else None

    def calls_of(self, function: str) -> Iterator[CallKey]:
        return (call for call, _ in self.results.values() if call.function == function)


class TableAgainstAModel(RuleBasedStateMachine):
    """Three dictionaries say what must come."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier = {0: b"zero", 1: b"one"}
        self.table = MemoTable([Earlier(self.earlier)])
        self.done: dict[int, Any] = {}
        self.running: dict[int, object] = {}

    @rule(x=st.integers(0, 5))
    def begin(self, x: int) -> None:
        token = object()
        got = self.table.begin(key(x), token)
        if x in self.done:
            assert got == Hit(self.done[x])
        elif x in self.earlier:
            assert got == Hit(self.earlier[x])
            self.done[x] = self.earlier[x]
        elif x in self.running:
            assert got == Running(self.running[x])
        else:
            assert got is MINE
            self.running[x] = token

    @rule(x=st.integers(0, 5), data=st.binary(max_size=4))
    def finish(self, x: int, data: bytes) -> None:
        if self.running.pop(x, None) is not None:
            self.table.done(key(x), data)
            self.done[x] = data

    @rule(x=st.integers(0, 5))
    def fail(self, x: int) -> None:
        self.running.pop(x, None)
        self.table.failed(key(x))

    @invariant()
    def sizes_agree(self) -> None:
        assert len(self.table) == len(self.done)
        assert self.table.size_bytes == sum(map(len, self.done.values()))
        known = {call.digest for call in self.table.calls_of(key(0).function)}
        assert known == {key(x).digest for x in {*self.done, *self.earlier}}


TestTableAgainstAModel = TableAgainstAModel.TestCase
TestTableAgainstAModel.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_with_a_limit_what_was_used_longest_ago_is_forgotten() -> None:
    table = MemoTable(limit_bytes=100)
    for x in range(10):
        assert table.begin(key(x)) is MINE
        table.done(key(x), b"." * 10)
    assert table.begin(key(0)) == Hit(b"." * 10)
    table.done(key(10), b"." * 10)
    assert table.size_bytes == 100 and len(table) == 10
    assert table.begin(key(0)) == Hit(b"." * 10) and table.begin(key(1)) is MINE
    table.done(key(11), b"." * 1000)
    assert table.size_bytes <= 100


def test_a_result_of_another_run_is_read_once() -> None:
    earlier = Earlier({1: b"one"})
    table = MemoTable([earlier])
    assert [table.begin(key(1)) for _ in range(3)] == [Hit(b"one")] * 3
    assert earlier.asked == 1


def test_a_call_that_is_under_way_is_not_looked_up_again() -> None:
    earlier = Earlier({})
    table = MemoTable([earlier])
    for _ in range(3):
        table.begin(key(1))
    assert earlier.asked == 1


def test_of_many_threads_one_makes_the_call() -> None:
    table = MemoTable([Earlier({})])
    for x in range(200):
        got: list[Any] = []
        gate = threading.Barrier(4)

        def ask(x: int = x, gate: threading.Barrier = gate, got: list[Any] = got) -> None:
            gate.wait()
            got.append(table.begin(key(x), x))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(repr, got)) == sorted(map(repr, [MINE, Running(x), Running(x), Running(x)]))
