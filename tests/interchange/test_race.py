"""A manager that has several addresses of its interchange: it takes the first one that is the right one."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from parsl_pool.interchange import curve, reach, wire
from parsl_pool.interchange.manager_program import NO_WAY
from tests.client.test_addresses import silent
from tests.eventually import eventually
from tests.fuzz.false_interchange import FalseInterchange, Manager, manager, settings
from tests.fuzz.test_false_interchange import listening

pytestmark = pytest.mark.timeout(60)

HAS_IPV6 = "::1" in {entry.address for entry in psutil.net_if_addrs().get("lo", [])}


@contextmanager
def refusing() -> Iterator[int]:
    """A port of 127.0.0.2 where nobody listens, and nobody can begin to."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.2", 0))
        yield sock.getsockname()[1]


def also_at(false: FalseInterchange, *hosts: str) -> curve.Ticket:
    """It listens there, too, at the same port."""
    for host in hosts:
        false.socket.ipv6 = ":" in host
        false.socket.bind(reach.joined(host, false.port))
    return false.ticket._replace(addresses=[reach.joined(host, false.port) for host in ("127.0.0.1", *hosts)])


def connections(it: Manager) -> list[str]:
    """Where the manager is connected, or tries to be."""
    return [each.raddr.ip for each in psutil.Process(it.process.pid).net_connections("tcp") if each.raddr]


def answer_until(false: FalseInterchange, it: Manager, count: int) -> None:
    """Let it prove itself until it has so many connections."""

    def is_so() -> bool:
        false.has_message()
        return len(connections(it)) == count

    eventually(is_so)


