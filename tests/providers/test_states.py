import pickle
from pathlib import Path

import pytest

from parsl_pool.providers.states import SUMMARY_TRUNCATION_THRESHOLD, JobState, JobStatus


def test_the_numbers_are_those_that_are_stored() -> None:
    assert [state.name for state in sorted(JobState)] == (
        "UNKNOWN PENDING RUNNING CANCELLED COMPLETED FAILED TIMEOUT HELD MISSING".split()
    )
    assert [int(state) for state in sorted(JobState)] == list(range(9))


def test_terminal_is_what_has_ended() -> None:
    living = {state for state in JobState if not JobStatus(state).terminal}
    assert living == {JobState.UNKNOWN, JobState.PENDING, JobState.RUNNING, JobState.HELD}


def test_status_name_is_the_states() -> None:
    assert JobStatus(JobState.HELD, "by the administrator").status_name == "HELD"


def test_a_status_survives_pickling() -> None:
    status = JobStatus(JobState.FAILED, "exit code 3", 3, "/out", "/err")
    assert pickle.loads(pickle.dumps(status)) == status


def test_output_without_a_path_or_a_file_is_none(tmp_path: Path) -> None:
    status = JobStatus(JobState.FAILED, stdout_path=str(tmp_path / "gone"), stderr_path=None)
    assert status.stdout is status.stderr is status.stdout_summary is status.stderr_summary is None


@pytest.mark.parametrize(
    "text",
    ["", "short\n", "x" * SUMMARY_TRUNCATION_THRESHOLD, "é" * SUMMARY_TRUNCATION_THRESHOLD],
    ids=["empty", "short", "limit", "limit in two-byte characters"],
)
def test_a_summary_of_short_output_is_all_of_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "out").write_text(text, encoding="utf-8")
    status = JobStatus(JobState.RUNNING, stdout_path=str(tmp_path / "out"))
    assert status.stdout_summary == status.stdout == text


@pytest.mark.parametrize("filler", ["x", "é", "\U0001f600"])
def test_a_summary_of_long_output_is_its_end(tmp_path: Path, filler: str) -> None:
    text = filler * (SUMMARY_TRUNCATION_THRESHOLD + 1) + "\nthe reason"
    (tmp_path / "err").write_text(text, encoding="utf-8")
    summary = JobStatus(JobState.FAILED, stderr_path=str(tmp_path / "err")).stderr_summary
    assert summary is not None and len(summary) == SUMMARY_TRUNCATION_THRESHOLD
    assert summary.startswith("[...] " + filler) and summary.endswith(filler + "\nthe reason")


def test_output_larger_than_memory_is_read_from_its_end_only(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no room
        file.seek(0, 2)
        file.write(b"\xff the end")
    status = JobStatus(JobState.FAILED, stdout_path=str(path))
    assert status.stdout_summary is not None and status.stdout_summary.endswith(
        "\N{REPLACEMENT CHARACTER} the end"
    )
    assert status.stdout is not None and status.stdout.endswith("the end") and len(status.stdout) < 1e8
