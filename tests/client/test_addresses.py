"""Addresses of this machine: none is made up, nobody is asked who was not named."""

import http.server
import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from parsl_pool import addresses
from parsl_pool.errors import ConfigurationError
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(30)


def own() -> set[str]:
    """As the system lists them, of all interfaces."""
    return {entry.address.partition("%")[0] for some in psutil.net_if_addrs().values() for entry in some}


def test_all_addresses_are_this_machines_and_those_of_itself_come_last() -> None:
    found = addresses.get_all_addresses()
    assert len(set(found)) == len(found) and set(found) <= own() and "127.0.0.1" in found
    kinds = [ipaddress.ip_address(address).is_loopback for address in found]
    assert kinds == sorted(kinds)
    for address in found:
        with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET):
            pass  # one can listen there


def test_the_host_name_is_the_systems() -> None:
    assert addresses.address_by_hostname() == socket.gethostname()


def test_the_address_of_an_interface() -> None:
    assert addresses.address_by_interface("lo") == "127.0.0.1"


def test_an_interface_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match=r"got 'ib7'; there are: .*\blo\b"):
        addresses.address_by_interface("ib7")


def test_the_address_of_the_default_route_is_this_machines() -> None:
    try:
        address = addresses.address_by_route()
    except OSError as problem:
        assert "no default route" in str(problem)  # both are right, here or there
        return
    assert address in own()


# ---- a service that is asked


class Service:
    """Answers with what it is told to, and counts who asks."""

    def __init__(self) -> None:
        self.text, self.status, self.asked, self.hangs = "192.0.2.7\n", 200, 0, threading.Event()
        self.hangs.set()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked += 1
                service.path = self.path
                service.hangs.wait(20)
                self.send_response(service.status)
                self.end_headers()
                self.wfile.write(service.text.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: tests are quiet."""

        self.path = ""
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/me?format=text"


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.05,), name="service")
    thread.start()
    yield service
    service.hangs.set()
    service.server.shutdown()
    thread.join()
    service.server.server_close()


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_what_the_service_says_is_the_address(service: Service, address: str) -> None:
    service.text = f" {address}\n"
    assert addresses.address_by_query(url=service.url) == address
    assert service.path == "/me?format=text"


def test_nobody_is_asked_who_was_not_named() -> None:
    with pytest.raises(ConfigurationError, match="url="):
        addresses.address_by_query()


@pytest.mark.parametrize("url", ["ftp://h/", "127.0.0.1", "http://", "http://h:port/"])
def test_a_wrong_url_is_an_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="http or https"):
        addresses.address_by_query(url=url)


def test_an_answer_that_is_no_address_is_an_error(service: Service) -> None:
    service.text = "<html>Please log in</html>" * 1000
    with pytest.raises(OSError, match="answers with '<html>Please log in.*which is no address"):
        addresses.address_by_query(url=service.url)


def test_a_status_that_is_none_of_success_is_an_error(service: Service) -> None:
    service.status = 503
    with pytest.raises(OSError, match="503"):
        addresses.address_by_query(url=service.url)


def test_a_service_that_does_not_answer_is_given_up(service: Service) -> None:
    service.hangs.clear()
    with pytest.raises(TimeoutError, match=r"not answered within 0\.2 s"):
        addresses.address_by_query(timeout=0.2, url=service.url)
    assert service.asked == 1
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "parsl-pool-address-query"])


# ---- who answers


@contextmanager
def silent() -> Iterator[int]:
    """A port of 127.0.0.1 where connections are neither taken nor refused: its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        try:
            yield server.getsockname()[1]
        finally:
            for sock in waiting:
                sock.close()


def test_the_first_that_answers_is_found_among_those_that_refuse() -> None:
    with socket.create_server(("127.0.0.3", 0)) as server:
        port = server.getsockname()[1]
        assert addresses.probe_addresses(["127.0.0.2", "no.such.host.invalid", "127.0.0.3", "::1"], port) == "127.0.0.3"


def test_it_is_not_waited_for_one_that_is_silent() -> None:
    with silent() as port, socket.create_server(("127.0.0.3", port)):
        assert addresses.probe_addresses(["127.0.0.1", "127.0.0.3"], port, timeout=20) == "127.0.0.3"


def test_where_nobody_answers_the_error_has_what_each_said() -> None:
    with silent() as port, pytest.raises(OSError, match="nobody answers") as caught:
        addresses.probe_addresses(["127.0.0.1", "127.0.0.2", "no.such.host.invalid"], port, timeout=0.3)
    first, *others = str(caught.value).splitlines()[1:]
    assert f"127.0.0.1:{port}: no answer within 0.3 s" in first
    assert "127.0.0.2" in others[0] and "Connection refused" in others[0]
    assert "no.such.host.invalid" in others[1]


@pytest.mark.parametrize(
    ("hosts", "port", "timeout"), [("127.0.0.1", 1, 1), ([5], 1, 1), (["h"], 0, 1), (["h"], 1, 0), ([""], 1, 1)]
)
def test_wrong_arguments_are_refused(hosts: list[str], port: int, timeout: float) -> None:
    with pytest.raises(ConfigurationError):
        addresses.probe_addresses(hosts, port, timeout)
