"""The worker's loop on frames of tasks, in this process. Workers as processes are tested through the pool."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import dumps
from typing import Any

import pytest

from parsl_pool.errors import BadMessage, RemoteError, SerializationError
from parsl_pool.interchange import envelope, serialize, wire
from parsl_pool.interchange.page import SKIP_FROM, SKIP_TO, STARTED, TASK, mark_of
from parsl_pool.interchange.worker_connection import StopWork
from tests.interchange.frames import tasks
from tests.interchange.ring import Ring, ring

SMALL, LARGE = 10, 10_000  # bytes of an argument: the hot loop has a way of its own for small ones


class Remote(Exception):
    """Stands where the traceback of the other side would."""


@contextmanager
def worker_that_knows(*functions: Callable[..., Any], shares_claims: bool = True) -> Iterator[Ring]:
    """A worker, and the functions under the numbers from 1 on."""
    with ring(shares_claims=shares_claims) as it:
        for number, function in enumerate(functions, 1):
            it.worker._functions[number] = (function, b"")
        yield it


def run(it: Ring, *payloads: bytes, function: int = 1, first: int = 1, fds: list[int] | None = None) -> list[Any]:
    """Status and payload of each task's result, whichever way it came."""
    ids = range(first, first + len(payloads))
    it.worker._run_batch(tasks(ids, function, payloads=payloads).encode(), fds or [])
    found = {task: (status, data) for task, status, data in it.read()}
    found |= {record.task: (record.status, record.data) for record in it.bulk()}
    assert sorted(found) == list(ids)
    it.page.release()
    return [found[task] for task in ids]


def value(result: tuple[int, bytes]) -> Any:
    assert result[0] == wire.OK, result
    return serialize.load_value(result[1])


def error(result: tuple[int, bytes]) -> BaseException:
    return envelope.load_exception(result[1], Remote)


