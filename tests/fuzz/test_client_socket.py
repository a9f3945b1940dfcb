"""Rubbish on the client's socket, of which the interchange has the other end."""

import os
import pickle
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool import ParslPoolExecutor
from parsl_pool.executors.high_throughput import watchdog
from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.object_records import DropObjects, Object
from tests import leaks
from tests.eventually import eventually
from tests.fuzz import rubbish
from tests.fuzz.rubbish import Frame
from tests.interchange.frames import tasks
from tests.recovery.arrangement import Arrangement

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# What a client may send once its pool runs. Those beside it are drawn, and sent, only if they are bad: as good ones
# they would do what they say to the pool on which this test relies.
ACCEPTED = {wire.Function, wire.Forget, wire.Kill, wire.KillWorkers, wire.Stop, wire.Ping, wire.Ask,
            wire.ForTask, wire.Hold, wire.Drain,
            wire.BlockOver, wire.Ranks, DropObjects}
OBEYED = {wire.Function, wire.Forget, wire.KillWorkers, wire.Stop}
MEGABYTE = 1 << 20
FIRST_ID = 1 << 20


class Client:
    """The client's side of a running pool."""

    def __init__(self, pool: ParslPoolExecutor) -> None:
        self.pool = pool
        self.link = pool._backend.link
        self.link._ids = count(FIRST_ID)  # those of recorded frames are below, as are their functions
        self.link.functions._next = FIRST_ID
        self.defined: set[int] = set()  # functions that came with the rubbish

    def send(self, data: bytes, descriptors: list[int] | None = None) -> None:
        """These bytes, between what the pool itself sends."""
        self.link.outgoing.control.append((data, descriptors))
        self.link.wake()

    @property
    def dropped(self) -> int:
        state = self.link.ask(30)
        assert state is not None
        return int(state.dropped_frames)

    @property
    def interchange(self) -> psutil.Process:
        return psutil.Process(self.link._process.pid)

    def check_it_works(self) -> None:
        assert sorted(self.pool.map(abs, range(-20, 0))) == list(range(1, 21))

    def end_what_runs(self, folder: Path) -> None:
        """Both workers have done, and told of, all that they had."""
        with tempfile.TemporaryDirectory(dir=folder) as place:
            one, two = f"{place}/one", f"{place}/two"
            for future in self.pool.submit(meet, one, two), self.pool.submit(meet, two, one):
                future.result(30)


def meet(me: str, other: str) -> None:
    """Ends when the other is there as well."""
    open(me, "x").close()
    while not os.path.exists(other):
        time.sleep(0.001)


@pytest.fixture(scope="module")
def client(arrangement: Arrangement) -> Iterator[Client]:
    with leaks.keeping("the module's pool"), arrangement.pool(2) as pool:
        yield Client(pool)


def is_bad(frame: Frame) -> bool:
    """As the interchange should see it. No function of a drawn TASKS frame is defined, and no object has memory."""
    if frame.is_for({Object}):
        return not frame.decode().reason
    return not frame.is_for(ACCEPTED)


HARMLESS = rubbish.frames().filter(lambda frame: is_bad(frame) or not frame.is_for(OBEYED))


@FUZZ
@given(sent=st.lists(HARMLESS, min_size=1, max_size=12))
def test_each_bad_frame_is_dropped_and_counted(client: Client, sent: list[Frame]) -> None:
    interchange, before = client.interchange, client.dropped
    for frame in sent:
        client.send(frame.on_stream())
    assert client.dropped - before == sum(map(is_bad, sent))
    assert client.interchange == interchange
    client.check_it_works()


@pytest.fixture(scope="module")
def recorded(arrangement: Arrangement) -> list[Frame]:
    """What a client really sends in the life of a pool, from the first frame to the last."""
    seen: list[bytes] = []
    with arrangement.pool(1) as pool:
        link = pool._backend.link
        spied = link._process.stream
        put = spied.put

        def note(frame: bytes, descriptors: Any = None) -> None:
            seen.append(frame)
            put(frame, descriptors)

        spied.put = note
        apart = link._apart
        hello = wire.Hello(1, os.getpid(), 1, [], "", "", "", []) if apart is None else apart.hello()
        how, _ = pool._backend._settings()
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
        assert pool.submit(lambda: 3).result() == 3
        pool.status()
        link.kill(pool.submit(abs, 1))
        pool.shutdown()
    frames = [rubbish.on_stream(frame) for frame in seen]
    first = [Frame(wire.KIND[type(record)], wire.encode(record)) for record in (hello, how)]
    kinds = {frame.kind for frame in frames}
    assert {wire.TASKS, wire.KIND[wire.Function], wire.KIND[wire.Ask], wire.KIND[wire.Stop]} <= kinds
    return first + frames


