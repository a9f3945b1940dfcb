"""The runner of CPython's suite finds what it is there to find."""

import sys
from pathlib import Path

import pytest

from tests.cpython import suite
from tests.cpython.exclusions import Exclusion
from tests.cpython.runner import ClassRun, Outcome, judge

EXCLUSION = Exclusion("WaitTests", "test_odd", "a reason")


def test_a_failed_a_hung_and_a_crashed_test_are_complaints_by_name() -> None:
    outcomes = [Outcome("test_a", "failed"), Outcome("test_b", "hung"), Outcome("test_c", "crashed")]
    titles = [complaint.split("\n")[0] for complaint in judge("SomeTest", outcomes, {}).complaints]
    assert titles == ["test_a failed", "test_b hung", "test_c crashed"]


@pytest.mark.parametrize("kind", ["failed", "hung", "crashed"])
def test_an_excluded_test_may_fail(kind: str) -> None:
    outcomes = [Outcome("test_odd", kind), Outcome("test_a", "passed")]
    verdict = judge("SomeTest", outcomes, {"test_odd": EXCLUSION})
    assert not verdict.complaints
    assert (verdict.run, verdict.excluded) == (1, 1)


@pytest.mark.parametrize("kind", ["passed", "skipped"])
def test_an_excluded_test_must_fail(kind: str) -> None:
    assert judge("SomeTest", [Outcome("test_odd", kind)], {"test_odd": EXCLUSION}).complaints


def test_an_exclusion_must_exist() -> None:
    assert judge("SomeTest", [Outcome("test_a", "passed")], {"test_odd": EXCLUSION}).complaints


def test_a_hang_and_a_crash_are_named_and_the_tests_after_them_run() -> None:
    run = ClassRun("stdlib", suite.Suite(None, False), "Troubled", module="tests.cpython.troubled")
    outcomes = run.outcomes(["test_1_fine", "test_2_hangs", "test_3_crashes", "test_4_fine"], limit_s=3)
    assert [(outcome.test, outcome.kind) for outcome in outcomes] == [
        ("test_1_fine", "passed"),
        ("test_2_hangs", "hung"),
        ("test_3_crashes", "crashed"),
        ("test_4_fine", "passed"),
    ]
    assert "in test_2_hangs" in outcomes[1].detail
    assert "exit code 3" in outcomes[2].detail


def test_a_process_that_outlives_the_child_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.cpython.runner.GONE_LIMIT_S", 0.5)
    run = ClassRun("stdlib", suite.Suite(None, False), "Troubled", module="tests.cpython.troubled")
    run.outcomes(["test_5_leaves_a_process"])
    assert len(run.left) == 1
    assert "time.sleep(600)" in run.left[0]


def test_another_versions_suite_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "MINOR", f"{sys.version_info.major}.99")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(suite.SuiteMissing, match=r"libpython3\.99-testsuite"):
        suite.find(tmp_path / "scratch")


def test_a_suite_found_elsewhere_brings_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "lib"
    for name in ("test/test_concurrent_futures.py", "queue.py", "test/test_queue.py", "test/__init__.py"):
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).touch()
    monkeypatch.setenv(suite.ELSEWHERE, str(elsewhere))
    found = suite.find(tmp_path / "scratch")
    assert found.root is not None
    assert [path.name for path in found.root.iterdir()] == ["test"]
    inner = sorted(path.name for path in (found.root / "test").iterdir())
    assert inner == ["__init__.py", "support", "test_concurrent_futures.py"]
