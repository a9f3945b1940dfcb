"""What `explain()` says is no contradiction, at any moment."""

import re
from pathlib import Path

from parsl_pool import ParslPoolExecutor
from tests.eventually import eventually
from tests.frameworks import work


def test_no_task_has_begun_while_no_worker_is_up(manager_inside: bool) -> None:
    """Seen by the claims table, a task begins some milliseconds before the message that its worker is up."""
    for _ in range(5):
        with ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
            future = pool.submit(abs, -1)
            while not future.done():
                text = pool.explain()
                begun = re.search(r"(\d+) of them begun", text)
                assert begun is not None
                assert begun[1] == "0" or "no worker is up" not in text, text


def test_it_names_some_of_what_runs_and_counts_the_rest(manager_inside: bool, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ParslPoolExecutor(7, manager_inside=manager_inside) as pool:
        futures = [pool.submit(work.announce_and_wait_for, tmp_path / str(n), gate) for n in range(7)]
        eventually(lambda: all(future.running() for future in futures), within=60)
        lines = pool.explain().splitlines()
        gate.touch()
        assert all(future.result(60) for future in futures)
    named = [line for line in lines if line.startswith("running: task")]
    assert len(named) == 5 and all("announce_and_wait_for" in line for line in named)
    assert "running: 2 more" in lines
