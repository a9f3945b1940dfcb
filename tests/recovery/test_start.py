"""What cannot be started is told: all that waits fails, with the command that was run and what it said. No hang."""

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import mul
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ExecutionProviderException, PoolBroken, StartError, VersionMismatch
from parsl_pool.providers import LocalProvider
from parsl_pool.scaling import table
from tests.eventually import eventually
from tests.recovery.arrangement import Parts, shut_down
from tests.recovery.load import TASKS, Load

pytestmark = [pytest.mark.kill, pytest.mark.timeout(120)]


@contextmanager
def pool_on(provider: Any, **options: Any) -> Iterator[ParslPoolExecutor]:
    executor = HighThroughputExecutor(max_workers_per_node=2, provider=provider, manager_inside=False, **options)
    pool = ParslPoolExecutor(Config([executor], retries=0))
    try:
        yield pool
    finally:
        shut_down(pool)


def all_fail(pool: ParslPoolExecutor, within: float = 60, kind: type[PoolBroken] = PoolBroken) -> str:
    """10,000 tasks wait for what does not come. What they are told, after which the pool takes no more."""
    futures = [pool.submit(mul, task, 3) for task in range(TASKS)]
    error = futures[0].exception(within)
    assert isinstance(error, PoolBroken), repr(error)
    eventually(lambda: all(future.done() for future in futures))
    assert {type(future.exception(0)) for future in futures} == {kind}
    with pytest.raises(kind):
        pool.submit(mul, 1, 1)
    return str(error)


@pytest.mark.parametrize("code", [0, 3])
def test_a_block_whose_command_ends_is_told_with_its_words(code: int) -> None:
    with pool_on(LocalProvider(worker_init=f"echo no licence today >&2; exit {code}")) as pool:
        text = all_fail(pool)
    assert "no licence today" in text
    assert f"exit code: {code}" in text or f"exit code {code}" in text
    assert "manager_program" in text, "the command"


def test_a_block_whose_manager_never_registers_is_told_with_its_words(tmp_path: Path) -> None:
    """Two such blocks are enough: each has used up all its time."""
    count = f"echo x >> {tmp_path}/blocks"
    provider = LocalProvider(worker_init=f"{count}; echo waiting for a licence >&2; sleep 1000")
    with pool_on(provider, block_start_timeout=0.7) as pool:
        text = all_fail(pool)
    assert (tmp_path / "blocks").read_text().count("x") == 2
    assert "2 blocks in a row" in text and "has not registered within 0.7 s" in text
    assert "waiting for a licence" in text
    assert "manager_program" in text, "the command"


