"""A manager faces somebody who is not its interchange, or an interchange that talks rubbish."""

import contextlib
import os
import pickle
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.manager_program import NO_WAY
from parsl_pool.interchange.object_records import DropObjects, ObjectPart
from parsl_pool.interchange.request import Request
from tests import leaks
from tests.eventually import eventually
from tests.fuzz import rubbish
from tests.fuzz.false_interchange import FalseInterchange, Manager, manager, settings
from tests.fuzz.rubbish import Frame
from tests.interchange.frames import tasks

pytestmark = pytest.mark.timeout(120)

FUZZ = rules(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# What an interchange may say. Those beside it end the manager, its connection or a worker.
ACCEPTED = {
    columns.Tasks, wire.Settings, wire.Refused, wire.WhoAreYou, wire.Ping, wire.Pong, wire.Stop, wire.Function,
    wire.Forget, wire.Kill, wire.KillWorkers, wire.Taken, wire.ForTask, wire.Drain, DropObjects, ObjectPart,
}  # fmt: skip
OBEYED = {
    columns.Tasks, wire.Refused, wire.WhoAreYou, wire.Stop, wire.Function, wire.KillWorkers, wire.Taken, wire.Drain,
}  # fmt: skip


# ---- who has not its keys


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Somebody has got the port. The same for everybody: an answer, and then nothing."""
    callers: list[socket.socket] = []

    def accept() -> None:
        while True:
            caller, _ = door.accept()
            callers.append(caller)
            if answer:
                caller.sendall(answer)
            else:
                caller.close()

    def run() -> None:
        try:
            accept()
        except OSError:
            return  # the end

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=run, name="stranger")
        thread.start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)
        thread.join()
    for caller in callers:
        caller.close()


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\x01" + bytes(31)
ANSWERS = {
    "it hangs up": b"",
    "it says nothing of use": b" ",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10,
    "a greeting": GREETING,
    "a WELCOME that it cannot make": GREETING + b"\x04\xa8" + b"\x07WELCOME" + bytes(160),
    "a part of two gigabytes": GREETING + b"\x06" + (1 << 31).to_bytes(8, "big") + bytes(1 << 20),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_manager_whose_interchange_is_none_ends_and_says_so(answer: bytes, tmp_path: Path) -> None:
    with FalseInterchange() as false, listening(answer) as port:
        ticket = false.ticket._replace(addresses=[f"tcp://127.0.0.1:{port}"])
        with manager(ticket, tmp_path, patience=1.0) as it:
            assert it.await_end() == NO_WAY
    check_the_farewell(it, f"tcp://127.0.0.1:{port}: ")


def check_the_farewell(it: Manager, *has: str) -> None:
    first, second, *remedies = it.said.splitlines()
    assert f"no interchange can be reached from {socket.gethostname()}" in first
    for text in has:
        assert text in second
    assert "What can be done" in remedies[0] and "address=" in it.said and "worker_port_range=" in it.said


def test_a_manager_that_nobody_answers_ends_and_says_so(tmp_path: Path) -> None:
    with FalseInterchange() as false:
        ticket = false.ticket
    with manager(ticket, tmp_path, patience=1.0) as it:
        assert it.await_end() == NO_WAY
    check_the_farewell(it, ticket.address, "Connection refused (nobody listens at that port there")


@pytest.mark.parametrize("whose", ["the interchange's", "the manager's"])
def test_wrong_keys_end_a_manager_with_a_reason(tmp_path: Path, whose: str) -> None:
    with FalseInterchange() as false:
        ticket = false.ticket
        public, secret = (key.decode() for key in zmq.curve_keypair())
        if whose == "the interchange's":
            ticket = ticket._replace(server_public=public)
            reason = "does not have the interchange's key"
        else:
            ticket = ticket._replace(manager_public=public, manager_secret=secret)
            reason = "does not know our key"
        with manager(ticket, tmp_path, patience=1.0) as it:
            eventually(lambda: false.has_message() or it.process.poll() is not None, within=60)
            assert it.process.returncode == NO_WAY, "nobody has been heard"
    check_the_farewell(it, reason)


def test_a_ticket_of_rubbish_is_told_and_not_shown(tmp_path: Path) -> None:
    for number, text in enumerate(["", "{}", "[1, 2]", '{"address": 3}', "\x00" * 100, "secret" * 1000]):
        directory = tmp_path / str(number)
        directory.mkdir()
        with manager(text, directory, patience=1.0) as it:
            assert it.await_end() == 1
        assert "cannot read its ticket" in it.said and "secretsecret" not in it.said
        assert "Traceback" not in it.said


# ---- who has them


USED = {wire.Settings, wire.Refused, wire.WhoAreYou, wire.Stop}
BEFORE = rubbish.frames().filter(lambda frame: not frame.is_for(USED))


def test_a_manager_that_hears_only_rubbish_ends_and_says_so(tmp_path: Path) -> None:
    """It must not wait for ever for the settings, though there is somebody who speaks to it."""
    with FalseInterchange() as false, manager(false.ticket, tmp_path, patience=2.0) as it:
        false.await_message(wire.Register)
        while it.process.poll() is None:
            false.send(b"\x00\x00rubbish")
            false.has_message()
            with contextlib.suppress(subprocess.TimeoutExpired):
                it.process.wait(0.01)
        assert it.await_end() == 0
    *dropped, farewell = it.said.splitlines()
    assert 1 <= len(dropped) <= 20 and all("dropped a bad message" in line for line in dropped)
    assert "no interchange at" in farewell


@FUZZ
@given(sent=st.lists(BEFORE, min_size=1, max_size=20))
def test_rubbish_before_the_settings_is_dropped(registered: FalseInterchange, sent: list[Frame]) -> None:
    for frame in sent:
        registered.send(frame.on_zmq())
    registered.tell(wire.Ping(0))
    registered.await_message(wire.Pong)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FalseInterchange]:
    """A manager waits for its settings."""
    directory = tmp_path_factory.mktemp("registered")
    with leaks.keeping("the module's manager"), FalseInterchange() as false, manager(false.ticket, directory) as it:
        false.await_message(wire.Register)
        yield false
        assert it.process.poll() is None and "Traceback" not in it.said
        false.tell(wire.Stop(0))
        assert it.await_end() == 0


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FalseInterchange]:
    """A manager has its settings."""
    directory = tmp_path_factory.mktemp("working")
    with leaks.keeping("the module's worker"), FalseInterchange() as false, manager(false.ticket, directory) as it:
        false.begin()
        start_work(false)
        family = it.descendants()
        assert len(family) >= 2
        yield false
        assert it.process.poll() is None and "Traceback" not in it.said
        false.tell(wire.Stop(0))
        assert it.await_end() == 0
        eventually(lambda: not any(process.is_running() for process in family))


def start_work(false: FalseInterchange) -> None:
    """The first task. Its worker is known as soon as there is one, though nothing else happens."""
    false.tell(wire.Function(1, b"P" + pickle.dumps(abs)))
    false.send(Frame(wire.TASKS, tasks([1], payloads=[pickle.dumps((-1,))]).encode()).on_zmq())
    false.await_message(wire.WorkerUp)
    false.await_message(columns.Results)


def work(false: FalseInterchange, task: int) -> None:
    """A task, and its result."""
    false.send(Frame(wire.TASKS, tasks([task], payloads=[pickle.dumps((-task,))]).encode()).on_zmq())
    while task not in (result := false.await_message(columns.Results)).task_ids():
        pass
    assert pickle.dumps(task)[2:-1] in result.records


HARMLESS = rubbish.frames().filter(lambda frame: not frame.is_for(OBEYED))


@FUZZ
@given(sent=st.lists(HARMLESS, min_size=1, max_size=12), number=st.integers(2, 1 << 40))
def test_rubbish_is_dropped_and_reported_by_a_manager_that_works(
    working: FalseInterchange, sent: list[Frame], number: int
) -> None:
    for frame in sent:
        working.send(frame.on_zmq())
    bad = sum(not frame.is_for(ACCEPTED) for frame in sent)
    for _ in range(bad):
        working.await_message(wire.Dropped)
    work(working, number)


def leave_out(false: FalseInterchange) -> None:
    false.skip_parts(3)
    false.tell(wire.Ping(0))


OUT_OF_LINE: dict[str, Callable[[FalseInterchange], None]] = {
    "parts are left out": leave_out,
    "an empty part": lambda false: false.send_parts(b""),
    "many parts": lambda false: false.send_parts(*[b"x"] * 1000),
    "a part that is too long": lambda false: false.send_parts(bytes(1 << 24)),
    "it is asked who it is": lambda false: false.tell(wire.WhoAreYou(0)),
}


@pytest.mark.parametrize("disturb", OUT_OF_LINE.values(), ids=OUT_OF_LINE.keys())
def test_a_line_that_is_damaged_is_given_up_for_another_one(
    working: FalseInterchange, disturb: Callable[[FalseInterchange], None]
) -> None:
    before = working.identity
    disturb(working)
    record = working.await_message(wire.Register)
    assert record.workers == 1 and working.identity != before
    work(working, 1)


USELESS: dict[str, dict[str, Any]] = {
    "no workers": {"workers": 0},
    "fewer than none": {"workers": -5},
    "no way to start them": {"start_method": "magic"},
    "no time": {"heartbeat_ms": 0},
    "no end": {"threshold_ms": -1},
}


@pytest.mark.parametrize("changes", USELESS.values(), ids=USELESS.keys())
def test_useless_settings_are_dropped(registered: FalseInterchange, changes: dict[str, Any]) -> None:
    registered.tell(settings(**changes))
    registered.tell(wire.Ping(0))
    registered.await_message(wire.Pong)


def test_a_manager_ends_with_its_workers_when_the_interchange_falls_silent(tmp_path: Path) -> None:
    with FalseInterchange() as false, manager(false.ticket, tmp_path) as it:
        false.begin(threshold_ms=1000)
        start_work(false)
        family = it.descendants()
        assert family and all(process.is_running() for process in family)
        assert it.await_end() == 0
        psutil.wait_procs(family, 10)
        assert not any(process.is_running() for process in family)
    (farewell,) = it.said.splitlines()
    assert "no interchange at" in farewell


def test_what_a_manager_gives_back_still_asks_for_what_it_asked_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with FalseInterchange() as false, manager(false.ticket, tmp_path) as it:
        name = false.begin().manager
        start_work(false)
        false.tell(wire.Function(2, b"P" + pickle.dumps(Path.read_bytes)))
        held = tasks([2], functions=2, payloads=[pickle.dumps((tmp_path / "fifo",))])
        false.send(Frame(wire.TASKS, held.encode()).on_zmq())
        asking = tasks([3], payloads=[pickle.dumps((-3,))])
        asking.request = Request(1, 100, 0, 0, 5000, 0, 0, 0, "")
        kind, body = asking.message()
        false.send(Frame(kind, body).on_zmq())
        false.tell(wire.Drain(name, "because"))
        back = false.await_message(columns.Tasks)
        assert (back.task_ids(), back.request) == ((3,), asking.request)
        (tmp_path / "fifo").write_bytes(b"")
        false.await_message(columns.Results)
        false.tell(wire.Stop(0))
        assert it.await_end() == 0


def test_a_manager_that_is_refused_ends_with_the_reason(tmp_path: Path) -> None:
    with FalseInterchange() as false, manager(false.ticket, tmp_path) as it:
        false.await_message(wire.Register)
        false.tell(wire.Refused("because"))
        assert it.await_end() == 3
    assert it.said.strip().endswith("was refused: because")


def test_a_hostile_pickle_is_opened_by_nobody_but_a_worker(working: FalseInterchange, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    hostile = pickle.dumps(Reveals(opened))
    working.tell(wire.Function(77, b"P" + hostile))
    working.tell(wire.Kill(1, 99, hostile.decode("latin-1")))
    working.send(Frame(wire.TASKS, tasks([7], payloads=[hostile]).encode()[:-1]).on_zmq())
    working.send(Frame(0, hostile).on_zmq())
    for _ in range(3):
        working.await_message(wire.Dropped)
    assert not opened.exists()
    work(working, 1 << 41)


class Reveals:
    """Makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")