@FUZZ
@given(data=st.data())
def test_frames_that_were_sent_before_do_no_harm_when_they_come_again(
    client: Client, recorded: list[Frame], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A repeated Hello or Settings is refused; a repeated task runs again, but there is no future that it could end."""
    own = set(client.link.functions.data)

    def would_hurt(frame: Frame) -> bool:
        if frame.is_for({wire.Function}):
            return frame.decode().number in own or FIRST_ID <= frame.decode().number < FIRST_ID << 8
        if frame.is_for({columns.Tasks}):
            return any(FIRST_ID <= task < FIRST_ID << 8 for task in frame.decode().task_ids())
        return frame.is_for(OBEYED)

    again = st.one_of(st.sampled_from(recorded), rubbish.mutated(st.sampled_from(recorded)))
    sent = data.draw(st.lists(again.filter(lambda frame: not would_hurt(frame)), min_size=1, max_size=12))
    interchange, before, bad = client.interchange, client.dropped, 0
    placed: Counter[int] = Counter()
    for frame in sent:
        client.send(frame.on_stream())
        if frame.is_for({wire.Function}):
            client.defined.add(frame.decode().number)
        if not frame.is_for({columns.Tasks}):
            bad += is_bad(frame)
        elif frame.decode().function_numbers() <= own | client.defined:
            placed.update(frame.decode().task_ids())
        else:
            bad += 1
    # A task that came twice is held once: where its results don't come together (a worker was killed between them,
    # or each is told of by itself), the second is nobody's, and is dropped too.
    twice = sum(times for times in placed.values() if times > 1)
    client.end_what_runs(tmp_path_factory.getbasetemp())
    assert bad <= client.dropped - before <= bad + twice
    assert client.interchange == interchange
    client.check_it_works()


def test_descriptors_that_nobody_asked_for_are_closed(client: Client) -> None:
    interchange, before = client.interchange, client.dropped
    client.check_it_works()
    had = interchange.num_fds()
    two = tasks([1 << 41, 1 << 42], functions=0xFFFF_FFFF).encode()
    bad = [Frame(wire.KIND[wire.Ping], wire.encode(wire.Ping(1))), Frame(0, b""), Frame(wire.TASKS, two)]
    for frame in bad * 10:
        data = wire.HEAD.pack(len(frame.body) + 2, frame.kind, 2) + frame.body
        client.send(data, [os.open(os.devnull, os.O_RDONLY) for _ in range(2)])
    assert client.dropped - before == 30
    assert client.interchange == interchange and interchange.num_fds() <= had + 2


def test_a_task_of_a_function_that_nobody_defined_fails_and_holds_up_no_worker(client: Client) -> None:
    future = client.link.submit(0xFFFF_FFFF, pickle.dumps((1,)))
    error = future.exception(30)
    assert "function 4294967295, which has not been defined" in str(error)
    client.check_it_works()


class Reveals:
    """Writes down which process opens it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        code = f"open({self.path!r}, 'a').write(str(__import__('os').getpid()) + '\\n')"
        return exec, (code,)


def test_a_payload_is_opened_by_a_worker_and_by_nobody_else(client: Client, tmp_path: Path) -> None:
    """As arguments, as a function, as a result, as an exception, and within frames that are dropped."""
    path = tmp_path / "opened-by"
    link, workers = client.link, set(client.pool._processes)
    hostile = pickle.dumps(Reveals(path))
    before = client.dropped
    for record in (wire.Function(0xFFFF_0000, b"R" + hostile), wire.Kill(0, 0, "c" + repr(hostile))):
        client.send(wire.frame(record))
    client.send(Frame(wire.TASKS, tasks([7], payloads=[hostile]).encode()[:-1]).on_stream())
    client.send(Frame(0, hostile).on_stream())
    assert client.dropped - before == 3
    assert not path.exists(), "nobody has asked for it yet"
    link.submit(0xFFFF_0000, pickle.dumps(())).exception(30)
    opened = [client.pool.submit(abs, Reveals(path)).exception(30), client.pool.submit(Reveals, path).exception(30)]
    assert opened[0] is not None and opened[1] is None
    pids = {int(line) for line in path.read_text().split()}
    assert len(pids) >= 1 and pids <= workers | set(client.pool._processes) | {os.getpid()}


def damage(client: Client, data: bytes) -> None:
    """Have these bytes, which are no frame, come while tasks are under way: nothing is lost but the interchange."""
    old = client.interchange
    futures = [client.pool.submit(pow, 2, n) for n in range(300)]
    client.send(data)
    assert [future.result(60) for future in futures] == [2**n for n in range(300)]
    eventually(lambda: not old.is_running() or old.status() == psutil.STATUS_ZOMBIE, within=30)
    client.check_it_works()
    assert client.interchange != old


@pytest.mark.parametrize(
    "data",
    [
        wire.HEAD.pack(0xFFFF_FFFF, wire.TASKS, 0),
        wire.HEAD.pack(1, 16, 0),
        wire.HEAD.pack(2, 24, 255),
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        b"\xff" * 100_000,
    ],
    ids=["longer than may be", "shorter than can be", "descriptors that did not come", "http", "zeros", "ones"],
)
def test_bytes_that_are_no_frames_cost_the_connection_and_no_task(
    arrangement: Arrangement, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody could say where the next frame begins. The interchange ends in good order; the client starts another."""
    with arrangement.pool(2, lost_retries=5) as pool:
        damage(Client(pool), data)
    said = capfd.readouterr().err
    assert said.count("parsl_pool: the client's connection is damaged") == 1 and "Traceback" not in said


@pytest.mark.slow
def test_a_frame_of_two_gigabytes_that_never_comes_takes_no_memory(
    arrangement: Arrangement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows is taken for its content, so nothing is answered any more: the client notices that."""
    monkeypatch.setattr(watchdog, "PING_S", 1.0)
    monkeypatch.setattr(watchdog, "HANG_S", 4.0)
    with arrangement.pool(2, lost_retries=5) as pool:
        client = Client(pool)
        interchange = client.interchange
        before = interchange.memory_info().rss
        client.send(wire.HEAD.pack(wire.MAX_FRAME, wire.TASKS, 0))
        assert client.link.ask(2) is None, "it was to be swallowed"
        assert interchange.memory_info().rss - before < 50 * MEGABYTE
        assert pool.submit(abs, -1).result(60) == 1
        assert client.interchange != interchange