def test_a_manager_that_is_late_is_told_of_on_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Once, with all that helps to find out why; it may still come."""
    monkeypatch.setattr(table, "LATE_S", 0.5)
    caplog.set_level(logging.WARNING, "parsl_pool")
    gate = tmp_path / "gate"
    with pool_on(LocalProvider(worker_init=f"echo a slow disk >&2; until test -e {gate}; do sleep 0.1; done")) as pool:
        future = pool.submit(mul, 2, 3)
        eventually(lambda: caplog.messages)
        assert "its job runs, nobody has registered yet" in pool.explain()
        gate.touch()
        assert future.result(30) == 6
    (text,) = caplog.messages
    assert "its manager has not registered for" in text and "a slow disk" in text and "manager_program" in text


# Put before all else on the way of a manager: it takes itself for another one.
OTHER = """
from parsl_pool.interchange import launch, manager, wire
{0}
"""


@pytest.mark.parametrize(
    "other, says",
    [
        ("launch.python_version = lambda: '3.4'", "it runs Python 3.4 with parsl_pool "),
        ("wire.PROTOCOL += 1", "its processes have to understand each other"),
    ],
    ids=["Python", "protocol"],
)
def test_a_manager_of_another_version_is_refused_with_both_versions(tmp_path: Path, other: str, says: str) -> None:
    root = Path(table.__file__).parents[2]
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.path.append({str(root)!r})" + OTHER.format(other))
    with pool_on(LocalProvider(worker_init=f"export PYTHONPATH={tmp_path}")) as pool:
        text = all_fail(pool, kind=VersionMismatch)
    assert says in text and "install the same versions" in text


def test_managers_that_end_before_they_are_of_use_are_told_with_their_words(tmp_path: Path) -> None:
    """They register, so the blocks are well. But one after the other ends before it has a worker."""
    root = Path(table.__file__).parents[2]
    end = "def begin(self):\n    print('no memory today', file=sys.stderr, flush=True)\n    sys.exit(9)"
    way = f"import sys\nsys.path.append({str(root)!r})" + OTHER.format(f"{end}\nmanager.Manager.begin = begin")
    (tmp_path / "sitecustomize.py").write_text(way)
    with pool_on(LocalProvider(worker_init=f"export PYTHONPATH={tmp_path}")) as pool:
        text = all_fail(pool)
    # The end of a job may be seen before the word of its manager's start has come; the ends of two at the same time.
    whose = "worker of theirs was up|manager of theirs registered"
    assert re.search(f"[3-5] blocks in a row ended before a ({whose})", text)
    assert "no memory today" in text
    assert "manager_program" in text, "the command"


class FailingProvider(LocalProvider):
    """Raises from some calls, as one whose scheduler does not answer."""

    def __init__(self, error: Exception, submits: int, statuses: int) -> None:
        super().__init__()
        self.error, self.submits, self.statuses = error, submits, statuses

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        if self.submits:
            self.submits -= 1
            raise self.error
        return super().submit(*args, **kwargs)

    def status(self, *args: Any, **kwargs: Any) -> Any:
        if self.statuses:
            self.statuses -= 1
            raise self.error
        return super().status(*args, **kwargs)


UNAVAILABLE = ExecutionProviderException("the scheduler is down for lunch")


def test_a_provider_that_cannot_submit_is_told() -> None:
    with pool_on(FailingProvider(UNAVAILABLE, 1000, 0)) as pool:
        assert "down for lunch" in all_fail(pool)


@pytest.mark.parametrize("submits, statuses", [(1000, 0), (0, 1000)], ids=["submit", "status"])
def test_a_provider_with_a_fault_is_told(submits: int, statuses: int) -> None:
    """It raises what no provider may."""
    with pool_on(FailingProvider(ZeroDivisionError("its own fault"), submits, statuses)) as pool:
        assert "ZeroDivisionError: its own fault" in all_fail(pool)


def test_a_provider_that_fails_for_a_while_is_asked_again() -> None:
    with pool_on(FailingProvider(UNAVAILABLE, 2, 3)) as pool:
        futures = [pool.submit(mul, task, 3) for task in range(100)]
        assert [future.result(60) for future in futures] == [task * 3 for task in range(100)]


def test_a_block_that_cannot_be_replaced_is_told(tmp_path: Path) -> None:
    """The first one was well, and 10,000 tasks are under way when it dies."""
    licence = tmp_path / "licence"
    licence.touch()
    check = f"test -e {licence} || {{ echo no licence any more >&2; exit 3; }}"
    with pool_on(LocalProvider(worker_init=check)) as pool:
        load = Load(pool, tmp_path / "ledger")
        load.top_up()
        load.advance(100)
        licence.unlink()
        Parts(pool, inside=False).manager.kill()
        load.finish()
        assert load.check(PoolBroken) > 0
        assert "no licence any more" in str(load.futures[-1].exception(0))


# What stands in the interpreter's place, and what is to be said of it.
INTERPRETERS: dict[str, Callable[[Path], None]] = {
    "is not there": lambda path: None,
    "cannot be run": lambda path: path.touch(mode=0o600),
}


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_an_interchange_that_cannot_be_started_is_an_error_at_once(
    manager_inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: str
) -> None:
    path = tmp_path / "python"
    INTERPRETERS[interpreter](path)
    monkeypatch.setattr(sys, "executable", str(path))
    pool = ParslPoolExecutor(2, manager_inside=manager_inside)
    with pytest.raises(StartError, match=r"python.*interchange"):
        pool.submit(mul, 2, 3)
    monkeypatch.undo()
    shut_down(pool)
