"""The store against a dictionary; what is done with it between runs; a database that is no file."""

import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parsl_pool.errors import BadCheckpoint
from parsl_pool.memoization.checkpoints import Checkpointer, load_checkpoints, opened_to_write
from parsl_pool.memoization.keys import CallKey, key_of_call
from parsl_pool.memoization.maintenance import Choice, chosen, count, merge, problems, prune, summary
from parsl_pool.memoization.rows import Result, packed, unpacked
from parsl_pool.memoization.store import Store

NUMBERS = st.integers(0, 7)
PAYLOADS = st.binary(max_size=20) | st.just(b"long" * 5000)


def f(x: int) -> int:
    return x


def g(x: int) -> int:
    return x


def key(x: int, fn: Any = f) -> CallKey:
    return key_of_call(fn, (x,), {})


class StoreAgainstADictionary(RuleBasedStateMachine):
    """Whatever is done with it, and however often it is opened again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.place = os.path.join(self.folder.name, "results.sqlite")
        self.store = Store(self.place, to_write=True)
        self.model: dict[int, tuple[bytes, float, str]] = {}
        self.now = 0.0

    @rule(rows=st.lists(st.tuples(NUMBERS, PAYLOADS), min_size=1, max_size=5), run=st.sampled_from(["000", "001"]))
    def write(self, rows: list[tuple[int, bytes]], run: str) -> None:
        self.now += 1
        self.store.write([Result(key(x), data, self.now, run) for x, data in rows])
        self.model.update({x: (data, self.now, run) for x, data in rows})

    @rule(to_write=st.booleans())
    def open_again(self, to_write: bool) -> None:
        self.store.close()
        if not to_write:
            Store(self.place).close()
        self.store = Store(self.place, to_write=True)

    @precondition(lambda self: self.model)
    @rule(age=st.integers(0, 4), run=st.sampled_from([None, "000", "001"]))
    def prune(self, age: int, run: str | None) -> None:
        before = self.now - age
        choice = Choice(before=before, run=run)
        gone = [x for x, (_, at, by) in self.model.items() if at < before and run in (None, by)]
        assert count(self.store, choice) == prune(self.store, choice) == len(gone)
        for x in gone:
            del self.model[x]

    @rule(x=NUMBERS, data=PAYLOADS, age=st.integers(-2, 2))
    def merge(self, x: int, data: bytes, age: int) -> None:
        at = self.now - age
        with tempfile.TemporaryDirectory() as folder:
            other = Store(os.path.join(folder, "other.sqlite"), to_write=True)
            other.write([Result(key(x), data, at, "other")])
            is_newer = x not in self.model or at > self.model[x][1]
            assert merge(self.store, [other]) == is_newer
            other.close()
        if is_newer:
            self.model[x] = data, at, "other"
        self.now = max(self.now, at)

    @invariant()
    def both_say_the_same(self) -> None:
        for x in range(8):
            assert self.store.get(key(x).digest) == self.model.get(x, (None,))[0]
        got = {result.key.digest: result for result in self.store.results()}
        assert {digest: result[1:] for digest, result in got.items()} == {
            key(x).digest: row for x, row in self.model.items()
        }
        for x in self.model:
            assert got[key(x).digest].key.parts == key(x).parts
        assert {call.digest for call in self.store.calls_of(key(0).function)} == set(got)
        functions = summary(self.store)
        assert sum(one.results for one in functions) == len(self.model)
        assert sum(one.size_bytes for one in functions) == sum(len(row[0]) for row in self.model.values())

    def teardown(self) -> None:
        assert list(problems(self.store)) == []
        self.store.close()
        self.folder.cleanup()


TestStoreAgainstADictionary = StoreAgainstADictionary.TestCase
TestStoreAgainstADictionary.settings = settings(max_examples=10, stateful_step_count=8, deadline=None)


@pytest.mark.parametrize("name", ["x", "@default y", "kw[ä\0]", "n" * 500, ""])
def test_parts_come_back_as_they_were_put_away(name: str) -> None:
    parts = ((name, b"\0" * 16), ("y", bytes(range(16))))
    assert unpacked(packed(parts)) == ((name[:200], b"\0" * 16), ("y", bytes(range(16))))
    assert unpacked(packed(())) == ()


def test_calls_are_chosen_by_function_the_newest_first(tmp_path: Path) -> None:
    store = opened_to_write(os.fspath(tmp_path / "c"))
    store.write([Result(key(x, fn), b"." * x, float(x), "000") for x in range(5) for fn in (f, g)])
    found = list(chosen(store, Choice(functions=(key(0, g).function,)), limit=2))
    assert [(result.key, size) for result, size in found] == [(key(4, g), 4), (key(3, g), 3)]
    store.close()


def bytes_read() -> int:
    """By this process, so far: from files, whether or not they were in memory."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes by /proc/self/io")
