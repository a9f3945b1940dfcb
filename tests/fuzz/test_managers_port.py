"""Rubbish where managers connect, from peers that have the keys of the run. test_strangers.py: from all others."""

import itertools
import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.object_records import ObjectTaken, WantObject
from parsl_pool.interchange.task_face import pack_progress
from tests import leaks
from tests.eventually import eventually
from tests.fuzz import rubbish
from tests.fuzz.rubbish import Frame
from tests.fuzz.zmq_peers import Door, Peer, false_manager, registration
from tests.interchange.frames import results, tasks
from tests.recovery.arrangement import Arrangement

pytestmark = pytest.mark.timeout(120)

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# What a manager may say once it has registered; others than itself it may not speak of.
ACCEPTED = {columns.Results, columns.Tasks, wire.Window, wire.Broken, wire.Notice, wire.Ping, wire.Pong, wire.Stop,
            wire.FromTask, wire.Unfit, WantObject, ObjectTaken}
OBEYED = {wire.Window, wire.Broken, wire.Stop, wire.Ping, wire.Unfit}
MEGABYTE = 1 << 20
names = itertools.count(1)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    tcp = Arrangement(inside=False, address="127.0.0.1")
    with leaks.keeping("the module's pool"), tcp.new_pool(2) as pool:
        pool._backend.heartbeat_threshold = 600.0  # false managers give no signs of life
        assert pool.submit(abs, -1).result(30) == 1
        yield Door(pool)


@pytest.fixture
def unharmed(door: Door) -> Iterator[None]:
    """Whatever the test does, nobody dies of it, and the pool still works."""
    yield
    assert door.is_unharmed()
    door.check_it_works()


def is_bad(frame: Frame) -> bool:
    """As the interchange should see it, from a manager that has registered and holds no tasks."""
    return not frame.is_for(ACCEPTED) or frame.is_for({columns.Results, columns.Tasks})


HARMLESS = rubbish.frames().filter(lambda frame: not frame.is_for(OBEYED))


@pytest.fixture(scope="module")
def manager(door: Door) -> Iterator[Peer]:
    with false_manager(door, "false") as peer:
        yield peer
        peer.tell(wire.Stop(0))
        eventually(lambda: "false" not in door.managers)


@FUZZ
@given(sent=st.lists(HARMLESS, min_size=1, max_size=12))
def test_each_bad_frame_of_a_manager_is_dropped_and_counted(door: Door, manager: Peer, sent: list[Frame]) -> None:
    before = door.dropped
    for frame in sent:
        manager.send(frame.on_zmq())
    manager.await_answer(wire.Ping(0), wire.Pong)
    assert door.dropped - before == sum(map(is_bad, sent))
    assert door.is_unharmed()
    door.check_it_works()


@FUZZ
@given(sent=rubbish.frames().filter(lambda frame: not frame.is_for({wire.Unfit})))  # who says that goes away
def test_who_has_not_registered_is_asked_who_it_is(door: Door, sent: Frame) -> None:
    """A Register with the name of another is bad, too, and no drawn one has the right name."""
    before, managers = door.dropped, door.managers
    with Peer(door.ticket.address, door.ticket, f"unknown-{next(names)}/1") as peer:
        peer.send(sent.on_zmq())
        is_good = sent.is_for({*wire.RECORDS.values(), columns.Tasks, columns.Results} - {wire.Register})
        if is_good:
            assert isinstance(peer.receive(), wire.WhoAreYou)
        else:
            eventually(lambda: door.dropped > before)
    assert door.dropped - before == (not is_good)
    assert door.managers == managers


