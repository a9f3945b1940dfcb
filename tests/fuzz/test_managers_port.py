"""Rubbish on the port where managers connect: from peers without keys, and from peers that have those of the run."""

import contextlib
import itertools
import os
import pickle
import resource
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool.interchange import columns, curve, pieces, wire
from tests import leaks
from tests.eventually import eventually
from tests.fuzz import rubbish
from tests.fuzz.rubbish import Frame
from tests.fuzz.zmq_peers import PATIENCE_MS, Door, Peer, false_manager, registration
from tests.interchange.frames import results, tasks
from tests.recovery.arrangement import Arrangement

pytestmark = pytest.mark.timeout(120)

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# What a manager may say once it has registered; others than itself it may not speak of.
ACCEPTED = {columns.Results, columns.Tasks, wire.Window, wire.Broken, wire.Notice, wire.Ping, wire.Pong, wire.Stop,
            wire.FromTask}
OBEYED = {wire.Window, wire.Broken, wire.Stop, wire.Ping}
MEGABYTE = 1 << 20
names = itertools.count(1)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with leaks.keeping("the module's pool"), Arrangement(inside=False).new_pool(2) as pool:
        pool._backend.heartbeat_threshold = 600.0  # false managers give no signs of life
        assert pool.submit(abs, -1).result(30) == 1
        yield Door(pool)


@pytest.fixture
def unharmed(door: Door) -> Iterator[None]:
    """Whatever the test does, nobody dies of it, and the pool still works."""
    yield
    assert door.is_unharmed()
    door.check_it_works()


# ---- without keys


def greeting(mechanism: bytes = b"CURVE", version: bytes = b"\x03\x00") -> bytes:
    """The first 64 bytes of ZMTP."""
    return b"\xff" + bytes(8) + b"\x7f" + version + mechanism.ljust(20, b"\0") + bytes(32)


def command(name: bytes, data: bytes) -> bytes:
    body = bytes([len(name)]) + name + data
    return b"\x06" + len(body).to_bytes(8, "big") + body


def a_message(data: bytes = b"\x18\0" + bytes(8)) -> bytes:
    return bytes((0, len(data))) + data


RAW = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "ZMTP 1": b"\x01\x00" + a_message(),
    "ZMTP 2": b"\xff" + bytes(8) + b"\x7f\x01\x05\x00\x00" + a_message(),
    "ZMTP 9": greeting(version=b"\x09\x00"),
    "no security": greeting(b"NULL") + command(b"READY", b"\x0bSocket-Type\0\0\0\x06DEALER") + a_message(),
    "a password": greeting(b"PLAIN") + command(b"HELLO", b"\x04root\x04root") + a_message(),
    "half a greeting": greeting()[:30],
    "a greeting": greeting(),
    "a message without a handshake": greeting() + a_message(),
    "the wrong step": greeting() + command(b"INITIATE", bytes(300)),
    "zeros for keys": greeting() + command(b"HELLO", b"\x01\x00" + bytes(192)),
    "ones for keys": greeting() + command(b"HELLO", b"\x01\x00" + b"\xff" * 192),
    "more than may be": greeting() + b"\x06" + b"\x7f" + b"\xff" * 7 + bytes(1000),
}


def say(door: Door, data: bytes) -> None:
    """To the port, and nothing more; returns when the other side has hung up."""
    with socket.create_connection(door.endpoint, timeout=PATIENCE_MS / 1000) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1000):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass  # it did not listen to the end


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
def test_who_does_not_speak_the_protocol_is_turned_away_and_counted(door: Door, data: bytes) -> None:
    before = door.dropped
    for _ in range(3):
        say(door, data)
    eventually(lambda: door.dropped == before + 3)
    assert door.pool.status().dropped_messages == door.dropped


PARTS = st.one_of(st.binary(max_size=100), st.sampled_from(list(RAW.values())))


@FUZZ
@given(said=st.lists(st.lists(PARTS, max_size=4).map(b"".join), min_size=1, max_size=4))
def test_random_bytes_are_turned_away_and_counted(door: Door, said: list[bytes]) -> None:
    before = door.dropped
    for data in said:
        say(door, data)
    eventually(lambda: door.dropped == before + len(said))
    assert door.is_unharmed()