def echo(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def fail(error: BaseException) -> None:
    raise error


class Opens:
    """Something that does this when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return self.call, self.args


class Unsendable:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


class Hostile(Exception):
    """An exception whose every description ends the program, if one lets it."""

    def __str__(self) -> str:
        raise SystemExit("str")

    def __repr__(self) -> str:
        raise ValueError("repr")

    def __reduce__(self) -> Any:
        raise SystemExit("reduce")


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_arguments_come_as_they_were_given(size: int) -> None:
    text = "x" * size
    with worker_that_knows(echo) as it:
        positional, both = run(it, dumps((1, text)), dumps([(1,), {"key": text}]))
        assert value(positional) == ((1, text), {})
        assert value(both) == ((1,), {"key": text})


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("problem", [ValueError("why"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_a_task_raises_is_its_result(problem: BaseException, size: int) -> None:
    with worker_that_knows(lambda problem, _: fail(problem)) as it:
        (result,) = run(it, dumps((problem, "x" * size)))
        assert result[0] == wire.RAISED
        assert type(error(result)) is type(problem) and error(result).args == problem.args


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    "problem", [ValueError("why"), SystemExit(3), Hostile("why")], ids=["error", "exit", "hostile"]
)
def test_arguments_that_cannot_be_opened_cost_their_own_task(problem: BaseException, size: int) -> None:
    with worker_that_knows(echo) as it:
        Bomb.problem = problem
        bad, good = run(it, dumps((Opens(Bomb), "x" * size)), dumps((1,)))
        assert bad[0] == wire.UNREADABLE and value(good) == ((1,), {})
        assert type(error(bad)) is (RemoteError if isinstance(problem, Hostile) else type(problem))


class Bomb:
    """What to raise can't be in the pickle: some of it would not survive that."""

    problem: BaseException

    def __init__(self) -> None:
        raise self.problem


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_hostile_exception_costs_its_own_task(size: int) -> None:
    with worker_that_knows(lambda _: fail(Hostile("why"))) as it:
        for result in run(it, dumps(("x" * size,)), dumps(("x" * size,))):
            assert result[0] == wire.RAISED
            told = error(result)
            assert isinstance(told, RemoteError) and "Hostile" in told.type_name


@pytest.mark.parametrize("problem", [ValueError("why"), SystemExit(3)], ids=repr)
def test_a_result_that_cannot_be_sent_costs_its_own_task(problem: BaseException) -> None:
    with worker_that_knows(lambda bad: Unsendable(problem) if bad else "fine") as it:
        bad, good = run(it, dumps((True,)), dumps((False,)))
        assert value(good) == "fine"
        assert bad[0] in (wire.UNSENDABLE, wire.RAISED)
        assert isinstance(error(bad), SerializationError if bad[0] == wire.UNSENDABLE else type(problem))


def test_a_result_by_value_is_sent() -> None:
    with worker_that_knows(lambda: lambda: 42) as it:
        (result,) = run(it, dumps(()))
        assert value(result)() == 42


def test_a_chunk_gives_a_list() -> None:
    with worker_that_knows(abs) as it:
        (result,) = run(it, serialize.join(serialize.dump_chunk([(-1,), (-2,)], "it")))
        assert value(result) == [1, 2]


def test_a_chunk_that_breaks_off_keeps_what_was_done() -> None:
    with worker_that_knows(lambda x: 1 // x) as it:
        ((status, data),) = run(it, serialize.join(serialize.dump_chunk([(1,), (0,), (1,)], "it")))
        assert status == wire.OK and data[:1] == b"P"
        size = int.from_bytes(data[1:9], "little")
        assert serialize.load_value(data[9 : 9 + size]) == [1]
        assert isinstance(error((status, data[9 + size :])), ZeroDivisionError)


def test_a_task_that_was_taken_back_is_skipped() -> None:
    with worker_that_knows(echo) as it:
        it.page.words[SKIP_FROM], it.page.words[SKIP_TO] = 1, 3
        statuses = [status for status, _ in run(it, *[dumps(())] * 4)]
        assert statuses == [wire.OK, wire.SKIPPED, wire.SKIPPED, wire.OK]
        assert it.page.words[STARTED] == 4 and it.page.words[TASK] == 0


def test_a_worker_that_skips_tasks_still_runs_as_many_as_it_may() -> None:
    with worker_that_knows(echo) as it:
        it.worker._max_tasks = 2
        it.page.words[SKIP_FROM], it.page.words[SKIP_TO] = 1, 3
        it.worker._handle(wire.TASKS, tasks([1, 2, 3], payloads=[dumps(())] * 3).encode(), [])
        with pytest.raises(StopWork):
            it.worker._handle(wire.TASKS, tasks([4], payloads=[dumps(())]).encode(), [])
        assert [status for _, status, _ in it.read()] == [wire.OK, wire.SKIPPED, wire.SKIPPED, wire.OK]


def test_without_the_clients_claims_table_every_task_runs() -> None:
    """The client is on another host: it can't cancel by that way, and nobody must do it in its place."""
    with worker_that_knows(abs, shares_claims=False) as it:
        assert [value(result) for result in run(it, dumps((-1,)), dumps((-2,)))] == [1, 2]


def test_a_cancelled_task_does_not_run() -> None:
    with worker_that_knows(echo) as it:
        it.worker._cancels[2] = mark_of(2)
        statuses = [status for status, _ in run(it, *[dumps(())] * 3)]
        assert statuses == [wire.OK, wire.CANCELLED, wire.OK]
        assert list(it.worker._claims[:4]) == [0, 1, 1, 1]


@pytest.mark.parametrize("how", ["run", "skipped", "cancelled", "unreadable"])
def test_the_descriptor_of_a_large_argument_is_closed(how: str) -> None:
    text = "x" * (2 * serialize.LARGE)
    payload: bytes = dumps((text,)) if how != "unreadable" else dumps((Opens(int, "no number"), text))
    short, argument_fd = serialize.to_shared_memory(payload, "arguments")
    with worker_that_knows(lambda _: None) as it:
        it.page.words[SKIP_TO] = how == "skipped"
        it.worker._cancels[1] = how == "cancelled"
        ((status, _),) = run(it, short, fds=[argument_fd])
    expected = {
        "run": wire.OK,
        "skipped": wire.SKIPPED,
        "cancelled": wire.CANCELLED,
        "unreadable": wire.UNREADABLE,
    }
    assert status == expected[how]
    with pytest.raises(OSError):
        os.fstat(argument_fd)
        os.close(argument_fd)


def test_arguments_are_let_go_after_each_task() -> None:
    """Not at the end of the batch."""
    counts: list[int] = []

    def use(thing: Any) -> None:
        counts.append(Counted.alive)

    with worker_that_knows(use) as it:
        run(it, *[dumps((Counted(),))] * 3)
    assert counts == [1, 1, 1] and Counted.alive == 0


class Counted:
    alive = 0

    def __init__(self) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        Counted.alive += 1

    def __getstate__(self) -> Any:
        return True

    def __del__(self) -> None:
        if sys is not None and Counted.alive:
            Counted.alive -= 1


# ---- messages


def function_record(number: int, function: Callable[..., Any], how: bytes = serialize.REUSE) -> bytes:
    return wire.encode(wire.Function(number, how + dumps(function)))


def test_a_function_that_may_serve_many_tasks_is_opened_once() -> None:
    with ring() as it:
        it.worker._handle(wire.KIND[wire.Function], function_record(1, echo), [])
        assert it.worker._function(1) is it.worker._function(1) is echo


def test_a_function_with_state_is_opened_for_each_task() -> None:
    with ring() as it:
        data = serialize.ANEW + dumps([].append)
        it.worker._handle(wire.KIND[wire.Function], wire.encode(wire.Function(1, data)), [])
        assert it.worker._function(1).__self__ is not it.worker._function(1).__self__


def test_a_worker_that_lacks_a_function_asks_for_it_and_keeps_what_comes_before_it() -> None:
    with ring() as it:
        it.stream.put(tasks([7], 2, payloads=[dumps(())]).frame())
        it.stream.put(wire.frame(wire.Function(1, serialize.REUSE + dumps(abs))))
        it.stream.flush()
        assert it.worker._function(1) is abs
        kinds = [kind for kind, _, _ in it.stream.receive()]
        assert kinds == [wire.KIND[wire.Flush], wire.KIND[wire.Need]]
        assert [kind for kind, _, _ in it.worker._later] == [wire.TASKS]


def test_a_worker_forgets_functions_that_will_not_be_named_again() -> None:
    """Else a program that submits a new lambda each time fills the memory of every worker."""
    with ring() as it:
        it.worker._handle(wire.KIND[wire.Function], function_record(1, abs), [])
        it.worker._handle(wire.KIND[wire.Function], function_record(2, echo), [])
        it.worker._handle(wire.KIND[wire.Forget], wire.encode(wire.Forget([1, 3])), [])
        assert list(it.worker._functions) == [2]


def test_a_worker_says_that_it_is_there_and_works_until_it_is_told_to_stop() -> None:
    with worker_that_knows(abs) as it:
        for message in (tasks([1], payloads=[dumps((-1,))]).frame(), wire.frame(wire.Stop(0))):
            it.stream.put(message)
        it.stream.flush()
        it.worker.run()
        kinds = [kind for kind, _, _ in it.stream.receive()]
        assert kinds == [wire.KIND[wire.Up], wire.KIND[wire.Flush]]
        assert len(it.read()) == 1


def test_a_worker_stops_when_nobody_is_there() -> None:
    with ring() as it:
        it.stream.close()
        for call in (it.worker._connection.next, lambda: it.worker._flush(idle=True)):
            with pytest.raises(StopWork):
                call()


def test_what_is_not_for_a_worker_is_an_error() -> None:
    with ring() as it, pytest.raises(BadMessage, match="of kind"):
        it.worker._handle(wire.KIND[wire.Settings], b"", [])


# ---- shared memory


def in_memory(payload: Any) -> tuple[bytes, int]:
    return serialize.to_shared_memory(payload, "it")


@pytest.mark.parametrize("size", [10, 1 << 16, 1 << 18])
def test_a_large_result_is_written_to_memory_that_was_lent_for_it(size: int) -> None:
    with worker_that_knows(len, echo) as it:
        short, fd = in_memory(dumps((b"x" * size,), 5))
        _, lent = in_memory(bytes(1 << 20))
        kept = os.dup(lent)
        result = run(it, short, function=2, fds=[fd, lent])[0]
        if size >= serialize.LARGE:
            assert result[1][:1] == b"M"
            assert serialize.load_plain(kept) == ((b"x" * size,), {})
            assert os.fstat(kept).st_size == int.from_bytes(result[1][1:], "little")
        else:
            assert value(result) == ((b"x" * size,), {})
        os.close(kept)


def test_memory_that_was_lent_is_closed_when_the_result_is_small() -> None:
    with worker_that_knows(len) as it:
        before = os.listdir("/proc/self/fd")
        short, fd = in_memory(dumps((b"x" * (1 << 16),), 5))
        assert value(run(it, short, fds=[fd, in_memory(bytes(1 << 20))[1]])[0]) == 1 << 16
        assert os.listdir("/proc/self/fd") == before