PARTS_LISTS: dict[str, Sequence[bytes]] = {
    "empty": [b""],
    "shorter than a number": [b"1234567"],
    "a number": [(1).to_bytes(8, "little")],
    "a byte": [(1).to_bytes(8, "little") + b"\x18"],
    "a number that is not its turn": [(2).to_bytes(8, "little") + bytes((24, 0)) + bytes(8)],
    "no number": [bytes(8) + bytes((24, 0)) + bytes(8)],
    "many empty parts": [b""] * 1000,
    "a second part without a number": [(1).to_bytes(8, "little") + b"\x18\0", bytes(8)],
    "the same part twice": [(1).to_bytes(8, "little") + b"\x18\0" + bytes(8)] * 2,
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("parts", PARTS_LISTS.values(), ids=PARTS_LISTS.keys())
def test_what_is_no_message_is_dropped_and_counted(door: Door, parts: Sequence[bytes]) -> None:
    before = door.dropped
    with Peer(door.ticket.address, door.ticket, f"unknown-{next(names)}/1") as peer:
        peer.socket.send_multipart(parts)
        eventually(lambda: door.dropped == before + 1)


@pytest.mark.usefixtures("unharmed")
def test_a_part_that_is_too_long_costs_its_sender_the_connection(door: Door) -> None:
    interchange = door.interchange
    rss = interchange.memory_info().rss
    with Peer(door.ticket.address, door.ticket, "long/1") as peer:
        assert peer.is_admitted()
        peer.socket.send((1).to_bytes(8, "little") + bytes(200 * MEGABYTE))
        peer.await_end()
    assert interchange.memory_info().rss - rss < 50 * MEGABYTE


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("identity", ["/", "no-number", "a/b", "a/-1", "a/1/2", "\n/1", "a\t1/1", "a" * 200 + "/1"])
def test_odd_identities_do_no_harm(door: Door, identity: str) -> None:
    before = door.dropped
    with Peer(door.ticket.address, door.ticket, identity) as peer:
        peer.tell(registration("other"))
        eventually(lambda: door.dropped == before + 1)
    name = f"x{identity}".rpartition("/")[0]
    with Peer(door.ticket.address, door.ticket, f"x{identity}") as peer:
        peer.tell(registration(name))
        if not name.isprintable():
            eventually(lambda: door.dropped == before + 2)
            return
        eventually(lambda: name in door.managers)
        peer.tell(wire.Stop(0))
    eventually(lambda: name not in door.managers)


REFUSED = {
    "another protocol": {"protocol": wire.PROTOCOL + 1},
    "another Python": {"python": "2.7"},
}
UNUSABLE: dict[str, dict[str, Any]] = {
    "the name of another": {"manager": "other"},
    "fewer than no workers": {"workers": -1},
    "no process": {"pid": 0},
    "all processes": {"pid": -1},
    "more than a process id": {"pid": 1 << 40},
    "a host of two lines": {"host": "a\nb"},
    "a block of two lines": {"block": "a\nb"},
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
def test_who_is_of_another_version_is_told_so(door: Door, changes: dict[str, Any]) -> None:
    managers = door.managers
    with Peer(door.ticket.address, door.ticket, "other/1") as peer:
        refused = peer.await_answer(registration("other", **changes), wire.Refused)
        assert str(*changes.values()) in refused.reason
    assert door.managers == managers


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("changes", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_registration_that_cannot_be_is_dropped_and_counted(door: Door, changes: dict[str, Any]) -> None:
    before, managers = door.dropped, door.managers
    with Peer(door.ticket.address, door.ticket, "wrong/1") as peer:
        peer.tell(registration("wrong", **changes))
        eventually(lambda: door.dropped == before + 1)
    assert door.managers == managers


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("number", [0, 1, 1 << 40])
def test_nobody_can_take_the_name_of_a_manager_that_is_there(door: Door, number: int) -> None:
    before = door.dropped
    (name,) = door.managers - {"false"}
    with Peer(door.ticket.address, door.ticket, f"{name}/{number}") as peer:
        peer.tell(registration(name))
        if number > 1:  # else it is taken for a message that has been read late
            eventually(lambda: door.dropped == before + 1)
            assert "another manager of that name" in peer.receive().reason
        door.check_it_works()


@pytest.mark.usefixtures("unharmed")
def test_nobody_can_speak_of_the_tasks_and_workers_of_another(door: Door, manager: Peer, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    (other,) = door.managers - {"false"}
    futures = [door.pool.submit(wait_for, flag) for _ in range(2)]
    eventually(lambda: all(future.running() for future in futures))
    ids = [future._tid for future in futures]
    before, workers = door.dropped, dict(door.pool._processes)
    hostile = pickle.dumps(Reveals(tmp_path / "opened"))
    one = results(ids, payload=b"P" + hostile)
    manager.send(Frame(wire.RESULTS, one.encode()).on_zmq())
    manager.send(Frame(wire.TASKS, tasks(ids).encode()).on_zmq())
    for pid in (0, -1, os.getpid()):
        manager.tell(wire.WorkerUp("false" if pid < 1 else other, 1, "here", pid))
    for worker in range(3):
        manager.tell(wire.WorkerGone(other, worker, -9, 0))
    for task in (*ids, 1 << 40):
        manager.tell(wire.FromTask(task, "progress", pack_progress(0.5, 0.0, "not mine")))
    manager.await_answer(wire.Ping(0), wire.Pong)
    assert door.dropped - before == 8
    assert not any(future.progress for future in futures)
    assert not any(future.done() for future in futures) and dict(door.pool._processes) == workers
    with Peer(door.ticket.address, door.ticket, "claims/1") as peer:
        peer.tell(registration("claims", held=ids))
        eventually(lambda: "claims" in door.managers)
        assert door.dropped - before == 9
        peer.tell(wire.Stop(0))
        eventually(lambda: "claims" not in door.managers)
    flag.touch()
    assert [future.result(60) for future in futures] == [str(flag)] * 2
    assert not (tmp_path / "opened").exists()


def wait_for(path: Path) -> str:
    eventually(path.exists, within=60)
    return str(path)


class Reveals:
    """Makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")