@pytest.mark.usefixtures("unharmed")
def test_who_has_no_keys_can_take_no_memory(door: Door) -> None:
    """libzmq makes room for as much as it is told will come."""
    interchange = door.interchange
    before, rss = door.dropped, interchange.memory_info().rss
    for _ in range(5):
        with pytest.raises(OSError), socket.create_connection(door.endpoint, timeout=20) as sock:
            sock.sendall(greeting() + b"\x06" + (1 << 30).to_bytes(8, "big"))
            for _ in range(200):
                sock.sendall(bytes(MEGABYTE))
    eventually(lambda: door.dropped == before + 5)
    assert interchange.memory_info().rss - rss < 20 * MEGABYTE


@pytest.mark.usefixtures("unharmed")
def test_many_connections_cost_little_and_keep_nobody_out_when_they_end(door: Door) -> None:
    interchange = door.interchange
    before, rss, had = door.dropped, interchange.memory_info().rss, interchange.num_fds()
    idle = [socket.create_connection(door.endpoint, timeout=20) for _ in range(100)]
    for sock in idle:
        sock.sendall(greeting() + b"\x06" + (pieces.PIECE).to_bytes(8, "big") + bytes(pieces.PIECE - 1))
    door.check_it_works()
    assert interchange.memory_info().rss - rss < 30 * MEGABYTE
    for sock in idle:
        sock.close()
    eventually(lambda: door.dropped == before + len(idle))
    eventually(lambda: interchange.num_fds() <= had + 1)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process can't be changed here")
@pytest.mark.usefixtures("unharmed")
def test_when_strangers_have_taken_all_descriptors_the_pool_goes_on(door: Door) -> None:
    interchange = door.interchange
    limits = resource.prlimit(interchange.pid, resource.RLIMIT_NOFILE)
    assert limits[0] == limits[1], "it allows itself as many as it may have"
    most = interchange.num_fds() + 5
    resource.prlimit(interchange.pid, resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        idle = [socket.create_connection(door.endpoint, timeout=20) for _ in range(20)]
        door.check_it_works()
        for sock in idle:
            sock.close()
    finally:
        resource.prlimit(interchange.pid, resource.RLIMIT_NOFILE, limits)
    with Peer(door.ticket.address, door.ticket, "later/1") as peer:
        assert peer.is_admitted()


@pytest.mark.slow
@pytest.mark.usefixtures("unharmed")
def test_who_says_nothing_has_to_go(door: Door) -> None:
    before = door.dropped
    with socket.create_connection(door.endpoint, timeout=60) as sock:
        while sock.recv(1000):
            pass
    eventually(lambda: door.dropped == before + 1)


# ---- with the wrong keys


def with_own_key(ticket: curve.Ticket) -> curve.Ticket:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    return ticket._replace(manager_public=public, manager_secret=secret)


def with_another_server(ticket: curve.Ticket) -> curve.Ticket:
    return ticket._replace(server_public=zmq.curve_keypair()[0].decode())


def with_a_secret_that_does_not_fit(ticket: curve.Ticket) -> curve.Ticket:
    """The public key is no secret. Whoever knows it does not have the other one."""
    return ticket._replace(manager_secret=zmq.curve_keypair()[1].decode())


WRONG = [with_own_key, with_another_server, with_a_secret_that_does_not_fit]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("change", WRONG)
def test_who_has_not_the_keys_of_the_run_is_refused(door: Door, change: Any) -> None:
    before, managers = door.dropped, door.managers
    with Peer(door.ticket.address, change(door.ticket), "stranger/1") as peer:
        with contextlib.suppress(zmq.Again):  # the connection has ended already
            peer.tell(registration("stranger"))
        assert not peer.is_admitted()
    eventually(lambda: door.dropped == before + 1)
    assert door.managers == managers


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("options", [{}, {"plain_username": b"root", "plain_password": b"root"}], ids=str)
def test_who_does_not_use_keys_is_refused(door: Door, options: dict[str, Any]) -> None:
    before, managers = door.dropped, door.managers
    with Peer(door.ticket.address, None, "stranger/1", **options) as peer:
        with contextlib.suppress(zmq.Again):
            peer.tell(registration("stranger"))
        assert not peer.is_admitted()
    eventually(lambda: door.dropped > before)
    assert door.managers == managers


# ---- with the right keys


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
@given(sent=rubbish.frames())
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
    manager.await_answer(wire.Ping(0), wire.Pong)
    assert door.dropped - before == 8
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
