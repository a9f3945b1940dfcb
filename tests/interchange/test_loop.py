import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from parsl_pool import portable
from parsl_pool.interchange import stream
from parsl_pool.interchange.loop import Loop
from tests.eventually import eventually


@pytest.fixture(params=["epoll", "poll"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    if request.param == "poll":
        monkeypatch.setattr(portable, "FORCED", True)
    loop = Loop()
    yield loop
    if hasattr(loop._poller, "close"):
        loop._poller.close()


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        yield read, write
    finally:
        for fd in (read, write):
            try:
                os.close(fd)
            except OSError:
                continue  # the test did it


def wake(loop: Loop) -> None:
    """Keep the next turn from waiting."""
    loop.call_at(monotonic(), lambda: None)


def test_a_reader_is_called_while_there_is_something_to_read(loop: Loop) -> None:
    got: list[bytes] = []
    with pipe() as (read, write):
        loop.add_reader(read, lambda: got.append(os.read(read, 2)))
        os.write(write, b"abcd")
        loop.turn()
        loop.turn()
        wake(loop)
        loop.turn()
        assert got == [b"ab", b"cd"]
        loop.remove(read)


def test_a_reader_is_called_at_the_end(loop: Loop) -> None:
    ended: list[bytes] = []
    with pipe() as (read, write):
        loop.add_reader(read, lambda: ended.append(os.read(read, 1)))
        os.close(write)
        loop.turn()
        assert ended == [b""]
        loop.remove(read)


def test_all_that_can_be_read_is_read_before_anything_is_written(loop: Loop) -> None:
    done: list[str] = []
    one, other = stream.pair()
    with one, other, pipe() as (read, write):
        loop.add_reader(one.fileno(), lambda: done.append("read"))
        loop.want_write(one.fileno(), lambda: done.append("write"))
        loop.add_reader(read, lambda: done.append("read"))
        loop.after_reads.append(lambda: done.append("after"))
        wake(loop)
        other.sendall(b"x")
        os.write(write, b"x")
        loop.turn()
        assert done == ["read", "read", "write", "after"]


def test_who_no_longer_wants_to_write_is_not_called(loop: Loop) -> None:
    done: list[str] = []
    one, other = stream.pair()
    with one, other:
        loop.add_reader(one.fileno(), lambda: None)
        loop.want_write(one.fileno(), lambda: done.append("write"))
        loop.turn()
        loop.want_write(one.fileno(), None)
        loop.want_write(one.fileno(), None)
        wake(loop)
        loop.turn()
        assert done == ["write"]


def test_who_is_removed_in_a_turn_is_not_called_in_it(loop: Loop) -> None:
    """Whichever of the two comes first: a callback may close the other's descriptor."""
    called: list[int] = []
    with pipe() as (read, write), pipe() as (other_read, other_write):

        def remove(me: int, other: int) -> Callable[[], None]:
            def callback() -> None:
                called.append(me)
                loop.remove(other)

            return callback

        loop.add_reader(read, remove(read, other_read))
        loop.add_reader(other_read, remove(other_read, read))
        os.write(write, b"x")
        os.write(other_write, b"x")
        loop.turn()
        assert len(called) == 1
        loop.remove(called[0])
        loop.remove(called[0])


def test_timers_come_in_their_order_and_not_early(loop: Loop) -> None:
    done: list[tuple[int, bool]] = []
    start = monotonic()
    for number, delay in ((1, 0.03), (2, 0.01), (3, 0.01), (4, -1.0)):
        due = start + delay
        loop.call_at(due, lambda number=number, due=due: done.append((number, monotonic() >= due)))  # type: ignore[misc]
    while len(done) < 4:
        loop.turn()
    assert done == [(4, True), (2, True), (3, True), (1, True)]


def test_it_runs_until_it_is_stopped(loop: Loop) -> None:
    turns: list[int] = []
    loop.after_reads.append(lambda: turns.append(1))
    loop.call_at(monotonic(), lambda: loop.call_at(monotonic(), loop.stop))
    loop.run()
    assert len(turns) >= 2, "before the first turn, and in each"


def test_signals_are_callbacks_like_others(loop: Loop) -> None:
    got: list[str] = []
    before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)
    write = -1
    try:
        loop.on_signal(signal.SIGUSR1, lambda: got.append("one"))
        loop.on_signal(signal.SIGUSR2, lambda: got.append("two"))
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)

        def both() -> bool:
            wake(loop)
            loop.turn()
            return len(got) == 2

        eventually(both)
        assert sorted(got) == ["one", "two"]
    finally:
        write = signal.set_wakeup_fd(-1)
        for number, handler in zip((signal.SIGUSR1, signal.SIGUSR2), before):
            signal.signal(number, handler)
        for fd in (write, *loop._readers):
            if fd >= 0:
                os.close(fd)
