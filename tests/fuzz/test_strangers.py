"""Rubbish where managers connect, from peers without the keys of the run: at a port, and at a unix socket."""

import contextlib
import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool.interchange import curve, pieces
from tests import leaks
from tests.eventually import eventually
from tests.fuzz.zmq_peers import PATIENCE_MS, Door, Peer, registration
from tests.recovery.arrangement import Arrangement

pytestmark = pytest.mark.timeout(120)

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

MEGABYTE = 1 << 20
ADDRESSES = {"port": "127.0.0.1", "unix socket": None}


@pytest.fixture(scope="module", params=ADDRESSES.values(), ids=list(ADDRESSES))
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    apart = Arrangement(inside=False, address=request.param)
    with leaks.keeping("the module's pool"), apart.pool(2) as pool:
        yield Door(pool)


@pytest.fixture
def unharmed(door: Door) -> Iterator[None]:
    """Whatever the test does, nobody dies of it, and the pool still works."""
    yield
    assert door.is_unharmed()
    door.check_it_works()


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
    with door.connect(PATIENCE_MS / 1000) as sock:
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
        with pytest.raises(OSError), door.connect(20) as sock:
            sock.sendall(greeting() + b"\x06" + (1 << 30).to_bytes(8, "big"))
            for _ in range(200):
                sock.sendall(bytes(MEGABYTE))
    eventually(lambda: door.dropped == before + 5)
    assert interchange.memory_info().rss - rss < 20 * MEGABYTE


@pytest.mark.usefixtures("unharmed")
def test_many_connections_cost_little_and_keep_nobody_out_when_they_end(door: Door) -> None:
    interchange = door.interchange
    before, rss, had = door.dropped, interchange.memory_info().rss, interchange.num_fds()
    idle = [door.connect(20) for _ in range(100)]
    for sock in idle:
        sock.sendall(greeting() + b"\x06" + (pieces.PIECE).to_bytes(8, "big") + bytes(pieces.PIECE - 1))
    door.check_it_works()
    assert interchange.memory_info().rss - rss < 30 * MEGABYTE
    for sock in idle:
        sock.close()
    eventually(lambda: door.dropped == before + len(idle))
    eventually(lambda: interchange.num_fds() <= had + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("unharmed")
def test_who_says_nothing_has_to_go(door: Door) -> None:
    if not door.ticket.address.startswith("tcp:"):
        pytest.skip("ten seconds; it is the same timer, and only the user's own processes come here")
    before = door.dropped
    with door.connect(60) as sock:
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


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process can't be changed here")
def test_when_all_descriptors_are_taken_the_pool_goes_on(door: Door) -> None:
    """By another interchange, if strangers of the same user do it by the unix socket: there libzmq ends the process."""
    interchange = door.interchange
    limits = resource.prlimit(interchange.pid, resource.RLIMIT_NOFILE)
    assert limits[0] == limits[1], "it allows itself as many as it may have"
    most = interchange.num_fds() + 5
    resource.prlimit(interchange.pid, resource.RLIMIT_NOFILE, (most, limits[1]))
    idle: list[socket.socket] = []
    try:
        with contextlib.suppress(ConnectionError):  # there is another one already
            idle += [door.connect(20) for _ in range(20)]
        door.check_it_works()
    finally:
        for sock in idle:
            sock.close()
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(interchange.pid, resource.RLIMIT_NOFILE, limits)
    assert door.is_unharmed() or not door.ticket.address.startswith("tcp:")
    with Peer(door.ticket.address, door.ticket, "later/1") as peer:
        assert peer.is_admitted()
