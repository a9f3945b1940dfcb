"""`parsl-pool checkpoints`: what a user sees, and what is in the files afterwards."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.cli.main import main
from parsl_pool.memoization.checkpoints import load_checkpoints, opened_to_write
from parsl_pool.memoization.keys import CallKey, key_of_call
from parsl_pool.memoization.rows import Result


def fit(x: int, y: int = 2) -> int:
    return x


def load(path: str) -> str:
    return path


FIT, LOAD = f"{__name__}.fit", f"{__name__}.load"
DAY_S = 86400


def call(fn: Any, *args: Any) -> CallKey:
    return key_of_call(fn, args, {})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs: 000 of ten days ago, 001 of now; both have called fit(1)."""
    monkeypatch.chdir(tmp_path)
    then = {"000": time.time() - 10 * DAY_S, "001": time.time()}
    calls = {"000": [call(fit, 1), call(fit, 2), call(load, "a")], "001": [call(fit, 1), call(fit, 3)]}
    for run, keys in calls.items():
        store = opened_to_write(str(tmp_path / "runinfo" / run / "checkpoint"))
        store.write([Result(key, f"{key.function} of run {run}".encode(), then[run], run) for key in keys])
        store.close()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(["checkpoints", *arguments]) == status
    captured = capsys.readouterr()
    return captured.out + captured.err


def results(place: Path) -> dict[bytes, bytes | None]:
    loaded = load_checkpoints([place])
    assert not loaded.problems
    keys = [call(fit, 1), call(fit, 2), call(fit, 3), call(load, "a")]
    got = {key.digest: loaded.get(key.digest) for key in keys}
    loaded.close()
    return {digest: data for digest, data in got.items() if data is not None}


def test_list_tells_of_all_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "list").splitlines()
    assert lines[0].split() == ["RESULTS", "FUNCTIONS", "SIZE", "NEWEST", "CHECKPOINT"]
    assert [(line.split()[0], line.split()[1], line.split("/")[-2]) for line in lines[1:]] == [
        ("3", "2", "000"),
        ("2", "1", "001"),
    ]
    found = json.loads(said(capsys, "list", "--json", "runinfo/001"))
    assert [(one["results"], one["functions"], one["checkpoint"]) for one in found] == [(2, 1, "runinfo/001")]


def test_list_goes_on_after_a_bad_one(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "bad.sqlite").write_text("no database at all\n" * 100)
    text = said(capsys, "list", "bad.sqlite", "runinfo", status=1)
    assert "bad.sqlite: is damaged, or not a checkpoint" in text
    assert "runinfo/001" in text


def test_show_tells_of_the_functions(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "show", "runinfo/000").splitlines()
    assert sorted((line.split()[0], line.split()[-1]) for line in lines[1:]) == [("1", LOAD), ("2", FIT)]
    found = json.loads(said(capsys, "show", "--json", "runinfo/000"))
    assert {one["function"]: one["results"] for one in found} == {FIT: 2, LOAD: 1}


def test_show_tells_of_the_calls_of_a_function(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "show", "runinfo/000", "--function", FIT)
    assert text.count(f"{FIT}(x=") == 2 and LOAD not in text
    assert call(fit, 2).digest.hex()[:12] in text
    assert said(capsys, "show", "runinfo/000", "--function", FIT, "--limit", "1").count(FIT) == 1
    (one,) = json.loads(said(capsys, "show", "--json", "runinfo/000", "--function", LOAD))
    assert one["call"] == call(load, "a").digest.hex() and one["run"] == "000"
    assert one["parts"] == {name: digest.hex() for name, digest in call(load, "a").parts}


def test_merge_keeps_the_newest_of_each_call(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "merge", "runinfo/001", "runinfo/000", "--into", "all")
    assert "runinfo/001: 2 results went in" in text and "runinfo/000: 2 results went in" in text
    merged = results(runs / "all")
    assert len(merged) == 4
    assert merged[call(fit, 1).digest] == f"{FIT} of run 001".encode()
    assert results(runs / "runinfo" / "000")[call(fit, 1).digest] == f"{FIT} of run 000".encode()
    text = said(capsys, "merge", "runinfo", "all", "--into", "all")
    assert text.count("0 results went in") == 2 and "all: is the one to merge into, left out" in text


def test_prune_removes_what_is_said_and_gives_the_space_back(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "merge", "runinfo", "--into", "all")
    store = opened_to_write(str(runs / "all"))
    store.write([Result(call(fit, 10 + x), b"." * 10_000, time.time() - 30 * DAY_S, "old") for x in range(100)])
    store.close()
    size = os.path.getsize(runs / "all" / "results.sqlite")
    assert "all: 100 results would be removed" in said(capsys, "prune", "all", "--older-than", "20d", "--dry-run")
    assert "all: 100 results removed" in said(capsys, "prune", "all", "--older-than", "20d")
    assert os.path.getsize(runs / "all" / "results.sqlite") < size / 10
    assert "all: 1 results removed" in said(capsys, "prune", "all", "--function", LOAD, "--run", "000")
    assert len(results(runs / "all")) == 3


def test_prune_without_a_choice_removes_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "say which results" in said(capsys, "prune", "runinfo/000", status=2)
    assert len(results(runs / "runinfo" / "000")) == 3


@pytest.mark.parametrize("age", ["3", "d", "-1d", "1y", ""])
def test_a_wrong_age_is_told_of(runs: Path, capsys: pytest.CaptureFixture[str], age: str) -> None:
    with pytest.raises(SystemExit):
        main(["checkpoints", "prune", "runinfo/000", f"--older-than={age}"])
    assert "is no age; give a number and a unit" in capsys.readouterr().err


def test_verify_finds_one_changed_byte(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "verify", "runinfo").count("all of them whole") == 2
    file = runs / "runinfo" / "000" / "checkpoint" / "results.sqlite"
    data = file.read_bytes()
    assert data.count(f"{LOAD} of run 000".encode()) == 1
    file.write_bytes(data.replace(f"{LOAD} of run 000".encode(), f"{LOAD} of rux 000".encode()))
    text = said(capsys, "verify", "runinfo", status=1)
    assert f"of {LOAD} is not what was written" in text and text.count("all of them whole") == 1


def test_a_file_that_is_damaged_inside_is_told_of(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = opened_to_write(str(runs / "all"))
    store.write([Result(call(fit, x), b"." * 1000, 0.0, "000") for x in range(200)])
    store.close()
    with open(runs / "all" / "results.sqlite", "r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 40 * 4096)
    for action in (["list"], ["show"], ["show", "--function", FIT], ["verify"], ["merge", "--into", "new"]):
        assert "malformed" in said(capsys, *action, "all", status=1)


@pytest.mark.parametrize("action", [["show"], ["verify"], ["merge", "--into", "new"], ["prune", "--run", "1"]])
def test_what_is_not_there_is_told_of_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], action: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nothing" in said(capsys, *action, "nothing", status=1)
    assert not (tmp_path / "nothing").exists()