def test_the_right_one_is_found_among_wrong_ones(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        false = stack.enter_context(FalseInterchange())
        dumb = stack.enter_context(silent())
        closed = stack.enter_context(refusing())
        stranger = stack.enter_context(listening(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        wrong = [f"tcp://127.0.0.1:{dumb}", f"tcp://127.0.0.2:{closed}", f"tcp://127.0.0.1:{stranger}"]
        ticket = false.ticket._replace(addresses=[*wrong, "tcp://no.such.host.invalid:9", false.ticket.address])
        it = stack.enter_context(manager(ticket, tmp_path))
        register = false.await_message(wire.Register)
        assert register.pid == it.process.pid
        eventually(lambda: "connected to" in it.said)
    (line,) = it.said.splitlines()
    assert f"connected to the interchange at {ticket.addresses[-1]}, not to " in line
    assert f"{wrong[0]} (no answer yet)" in line and wrong[1] in line and wrong[2] in line


@pytest.mark.parametrize("hosts", [("127.0.0.2",), ("127.0.0.2", "127.0.0.3", "127.0.0.4"), ("::1",)])
def test_of_several_right_ones_one_is_left(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    if "::1" in hosts and not HAS_IPV6:
        pytest.skip("this machine's loopback interface has no IPv6 address")
    with FalseInterchange() as false, manager(also_at(false, *hosts), tmp_path) as it:
        register = false.await_message(wire.Register)
        answer_until(false, it, 1)
        identity = false.identity
        assert identity.startswith(register.manager.encode())
        false.tell(settings())
        eventually(lambda: false.await_message(wire.Register).workers)
        assert false.identity == identity


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_names_and_ipv6_do_as_well(tmp_path: Path, host: str) -> None:
    if not HAS_IPV6:
        pytest.skip("this machine's loopback interface has no IPv6 address")
    with FalseInterchange() as false:
        ticket = also_at(false, "::1")._replace(addresses=[reach.joined(host, false.port)])
        with manager(ticket, tmp_path) as it:
            assert false.await_message(wire.Register).pid == it.process.pid


def test_a_name_that_stands_for_both_kinds_works_whichever_is_listened_at(tmp_path: Path) -> None:
    """zmq itself takes the first address of a name, and no other."""
    with FalseInterchange() as false:
        ticket = false.ticket._replace(addresses=[reach.joined("localhost", false.port)])
        with manager(ticket, tmp_path) as it:
            assert false.await_message(wire.Register).pid == it.process.pid


def test_an_address_that_comes_later_is_tried(tmp_path: Path) -> None:
    """The interchange, or a tunnel, has moved: the ticket is written anew."""
    with FalseInterchange() as false, refusing() as port:
        before = false.ticket._replace(addresses=[f"tcp://127.0.0.2:{port}"])
        with manager(before, tmp_path) as it:
            eventually(lambda: it.process.poll() is None and psutil.Process(it.process.pid).num_threads() > 1)
            curve.write_ticket(str(tmp_path / "ticket"), false.ticket)
            assert false.await_message(wire.Register).pid == it.process.pid


def test_after_a_loss_the_one_that_won_is_tried_first_and_then_the_others(tmp_path: Path) -> None:
    """The machine's first interface goes down for good: managers come back by another one."""
    with FalseInterchange() as false, manager(also_at(false, "127.0.0.2"), tmp_path) as it:
        register = false.await_message(wire.Register)
        answer_until(false, it, 1)
        (won,) = connections(it)
        other = "127.0.0.2" if won == "127.0.0.1" else "127.0.0.1"
        false.socket.unbind(f"tcp://{won}:{false.port}")
        false.tell(wire.WhoAreYou(0))  # it begins another connection
        assert false.await_message(wire.Register).manager == register.manager
        answer_until(false, it, 1)
        assert connections(it) == [other]


def test_one_that_finds_no_way_says_what_each_address_said_and_what_can_be_done(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        false = stack.enter_context(FalseInterchange())
        dumb = stack.enter_context(silent())
        closed = stack.enter_context(refusing())
        stranger = stack.enter_context(listening(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        ticket = false.ticket._replace(addresses=[
            f"tcp://127.0.0.1:{dumb}", f"tcp://127.0.0.2:{closed}", f"tcp://127.0.0.1:{stranger}",
            "tcp://no.such.host.invalid:9",
        ])  # fmt: skip
        it = stack.enter_context(manager(ticket, tmp_path, patience=1.0))
        assert it.await_end() == NO_WAY
    head, *lines = it.said.splitlines()
    assert f"no interchange can be reached from {socket.gethostname()}; for " in head
    said = dict(line.strip().split(": ", 1) for line in lines[:4])
    assert list(said) == ticket.addresses
    reasons = list(said.values())
    assert "no answer within" in reasons[0] and "firewall" in reasons[0]
    assert reasons[1].startswith("Connection refused (nobody listens")
    assert "key" in reasons[2] or "connection has ended" in reasons[2]
    assert "not known" in reasons[3] or "resolution" in reasons[3]
    remedies = "\n".join(lines[4:])
    assert all(word in remedies for word in ("address=", "worker_port_range=", 'address="tunnel"', "interface"))


def test_one_that_is_ended_while_it_tries_says_what_it_has_seen_so_far(tmp_path: Path) -> None:
    """A block is ended whose manager has not registered in time. Its own time may be longer."""
    with socket.create_server(("127.0.0.2", 0)) as server, FalseInterchange() as false:
        address = f"tcp://127.0.0.2:{server.getsockname()[1]}"
        with manager(false.ticket._replace(addresses=[address]), tmp_path) as it:
            for _ in range(2):  # the second attempt is its loop's
                server.accept()[0].close()
            it.process.terminate()
            assert it.await_end() == 0
    assert f"  {address}: who answers there does not have" in it.said and "What can be done" in it.said


def test_one_whose_run_is_over_says_that_instead(tmp_path: Path) -> None:
    with refusing() as port, FalseInterchange() as false:
        ticket = false.ticket._replace(addresses=[f"tcp://127.0.0.2:{port}"])
        with manager(ticket, tmp_path, patience=2.0) as it:
            eventually(lambda: psutil.Process(it.process.pid).num_threads() > 1)  # zmq's: it has read the ticket
            (tmp_path / "ticket").unlink()
            assert it.await_end() == NO_WAY
    assert "the run is over" in it.said and "can be done" not in it.said
