"""The network between manager and interchange fails: for a moment, which nobody notices, or for good."""

import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from parsl_pool import ParslPoolExecutor, portable
from parsl_pool.errors import InterchangeLost, ManagerLost
from parsl_pool.executors.high_throughput import recovery
from tests.eventually import eventually
from tests.network import Network
from tests.recovery.arrangement import Arrangement, is_over, listening
from tests.recovery.ledger import note, noted
from tests.recovery.load import Load

pytestmark = [pytest.mark.kill, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def arrangement(manager_inside: bool) -> Arrangement:
    """By TCP, as to other hosts."""
    return Arrangement(manager_inside, address="127.0.0.1")


@pytest.fixture
def network(manager_inside: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    if manager_inside:
        pytest.skip("there is no network")
    network = Network(monkeypatch)
    yield network
    network.close()


def noted_and_held(begun: Path, go: Path) -> None:
    begun.touch()
    while not go.exists():
        time.sleep(0.001)


def noted_triple(path: Path, task: int) -> int:
    note(path, task)
    if task % 10 == 0:
        time.sleep(0.005)
    return task * 3


def test_cut_connections_cost_nothing(
    network: Network, arrangement: Arrangement, tmp_path: Path, kill_rounds: int
) -> None:
    ledger = tmp_path / "ledger"
    with arrangement.pool(2, lost_retries=0) as pool:
        futures = [pool.submit(noted_triple, ledger, task) for task in range(1000 * kill_rounds)]
        manager = arrangement.parts(pool).manager
        for _ in range(5 * kill_rounds):
            before = len(noted(ledger))
            eventually(lambda: len(noted(ledger)) >= before + random.randrange(1, 300), within=20)  # noqa: B023
            network.cut()
        assert [future.result(60) for future in futures] == [3 * task for task in range(len(futures))]
        assert noted(ledger) == {task: 1 for task in range(len(futures))}
        assert arrangement.parts(pool).manager == manager


def on_their_way(pool: ParslPoolExecutor, network: Network) -> list[Future[int]]:
    """Two tasks, abs of 0 and of -1, that have been sent and do not arrive."""
    assert pool.submit(abs, -1).result(30) == 1
    network.silence("interchange")
    futures: list[Future[int]] = [pool.submit(abs, -number) for number in range(2)]
    eventually(lambda: all(future.running() for future in futures))
    return futures


def test_what_was_on_its_way_to_another_host_when_the_connection_was_cut_has_not_begun(
    network: Network, arrangement: Arrangement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent there counts as begun, until the manager comes back and says that it has not got it."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    with arrangement.new_pool(2, lost_retries=0) as pool:
        futures = on_their_way(pool, network)
        network.cut()
        assert [future.result(30) for future in futures] == [0, 1]


def test_what_was_on_its_way_to_another_host_when_the_interchange_ended_has_not_begun(
    network: Network, arrangement: Arrangement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All managers have come back, and none says that it has got it."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    with arrangement.new_pool(2, lost_retries=0) as pool:
        futures = on_their_way(pool, network)
        arrangement.parts(pool).interchange.kill()
        network.cut()
        assert [future.result(60) for future in futures] == [0, 1]


def test_what_may_have_begun_on_another_host_that_does_not_come_back_is_lost(
    network: Network, arrangement: Arrangement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell what the manager had got: it has gone meanwhile."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setattr(recovery, "_REUNION_S", 0.5)
    with arrangement.new_pool(1, lost_retries=0) as pool:
        held = pool.submit(noted_and_held, tmp_path / "begun", tmp_path / "go")
        eventually(lambda: (tmp_path / "begun").exists())
        parts = arrangement.parts(pool)
        interchange, manager = parts.interchange, parts.manager
        manager.suspend()
        interchange.kill()
        with pytest.raises(InterchangeLost):
            held.result(60)
        manager.kill()
        assert pool.submit(abs, -1).result(60) == 1


def test_results_that_were_told_before_a_cut_are_no_rubbish_when_they_are_told_again(
    network: Network, arrangement: Arrangement, tmp_path: Path
) -> None:
    """They were with the client, and the manager had not heard so."""
    with arrangement.pool(2, lost_retries=0) as pool:
        held = [pool.submit(noted_and_held, tmp_path / f"begun{n}", tmp_path / "go") for n in range(2)]
        eventually(lambda: all((tmp_path / f"begun{n}").exists() for n in range(2)))
        network.silence("interchange")  # and so nothing is acknowledged
        (tmp_path / "go").touch()
        assert [future.result(30) for future in held] == [None, None]
        network.cut()
        assert pool.submit(abs, -1).result(30) == 1  # by then they have come again
        standings, dropped = pool._backend.manager_loads()
        assert len(standings) == 1 and not dropped


def test_large_results_survive_a_cut(network: Network, arrangement: Arrangement) -> None:
    with arrangement.pool(2, lost_retries=0) as pool:
        futures = [pool.submit(bytes, 1_000_000 + i) for i in range(60)]
        for part in (5, 20, 40):
            eventually(lambda: sum(future.done() for future in futures) >= part, within=30)  # noqa: B023
            network.cut()
        assert [len(future.result(60)) for future in futures] == [1_000_000 + i for i in range(60)]


def test_a_message_that_travels_for_long_is_no_silence(
    network: Network, arrangement: Arrangement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than either side waits for a sign of life."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")  # else it goes through shared memory
    with arrangement.new_pool(1, heartbeat_period=0.2, heartbeat_threshold=1.0, lost_retries=0) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        managers = set(pool._backend.workers.managers)
        network.pause_s = 0.002
        assert len(pool.submit(bytes, 5_000_000).result(60)) == 5_000_000
        assert pool.submit(len, bytes(5_000_000)).result(60) == 5_000_000
        assert set(pool._backend.workers.managers) == managers
        network.pause_s = 0.0


@pytest.mark.skipif(not portable.has_proc(), reason="only Linux shows the timers of its connections")
def test_the_system_looks_after_connections_whose_other_end_may_be_gone(
    manager_inside: bool, arrangement: Arrangement
) -> None:
    """Else one of a machine that has lost its power would keep its descriptor for ever."""
    if manager_inside:
        pytest.skip("there is no network")
    with arrangement.pool(1) as pool:
        (door,) = listening(arrangement.parts(pool).interchange)
        here = f"0100007F:{door.laddr.port:04X}"

        def timers() -> set[str]:
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
            return {line[5][:2] for line in lines if line[1] == here and line[3] == "01"}

        eventually(lambda: timers() == {"02"})  # that of keep-alive; another one runs while data is on its way


@pytest.mark.parametrize("who", ["manager", "interchange"])
def test_a_silence_that_ends_in_time_costs_nothing(
    network: Network, arrangement: Arrangement, tmp_path: Path, who: str
) -> None:
    with arrangement.pool(2, lost_retries=0) as pool:
        load = Load(pool, tmp_path / "ledger")
        load.top_up()
        load.advance(500)
        manager = arrangement.parts(pool).manager
        network.silence(who)
        time.sleep(3)  # less than the patience of both sides; what counts is what they do in it
        network.go_on()
        load.finish()
        assert load.check() == 0
        assert arrangement.parts(pool).manager == manager


def test_a_connection_that_falls_silent_is_replaced_and_costs_nothing(
    network: Network, arrangement: Arrangement, tmp_path: Path
) -> None:
    """As when a firewall on the way forgets it: whoever connects anew gets through."""
    ledger = tmp_path / "ledger"
    with arrangement.new_pool(2, lost_retries=0, heartbeat_period=1.0, heartbeat_threshold=15.0) as pool:
        futures = [pool.submit(noted_triple, ledger, task) for task in range(500)]
        eventually(lambda: len(noted(ledger)) >= 100, within=30)
        parts = arrangement.parts(pool)
        before = {parts.manager, *parts.workers}
        network.silence("both")
        futures += [pool.submit(noted_triple, ledger, task) for task in range(500, 1000)]
        assert [future.result(60) for future in futures] == [3 * task for task in range(1000)]
        assert noted(ledger) == {task: 1 for task in range(1000)}
        assert before <= {parts.manager, *parts.workers}
        network.go_on()
        assert list(pool.map(abs, range(-50, 0), timeout=60)) == list(range(50, 0, -1))


@pytest.mark.parametrize("who", ["manager", "interchange", "both"])
def test_a_silence_that_lasts_is_the_end_of_the_manager(
    network: Network, arrangement: Arrangement, tmp_path: Path, who: str
) -> None:
    """Whatever begun there fails by name, another manager takes the rest; the old one is gone, with its workers."""
    with arrangement.new_pool(2, lost_retries=0) as pool:
        pool._backend.heartbeat_period, pool._backend.heartbeat_threshold = 0.5, 3.0
        load = Load(pool, tmp_path / "ledger")
        load.top_up()
        load.advance(500)
        parts = arrangement.parts(pool)
        old = [parts.manager, parts.fork_server, *parts.workers]
        network.silence(who, banned=parts.manager)
        load.finish()
        load.check(ManagerLost)
        eventually(lambda: all(map(is_over, old)), within=30)
        assert parts.manager != old[0]
        network.go_on()
        assert list(pool.map(abs, range(-50, 0), timeout=60)) == list(range(50, 0, -1))
