"""Managers of another Python, or of another parsl_pool, are refused, and the pool says so."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, __version__
from parsl_pool.errors import PoolBroken, VersionMismatch
from parsl_pool.interchange import curve, versions, wire
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually
from tests.fuzz.zmq_peers import Peer, registration
from tests.recovery.arrangement import shut_down

pytestmark = pytest.mark.timeout(120)

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
ROOT = Path(__file__).parents[2]
CHANGES = [{"python": "3.4"}, {"version": "0.0.9"}, {"protocol": 0}]


@contextmanager
def pool_on(provider: LocalProvider) -> Iterator[ParslPoolExecutor]:
    pool = ParslPoolExecutor(Config([HighThroughputExecutor(max_workers_per_node=1, provider=provider)], retries=0))
    try:
        yield pool
    finally:
        for future in pool._backend.unfinished():
            future.cancel()
        shut_down(pool)


def ticket_of(pool: ParslPoolExecutor) -> curve.Ticket:
    """Where managers connect, once they can."""
    path = eventually(lambda: pool._backend.link._apart._ticket)
    eventually(lambda: os.path.exists(path), within=30)
    return curve.read_ticket(path)


def claim(pool: ParslPoolExecutor, name: str, block: str, **changes: Any) -> str:
    """Somebody registers who says that he is of such versions. What he is told."""
    ticket = ticket_of(pool)
    with Peer(ticket.addresses[0], ticket, f"{name}/1") as peer:
        refused = peer.await_answer(registration(name, block=block, **changes), wire.Refused)
    return str(refused.reason)


def test_what_is_the_same_goes_together() -> None:
    assert versions.mismatch(registration("m")) == ""


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes)))
def test_the_text_names_both_and_the_remedy(changes: dict[str, Any]) -> None:
    text = versions.mismatch(registration("m", **changes))
    assert str(*changes.values()) in text
    assert OURS in text and __version__ in text and "worker_init" in text


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes)))
def test_a_pool_whose_first_manager_is_refused_is_broken(changes: dict[str, Any]) -> None:
    with pool_on(LocalProvider(worker_init="exec sleep 1000")) as pool:
        future = pool.submit(abs, -1)
        told = claim(pool, "stranger", "0", **changes)
        error = future.exception(30)
        assert isinstance(error, VersionMismatch) and isinstance(error, PoolBroken)
        assert str(error).endswith(f", is refused: {told}") and "manager stranger on" in str(error)
        with pytest.raises(VersionMismatch):
            pool.submit(abs, -1)


@pytest.mark.parametrize("block", ["0", wire.BY_HAND])
def test_a_manager_that_is_refused_later_costs_nothing(block: str, caplog: pytest.LogCaptureFixture) -> None:
    with pool_on(LocalProvider(init_blocks=1, max_blocks=2)) as pool:
        assert pool.submit(abs, -1).result(60) == 1
        told = claim(pool, "stranger", block, python="3.4")
        eventually(lambda: [each for each in caplog.records if each.getMessage().endswith(f", is refused: {told}")])
        assert pool.submit(abs, -2).result(30) == 2


def test_who_is_started_by_hand_and_refused_costs_nothing() -> None:
    with pool_on(LocalProvider(worker_init="sleep 2")) as pool:
        future = pool.submit(abs, -1)
        assert "Python 3.4" in claim(pool, "stranger", wire.BY_HAND, python="3.4")
        assert future.result(60) == 1


# ---- real ones


@cache
def others() -> list[str]:
    """Interpreters of other versions: on the PATH, of pyenv, or in environments beside this one."""
    found = [shutil.which(f"python3.{minor}") or "" for minor in range(10, 15)]
    for pattern in [Path.home() / ".pyenv" / "versions", Path(sys.prefix).parent]:
        found += [str(path) for path in sorted(pattern.glob("*/bin/python"))]
    return [path for path in found if path and version_of(path) not in ("", OURS)]


def version_of(path: str) -> str:
    """Of one that we support; "" for others, and for what is none."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    run = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=30)
    version = run.stdout.strip()
    return version if version in {f"3.{minor}" for minor in range(10, 15)} else ""


def has_zmq(path: str) -> bool:
    return subprocess.run([path, "-c", "import zmq"], capture_output=True, timeout=30).returncode == 0


def test_a_block_that_has_another_python_breaks_the_pool_with_what_it_said() -> None:
    if not others():
        pytest.skip("no Python of another version that we support was found")
    other = others()[0]

    def launch(command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        return " ".join([shlex.quote(other), *command.split(" ")[1:]])

    with pool_on(LocalProvider(launcher=launch)) as pool:
        error = pool.submit(abs, -1).exception(90)
        assert isinstance(error, VersionMismatch), repr(error)
        assert f"this is Python {version_of(other)}, the program runs {sys.version_info[:2]}" in str(error)
        assert "use one environment for both" in str(error)


def test_a_manager_of_another_python_that_gets_as_far_as_to_register_is_refused() -> None:
    able = [path for path in others() if has_zmq(path)]
    if not able:
        pytest.skip("no Python of another version that has pyzmq was found")
    start = "from parsl_pool.interchange.manager_program import main; main()"
    program = f"import sys; sys.path.append({str(ROOT)!r}); {start}"
    with pool_on(LocalProvider(worker_init="exec sleep 1000")) as pool:
        future = pool.submit(abs, -1)
        ticket_of(pool)
        command = [able[0], "-c", program, pool._backend.link._apart._ticket, "0"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        error = future.exception(30)
    assert run.returncode == 3
    for text in run.stderr, str(error):
        assert f"it runs Python {version_of(able[0])} with parsl_pool {__version__}, the program Python {OURS}" in text
    assert isinstance(error, VersionMismatch)
