"""Writing and loading checkpoints: modes, bad files, several runs."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import BadCheckpoint, ConfigurationError
from parsl_pool.memoization.checkpoints import (
    MODES,
    Checkpointer,
    get_all_checkpoints,
    get_last_checkpoint,
    load_checkpoints,
)
from parsl_pool.memoization.keys import CallKey, explain_miss, key_of_call
from parsl_pool.memoization.rows import Result
from parsl_pool.memoization.table import MINE, Hit, MemoTable
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]


def f(x: int) -> int:
    return x


def key(x: int) -> CallKey:
    return key_of_call(f, (x,), {})


def rows(folder: Path) -> dict[bytes, bytes]:
    """What is in a checkpoint, read by nothing of ours."""
    with sqlite3.connect(folder / "results.sqlite") as connection:
        got = dict(connection.execute("SELECT digest, payload FROM parsl_pool_results").fetchall())
    connection.close()
    return got


def expected(*numbers: int) -> dict[bytes, bytes]:
    return {key(x).digest: b"%d" % x for x in numbers}


def test_task_exit_writes_each_result_soon(tmp_path: Path) -> None:
    writer = Checkpointer("task_exit", tmp_path / "c", run="000")
    for x in range(3):
        writer.add(key(x), b"%d" % x)
        eventually(lambda: rows(tmp_path / "c") == expected(*range(x + 1)))  # noqa: B023  # called at once
    writer.close()
    assert rows(tmp_path / "c") == expected(0, 1, 2)
    assert os.listdir(tmp_path / "c") == ["results.sqlite"]


def test_a_burst_is_written_in_few_transactions(tmp_path: Path) -> None:
    writer = Checkpointer("task_exit", tmp_path / "c")
    writes: list[int] = []
    assert writer._store is not None
    write = writer._store.write

    def counted(results: Sequence[Result]) -> None:
        writes.append(len(results))
        write(results)

    writer._store.write = counted  # type: ignore[method-assign]
    for x in range(2000):
        writer.add(key(x), b"%d" % x)
    writer.close()
    assert sum(writes) == 2000 and len(writes) < 500
    assert rows(tmp_path / "c") == expected(*range(2000))


def test_periodic_writes_after_a_period(tmp_path: Path) -> None:
    writer = Checkpointer("periodic", tmp_path / "c", period_s=0.05)
    writer.add(key(1), b"1")
    eventually(lambda: rows(tmp_path / "c") == expected(1))
    writer.close()


def test_periodic_writes_the_rest_at_the_end(tmp_path: Path) -> None:
    writer = Checkpointer("periodic", tmp_path / "c", period_s=3600)
    writer.add(key(1), b"1")
    assert rows(tmp_path / "c") == {}
    writer.close()
    assert rows(tmp_path / "c") == expected(1)


def test_dfk_exit_writes_at_the_end(tmp_path: Path) -> None:
    writer = Checkpointer("dfk_exit", tmp_path / "c")
    writer.add(key(1), b"1")
    assert rows(tmp_path / "c") == {}
    writer.close()
    writer.close()
    assert rows(tmp_path / "c") == expected(1)


def test_manual_writes_when_it_is_told_and_then_only(tmp_path: Path) -> None:
    writer = Checkpointer("manual", tmp_path / "c")
    writer.add(key(1), b"1")
    assert rows(tmp_path / "c") == {}
    assert writer.checkpoint() == str(tmp_path / "c")
    assert rows(tmp_path / "c") == expected(1)
    writer.add(key(2), b"2")
    writer.close()
    assert rows(tmp_path / "c") == expected(1)


def test_without_a_mode_nothing_is_written_and_checkpoint_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Checkpointer(None, tmp_path / "c")
    writer.add(key(1), b"1")
    assert writer.checkpoint() == str(tmp_path / "c")
    writer.close()
    assert not (tmp_path / "c").exists()
    assert "checkpoint_mode is None" in caplog.text


@pytest.mark.parametrize("mode", MODES[1:])
def test_what_was_added_can_be_asked_for(tmp_path: Path, mode: str) -> None:
    writer = Checkpointer(mode, tmp_path / "c", period_s=3600)
    writer.add(key(1), b"1")
    assert (writer.get(key(1).digest), writer.get(key(2).digest)) == (b"1", None)
    writer.checkpoint()
    assert writer.get(key(1).digest) == b"1"
    assert key(1) in set(writer.calls_of(key(1).function))
    writer.close()


def test_the_newest_result_of_a_call_wins(tmp_path: Path) -> None:
    writer = Checkpointer("manual", tmp_path / "c")
    for data in (b"old", b"new"):
        writer.add(key(1), data)
    writer.checkpoint()
    writer.add(key(1), b"newest")
    writer.checkpoint()
    writer.close()
    assert rows(tmp_path / "c") == {key(1).digest: b"newest"}


@pytest.mark.parametrize(
    "mode, period_s, text",
    [("exit", None, "not 'exit'"), ("periodic", None, "not None"), ("periodic", 0, "above 0 seconds, not 0")],
)
def test_wrong_options_are_told_of(tmp_path: Path, mode: str, period_s: float | None, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Checkpointer(mode, tmp_path / "c", period_s=period_s)
    assert not (tmp_path / "c").exists()


# ---- loading


def written(folder: Path, results: dict[int, bytes]) -> Path:
    writer = Checkpointer("dfk_exit", folder, run=folder.parent.name)
    for x, data in results.items():
        writer.add(key(x), data)
    writer.close()
    return folder


def test_a_later_run_finds_results_and_reads_what_it_asks_for(tmp_path: Path) -> None:
    folder = written(tmp_path / "c", {1: b"one", 2: b"two"})
    loaded = load_checkpoints([folder])
    table = MemoTable([loaded])
    assert table.begin(key(1)) == Hit(b"one") and table.begin(key(3)) is MINE
    assert len(table) == 1
    assert explain_miss(key(9), table.calls_of(key(9).function)).endswith("differs in argument x")
    loaded.close()


def test_a_run_a_directory_and_a_file_can_be_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "000" / "checkpoint", {1: b"one"})
    for path in (tmp_path / "000", folder, folder / "results.sqlite"):
        loaded = load_checkpoints([path])
        assert loaded.get(key(1).digest) == b"one" and not loaded.problems
        loaded.close()


def test_of_several_checkpoints_the_last_one_wins(tmp_path: Path) -> None:
    paths = [written(tmp_path / name, results) for name, results in (("a", {1: b"a", 2: b"a"}), ("b", {1: b"b"}))]
    loaded = load_checkpoints(paths)
    assert (loaded.get(key(1).digest), loaded.get(key(2).digest)) == (b"b", b"a")
    loaded.close()


def test_checkpoints_of_all_runs_are_found_in_their_order(tmp_path: Path) -> None:
    for run in ("000", "002", "1000", "999"):
        written(tmp_path / run / "checkpoint", {1: run.encode()})
    (tmp_path / "1001").mkdir()  # it made none
    (tmp_path / "notes").mkdir()
    found = get_all_checkpoints(tmp_path)
    assert [Path(path).parent.name for path in found] == ["000", "002", "999", "1000"]
    assert get_last_checkpoint(tmp_path) == []
    (tmp_path / "1001").rmdir()
    assert get_last_checkpoint(tmp_path) == found[-1:]
    assert get_all_checkpoints(tmp_path / "nothing") == get_last_checkpoint(tmp_path / "nothing") == []


def damaged(kind: str, folder: Path) -> Path:
    """A checkpoint that is none (any more)."""
    file = folder / "results.sqlite"
    if kind == "missing":
        return folder
    if kind == "text":
        folder.mkdir()
        file.write_text("results\n" * 500)
        return folder
    if kind == "pickle":
        folder.mkdir()
        file.write_bytes(b"\x80\x04\x95")
        return folder
    if kind == "foreign":
        folder.mkdir()
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE parsl_pool_results (digest BLOB)")
        connection.commit()
        connection.close()
        return folder
    written(folder, {x: b"." * 100 for x in range(200)})
    if kind == "newer":
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    elif kind == "cut short":
        os.truncate(file, file.stat().st_size // 2)
    elif kind == "header":
        with open(file, "r+b") as opened:
            opened.write(b"\0" * 100)
    return folder


@pytest.mark.parametrize(
    "kind, text",
    [
        ("missing", "no such file"),
        ("text", "is damaged, or not a checkpoint"),
        ("pickle", "is damaged, or not a checkpoint"),
        ("foreign", "is an SQLite database, but not a checkpoint of parsl_pool"),
        ("newer", "is of format 99; this version of parsl_pool reads format 1"),
        ("cut short", "is damaged, or not a checkpoint: database disk image is malformed"),
        ("header", "is damaged, or not a checkpoint"),
    ],
)
def test_a_bad_checkpoint_is_told_of_and_the_rest_loads(tmp_path: Path, kind: str, text: str) -> None:
    bad, good = damaged(kind, tmp_path / "bad"), written(tmp_path / "good", {1: b"one"})
    loaded = load_checkpoints([bad, good])
    (problem,) = loaded.problems
    assert text in str(problem) and str(bad) in str(problem)
    assert loaded.get(key(1).digest) == b"one"
    loaded.close()
    assert os.listdir(tmp_path / "good") == ["results.sqlite"]


@pytest.mark.parametrize("kind", ["text", "foreign", "newer"])
def test_nothing_is_written_into_a_file_that_is_no_checkpoint(tmp_path: Path, kind: str) -> None:
    file = damaged(kind, tmp_path / "bad") / "results.sqlite"
    before = file.read_bytes()
    with pytest.raises(BadCheckpoint, match=str(tmp_path)):
        Checkpointer("task_exit", tmp_path / "bad")
    assert file.read_bytes() == before


def test_a_run_that_was_killed_before_its_first_result_can_be_loaded(tmp_path: Path) -> None:
    for name in ("new", "empty"):
        (tmp_path / name).mkdir()
        if name == "new":
            Checkpointer("manual", tmp_path / name).close()
        else:
            (tmp_path / name / "results.sqlite").touch()
        loaded = load_checkpoints([tmp_path / name])
        assert not loaded.problems and loaded.get(key(1).digest) is None
        assert list(loaded.calls_of(key(1).function)) == []
        loaded.close()


def test_a_result_that_was_changed_on_disk_is_no_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path / "c", {1: b"one", 2: b"two"})
    connection = sqlite3.connect(folder / "results.sqlite")
    connection.execute("UPDATE parsl_pool_results SET payload = x'00' WHERE payload = ?", (b"one",))
    connection.commit()
    connection.close()
    loaded = load_checkpoints([folder])
    assert (loaded.get(key(1).digest), loaded.get(key(2).digest)) == (None, b"two")
    assert loaded.get(key(1).digest) is None
    assert caplog.text.count("is not what was written") == 1
    loaded.close()


def test_what_can_still_be_read_of_a_damaged_file_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path / "c", {x: b"%d" % x * 500 for x in range(200)})
    with open(folder / "results.sqlite", "r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 10 * 4096)
    loaded = load_checkpoints([folder])
    got = {x: loaded.get(key(x).digest) for x in range(200)}
    loaded.close()
    assert set(got.values()) - {None} and None in got.values()
    assert all(data in (None, b"%d" % x * 500) for x, data in got.items())
    assert caplog.text.count("such calls are made again (told once)") == 1


def test_nobody_else_can_read_a_checkpoint(tmp_path: Path) -> None:
    folder = written(tmp_path / "c", {1: b"one"})
    assert (folder / "results.sqlite").stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0


def loaded_modules(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).split())


def test_who_does_not_checkpoint_does_not_pay_for_the_database() -> None:
    names = "keys", "table", "checkpoints"
    statement = "; ".join(f"import parsl_pool.memoization.{name}" for name in names)
    statement += "; parsl_pool.memoization.checkpoints.Checkpointer(None, 'nowhere')"
    got = loaded_modules(statement) - loaded_modules("pass")  # how the package is installed may load some of them
    assert "parsl_pool.memoization.checkpoints" in got
    assert not got & {"sqlalchemy", "sqlite3", "datetime", "pathlib", "numpy", "pandas"}


def test_the_thread_has_a_name_and_an_end(tmp_path: Path) -> None:
    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    writer: Any = Checkpointer("task_exit", tmp_path / "c")
    assert "parsl-pool-checkpoint" in names()
    writer.close()
    assert "parsl-pool-checkpoint" not in names()
