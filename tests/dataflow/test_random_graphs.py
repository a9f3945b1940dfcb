"""Random graphs of tasks of every kind, against a model that goes through them one by one.

Each future ends, with the value or the kind of error that the model says; what was cancelled in time never ran; and
nothing is left of them in the pool.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool import Config, File, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor, python_app
from parsl_pool.dataflow.record import FlowRecord
from parsl_pool.errors import AppTimeout, DependencyError, JoinError
from parsl_pool.futures.states import MOVES, TaskState
from tests.eventually import eventually

EXAMPLES = int(os.environ.get("PARSL_POOL_EXAMPLES", "40"))
"""In the environment: how many graphs, for a long run by hand."""

pytestmark = pytest.mark.timeout(100 + 2 * EXAMPLES)


class TaskError(Exception):
    """What a task of this file raises."""


class Node(NamedTuple):
    """A task: what it does, and the earlier tasks that it needs."""

    kind: str
    needs: tuple[int, ...]
    is_deep: bool  # they stand in a container
    label: int  # of its executor


class Graph(NamedTuple):
    """Tasks, and which of them another thread tries to cancel, in that order."""

    nodes: list[Node]
    cancelled: list[int]


# -- what tasks do; `number` tells them apart

_ran: set[int] = set()  # where tasks are threads of this process


def total(parts: Any) -> int:
    if isinstance(parts, File):
        return int(Path(parts).read_text())
    if isinstance(parts, int):
        return parts
    return sum(map(total, parts.values() if isinstance(parts, dict) else parts))


def plain(number: int, *parts: Any) -> int:
    _ran.add(number)
    return number + total(parts)


def in_a_box(number: int, *parts: Any) -> dict[str, int]:
    return {"value": plain(number, *parts)}


def fails(number: int, *parts: Any) -> int:
    _ran.add(number)
    raise TaskError(number)


def fails_at_first(path: Path, number: int, *parts: Any) -> int:
    _ran.add(number)
    with open(path, "a") as file:
        file.write("x")
    if path.stat().st_size < 3:
        raise TaskError(number)
    return plain(number, *parts)


def writes(number: int, *parts: Any, outputs: Any = ()) -> None:
    Path(outputs[0]).write_text(str(plain(number, *parts)))


_gates: dict[int, threading.Event] = {}  # where tasks are threads, which can't be stopped: set when it is too late


def takes_too_long(number: int, *parts: Any) -> None:
    gate = _gates.get(number)
    time.sleep(60) if gate is None else gate.wait(60)


def raises(error: BaseException, record: Any) -> float:
    raise LookupError(record.fail_count)


# -- how they are submitted


class Kit(NamedTuple):
    """What a submission may need."""

    pool: ParslPoolExecutor
    view: Any  # of the pool, with the executor's label
    number: int
    path: Path  # for this task alone
    later: list[Callable[[], object]]  # what another thread is to do

    def app(self, function: Any) -> Any:
        return python_app(function, data_flow_kernel=self.pool)


def foreign(kit: Kit, act: Callable[[Future[int]], object]) -> Future[int]:
    """It comes from nowhere, at some time."""
    future: Future[int] = Future()
    ended: list[bool] = []

    def end() -> None:
        if not ended:
            ended.append(True)
            if future.set_running_or_notify_cancel():
                act(future)

    kit.later.append(end)
    return future


def joins_others(kit: Kit, *needs: Any) -> Any:
    """Its function has those futures by itself, and returns them."""
    others = list(needs[0]["deep"][0]) if needs and isinstance(needs[0], dict) else list(needs)
    return kit.view.options(join=True).submit(lambda: others)


Submit = Callable[..., Any]

# kind -> how it is submitted; what comes of it if all goes well with what it needs: an error, or its value.
KINDS: dict[str, tuple[Submit, type[BaseException] | None]] = {
    "plain": (lambda kit, *needs: kit.view.submit(plain, kit.number, *needs), None),
    "app": (lambda kit, *needs: kit.app(plain)(kit.number, *needs), None),
    "urgent": (lambda kit, *needs: kit.view.options(priority=kit.number).submit(plain, kit.number, *needs), None),
    "limited": (lambda kit, *needs: kit.view.options(walltime=60).submit(plain, kit.number, *needs), None),
    "fails": (lambda kit, *needs: kit.view.submit(fails, kit.number, *needs), TaskError),
    "fails again": (
        lambda kit, *needs: kit.view.options(retries=1, retry_delay=0.001).submit(fails, kit.number, *needs), TaskError
    ),
    "retried": (
        lambda kit, *needs: kit.view.options(retries=2).submit(fails_at_first, kit.path, kit.number, *needs), None
    ),
    "handled": (
        lambda kit, *needs: kit.view.options(retries=1, retry_handler=lambda *_: 0.5).submit(
            fails_at_first, kit.path, kit.number, *needs
        ), None,
    ),
    "mishandled": (
        lambda kit, *needs: kit.view.options(retries=3, retry_handler=raises).submit(fails, kit.number, *needs),
        LookupError,
    ),
    "join": (
        lambda kit, *needs: kit.view.options(join=True).submit(
            lambda *values: kit.pool.submit(plain, kit.number, *values), *needs
        ), None,
    ),
    "join of joins": (
        lambda kit, *needs: kit.view.options(join=True).submit(
            lambda *values: {"a": [kit.view.options(join=True).submit(
                lambda: (kit.pool.submit(plain, kit.number, *values), 0)
            )], "b": 0}, *needs
        ), None,
    ),
    "join of others": (joins_others, None),
    "cached": (lambda kit, *needs: kit.view.options(cache=True).submit(plain, kit.number, *needs), None),
    "the same": (lambda kit, *needs: kit.view.options(cache=True).submit(plain, 1000, *needs), None),
    "the same failure": (lambda kit, *needs: kit.view.options(cache=True).submit(fails, 1000, *needs), TaskError),
    "a part": (lambda kit, *needs: kit.view.submit(in_a_box, kit.number, *needs)["value"], None),
    "an attribute": (lambda kit, *needs: kit.app(plain)(kit.number, *needs).real, None),
    "a missing part": (lambda kit, *needs: kit.app(in_a_box)(kit.number, *needs)["other"], KeyError),
    "a file": (
        lambda kit, *needs: kit.app(writes)(kit.number, *needs, outputs=[File(kit.path)]).outputs[0], None
    ),
    "foreign": (lambda kit, *_: foreign(kit, lambda future: future.set_result(kit.number)), None),
    "foreign failure": (lambda kit, *_: foreign(kit, lambda future: future.set_exception(TaskError())), TaskError),
    "cancelled": (lambda kit, *needs: cancelled(kit.view.submit(plain, kit.number, *needs)), None),
    "too long": (lambda kit, *needs: too_long(kit, *needs), AppTimeout),
}  # fmt: skip

ONE_STEP = {"plain", "app", "urgent", "limited", "fails", "cached", "a file", "cancelled"}
"""Who cancels one of these in time keeps it from running. Others may be cancelled later: between two tries, say."""

NEEDS_NOTHING = {"foreign", "foreign failure"}


def too_long(kit: Kit, *needs: Any) -> Future[Any]:
    gate = _gates[kit.number] = threading.Event()
    future: Future[Any] = kit.view.options(walltime=0.1).submit(takes_too_long, kit.number, *needs)
    future.add_done_callback(lambda _: gate.set())
    return future


def cancelled(future: Future[Any]) -> Future[Any]:
    future.cancel()
    return future


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(list(KINDS)))
        earlier = st.lists(st.integers(0, number - 1), max_size=4)
        needs = draw(earlier) if number and kind not in NEEDS_NOTHING else []
        nodes.append(Node(kind, tuple(needs), draw(st.booleans()), draw(st.integers(0, 1))))
    return Graph(nodes, draw(st.lists(st.integers(0, len(nodes) - 1), max_size=6)))


# -- the model


def check(nodes: list[Node], futures: list[Any], has_cancelled: set[int]) -> None:
    """Each task has the value that it should have, or the right kind of error."""
    values: list[int | None] = []
    for number, (node, future) in enumerate(zip(nodes, futures)):
        expected = KINDS[node.kind][1]
        where = f"task {number}, {node.kind}: {future!r}"
        values.append(None)
        if future.cancelled():
            assert node.kind == "cancelled" or number in has_cancelled, where
            assert not (number in _ran and node.kind in ONE_STEP), where
            continue
        assert number not in has_cancelled, where
        error = future.exception(0)
        if any(values[needed] is None for needed in node.needs):
            kind = JoinError if node.kind == "join of others" else DependencyError
            assert type(error) is kind, where
            failed = [pair[0] for pair in error.dependent_exceptions_tids]
            assert failed and error.__cause__ is not None, where
        elif expected is not None:
            assert type(error) is expected, where
        else:
            assert error is None, (where, error)
            own = 1000 if node.kind == "the same" else 0 if node.kind == "join of others" else number
            values[-1] = own + sum(values[needed] or 0 for needed in node.needs)
            assert total(future.result(0)) == values[-1], where


def what_is_left(pool: ParslPoolExecutor) -> list[object]:
    """Of tasks whose futures have ended. Whoever has ended one may just be on the way out."""
    flow: Any = pool._flow()
    kernels = [flow._kernel, *(backend.kernel for backend in pool.executors.values())]
    graphs: list[Any] = [kernel._graph for kernel in kernels]
    found = [flow._tasks, flow.reuse._table._running, *(kernel._tasks for kernel in kernels)]
    found += [graph._waiting for graph in graphs] + [graph._dependents for graph in graphs]
    return [left for left in found + [backend.unfinished() for backend in pool.executors.values()] if left]


def run(pool: ParslPoolExecutor, folder: Path, graph: Graph) -> None:
    _ran.clear()
    _gates.clear()
    labels = list(pool.executors)
    futures: list[Any] = []
    later: list[Callable[[], object]] = []
    has_cancelled: set[int] = set()
    submitted = threading.Semaphore(0)

    def others() -> None:
        """What happens meanwhile: futures from elsewhere end, the user cancels."""
        for turn, number in enumerate(graph.cancelled):
            submitted.acquire()
            if number < len(futures) and futures[number].cancel():
                has_cancelled.add(number)
            if turn < len(later):
                later[turn]()

    thread = threading.Thread(target=others)
    thread.start()
    for number, node in enumerate(graph.nodes):
        needs = [futures[needed] for needed in node.needs]
        arguments = [{"deep": (needs,)}] if node.is_deep else needs
        kit = Kit(pool, pool.options(executors=[labels[node.label]]), number, folder / str(number), later)
        futures.append(KINDS[node.kind][0](kit, *arguments))
        submitted.release()
    for _ in graph.cancelled:
        submitted.release()
    thread.join()
    for act in later:
        act()
    assert not wait(futures, 60).not_done, [repr(future) for future in futures if not future.done()]
    check(graph.nodes, futures, has_cancelled)
    eventually(lambda: not what_is_left(pool), within=20)


@contextmanager
def moves_are_watched() -> Iterator[None]:
    """Fails if a task's record has gone from one state to another that must not follow."""
    slot: Any = vars(FlowRecord)["status"]
    wrong: set[str] = set()

    def move(record: FlowRecord, new: TaskState) -> None:
        try:
            old = slot.__get__(record)
        except AttributeError:  # it is new
            old = new
        if new is not old and new not in MOVES[old]:
            wrong.add(f"{old.name} -> {new.name}")
        slot.__set__(record, new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlowRecord, "status", property(slot.__get__, move))
        yield
    assert not wrong


@contextmanager
def watched_pool(kind: str) -> Iterator[ParslPoolExecutor]:
    if kind == "threads":
        executors: list[Any] = [ThreadPoolExecutor(label, max_threads=2) for label in "ab"]
    else:
        executors = [HighThroughputExecutor(label, max_workers_per_node=1) for label in "ab"]
    with moves_are_watched(), ParslPoolExecutor(Config(executors, internal_tasks_max_threads=2)) as pool:
        yield pool


@pytest.mark.parametrize("kind", ["threads", "inside"])
def test_random_graphs(kind: str, tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in count())

    def fresh() -> Path:
        folder = next(folders)
        folder.mkdir()
        return folder

    with watched_pool(kind) as pool:
        run(pool, fresh(), Graph([Node(name, (), False, number % 2) for number, name in enumerate(KINDS)], []))

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(graph=graphs())
        def go_as_the_model_says(graph: Graph) -> None:
            run(pool, fresh(), graph)

        go_as_the_model_says()
