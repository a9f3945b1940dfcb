"""Many files of one task: they come several at a time, over connections that are used again, and count as one."""

import os
import pickle
import resource
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, File, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import TransferFailed
from parsl_pool.staging import HTTPInTaskStaging, HTTPSeparateTaskStaging, Staging
from parsl_pool.staging.inputs import AT_A_TIME, Input, added, with_inputs
from tests.eventually import eventually
from tests.services.web_faults import WebFaults, gives, serves

pytestmark = pytest.mark.timeout(60)

MUCH = 10**9
SET_BY_THE_TASK: ContextVar[str] = ContextVar("SET_BY_THE_TASK", default="")


@pytest.fixture
def server() -> Iterator[WebFaults]:
    with WebFaults() as server:
        yield server
    assert not server.errors


def put(url: str, target: Path, options: Any) -> None:
    target.write_text(url)


def inputs_of(folder: Path, count: int, fetch: Any = put) -> tuple[Input, ...]:
    return tuple(Input(fetch, f"odd:{each}", f"{folder}/{each}/1/x", None, MUCH) for each in range(count))


def texts(inputs: tuple[Input, ...]) -> list[str]:
    return [Path(one.path).read_text() for one in inputs]


def is_in_use(one: Input) -> bool:
    return any(one.path.rpartition("/")[0] in os.readlink(f"/proc/self/fd/{each}") for each in descriptors())


def descriptors() -> list[str]:
    return [each for each in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{each}")]


def no_transfers() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "parsl-pool-transfer"]


@pytest.mark.parametrize("count", [0, 1, 2, 3 * AT_A_TIME])
def test_all_are_there_while_the_function_runs_and_let_go_afterwards(count: int, tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, count)
    with_inputs(lambda: None, inputs[1:2])  # one is there already

    def look(word: str, *, other: int) -> tuple[str, int, list[str], bool]:
        return word, other, texts(inputs), all(map(is_in_use, inputs))

    urls = [f"odd:{each}" for each in range(count)]
    assert with_inputs(look, inputs, "a", other=5) == ("a", 5, urls, True)
    assert not any(map(is_in_use, inputs))
    eventually(no_transfers)


def test_as_many_come_at_a_time_as_are_allowed_and_no_more(tmp_path: Path) -> None:
    together = threading.Barrier(AT_A_TIME, timeout=30)
    lock, now, most = threading.Lock(), 0, 0

    def fetch(url: str, target: Path, options: Any) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()  # so many come, or this breaks
        target.write_text(url)
        with lock:
            now -= 1

    inputs = inputs_of(tmp_path, 3 * AT_A_TIME, fetch)
    assert len(with_inputs(texts, inputs, inputs)) == 3 * AT_A_TIME
    assert most == AT_A_TIME


def test_what_fetches_sees_the_context_of_the_task(tmp_path: Path) -> None:
    def fetch(url: str, target: Path, options: Any) -> None:
        target.write_text(SET_BY_THE_TASK.get())

    token = SET_BY_THE_TASK.set("seen")
    try:
        inputs = inputs_of(tmp_path, 3, fetch)
        assert with_inputs(texts, inputs, inputs) == ["seen"] * 3
    finally:
        SET_BY_THE_TASK.reset(token)


def test_when_one_fails_nobody_waits_for_the_others_and_they_stay(tmp_path: Path) -> None:
    goes_on = threading.Event()
    called: list[str] = []

    def fetch(url: str, target: Path, options: Any) -> None:
        called.append(url)
        if url == "odd:1":
            raise TransferFailed(url, "gone")
        assert goes_on.wait(30)
        target.write_text(url)

    inputs = inputs_of(tmp_path, 50, fetch)
    try:
        with pytest.raises(TransferFailed, match="odd:1: gone"):
            with_inputs(lambda: called.append("function"), inputs)
    finally:
        goes_on.set()
    eventually(no_transfers)
    assert "function" not in called and len(called) <= 2 * AT_A_TIME
    assert not any(map(is_in_use, inputs))
    there = [one for one in inputs if os.path.exists(one.path)]
    assert {one.url for one in there} == set(called) - {"odd:1"}


def test_an_interrupt_is_not_held_up(tmp_path: Path) -> None:
    goes_on, begun = threading.Event(), threading.Barrier(2, timeout=30)

    def fetch(url: str, target: Path, options: Any) -> None:
        if url == "odd:0":
            begun.wait()
        assert goes_on.wait(30)
        target.write_text(url)

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    inputs = inputs_of(tmp_path, 3, fetch)
    try:
        with pytest.raises(KeyboardInterrupt):
            with_inputs(abs, inputs, 1)
        assert not goes_on.is_set()
    finally:
        goes_on.set()
        thread.join()
    eventually(no_transfers)
    assert not any(map(is_in_use, inputs))


def test_files_are_added_to_a_function_and_not_wrapped_around_it(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, 3000)
    function: Any = texts
    for one in inputs:
        function = added(function, one)
    assert type(function) is partial and function.args == (texts, inputs)
    assert pickle.loads(pickle.dumps(function)).args == (texts, inputs)


def test_more_files_may_come_than_a_process_may_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = len(descriptors()) + 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        inputs = inputs_of(tmp_path, 200)
        assert len(with_inputs(texts, inputs, inputs)) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- in a pool


def contents(files: list[File]) -> list[bytes]:
    return [Path(file).read_bytes() for file in files]


@pytest.mark.timeout(180)  # a thousand locks and messages
@pytest.mark.parametrize("provider", [HTTPInTaskStaging, HTTPSeparateTaskStaging])
def test_hundreds_of_files_come_to_one_task_over_few_connections(
    provider: type[Staging], server: WebFaults, tmp_path: Path
) -> None:
    names = [f"/{number}" for number in range(400)]
    for name in names:
        server.plan(name, serves(name.encode()))
    executor = HighThroughputExecutor(
        "main", max_workers_per_node=2, working_dir=str(tmp_path / "here"), storage_access=[provider()]
    )
    with ParslPoolExecutor(Config([executor])) as pool:
        files = [File(server.url(name)) for name in names]
        assert pool.submit(contents, files).result() == [name.encode() for name in names]
        assert len(server.requests) == 400
        assert server.connections < 100  # 8 or 2, where no process had to wait for a second


def test_one_file_of_many_that_is_missing_is_named(server: WebFaults, tmp_path: Path) -> None:
    server.plan("*", serves(b"x"))
    server.plan("/7", gives(b"no such file", 404))
    executor = HighThroughputExecutor(
        "main", max_workers_per_node=1, working_dir=str(tmp_path / "here"), storage_access=[HTTPInTaskStaging()]
    )
    with ParslPoolExecutor(Config([executor])) as pool:
        future = pool.submit(contents, [File(server.url(f"/{number}")) for number in range(20)])
        with pytest.raises(TransferFailed, match="/7: could not be .*: HTTP 404 Not Found: no such file"):
            future.result()
        assert pool.submit(contents, [File(server.url("/1"))]).result() == [b"x"]