def test_a_large_checkpoint_is_not_read_when_it_is_loaded(tmp_path: Path) -> None:
    store = opened_to_write(os.fspath(tmp_path / "c"))
    for first in range(0, 5000, 1000):
        store.write([Result(key(x), b"%d " % x * 400, 0.0, "000") for x in range(first, first + 1000)])
    store.close()
    size = os.path.getsize(tmp_path / "c" / "results.sqlite")
    before = bytes_read()
    loaded = load_checkpoints([tmp_path / "c"])
    opened = bytes_read()
    assert loaded.get(key(4000).digest) == b"4000 " * 400 and loaded.get(key(5000).digest) is None
    asked = bytes_read()
    loaded.close()
    assert size > 8_000_000 and opened - before < size / 50 and asked - opened < size / 50


def test_many_threads_add_and_ask_at_once(tmp_path: Path) -> None:
    writer = Checkpointer("task_exit", tmp_path / "c")
    wrong: list[object] = []

    def work(first: int) -> None:
        for x in range(first, first + 100):
            writer.add(key(x), b"%d" % x)
            got = writer.get(key(x).digest)
            if got != b"%d" % x:
                wrong.append((x, got))

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert wrong == []
    loaded = load_checkpoints([tmp_path / "c"])
    assert all(loaded.get(key(x).digest) == b"%d" % x for x in range(400))
    loaded.close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = opened_to_write(os.fspath(tmp_path / "c"))
    store.close()
    store.close()
    with pytest.raises(BadCheckpoint, match="is closed"):
        store.get(key(1).digest)


@pytest.mark.parametrize(
    "url, text",
    [
        ("nosuchdatabase://host/db", "cannot be reached"),
        ("postgresql+nosuchdriver://user:secret@host/db", "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_of_without_its_password(url: str, text: str) -> None:
    loaded = load_checkpoints([url])
    assert text in str(loaded.problems[0]) and "secret" not in str(loaded.problems[0])
    with pytest.raises(BadCheckpoint, match=text):
        Checkpointer("task_exit", url)


POSTGRES = os.environ.get("POSTGRES_URL", "")
"""The URL of a database that tests may write to, with its driver: "postgresql+psycopg://user:password@host/name"."""


@pytest.mark.service
@pytest.mark.skipif(not POSTGRES, reason="needs a database: POSTGRES_URL, with a driver that is installed")
def test_a_database_server_keeps_results_as_a_file_does() -> None:
    store = opened_to_write(POSTGRES)
    try:
        prune(store, Choice(functions=(key(0).function, key(0, g).function)))
        writer = Checkpointer("task_exit", POSTGRES, run="000")
        for x in range(2500):
            writer.add(key(x), b"%d" % x)
        writer.add(key(1), b"newest")
        writer.close()
        loaded = load_checkpoints([POSTGRES])
        assert not loaded.problems
        assert loaded.get(key(1).digest) == b"newest" and loaded.get(key(2499).digest) == b"2499"
        assert loaded.get(key(2500).digest) is None
        assert key(7) in set(loaded.calls_of(key(0).function))
        assert {call.parts for call in loaded.calls_of(key(0).function)} >= {key(7).parts}
        loaded.close()
        (one,) = [one for one in summary(store) if one.function == key(0).function]
        assert one.results == 2500 and list(problems(store)) == []
        assert prune(store, Choice(functions=(key(0).function,))) == 2500
    finally:
        store.close()
