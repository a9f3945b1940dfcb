"""Every option of a Config does something: for each, two values, and what a program sees of the difference."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import AUTO_LOGNAME, Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor, bash_app
from parsl_pool.config import RULES
from parsl_pool.dataflow.resolvers import SHALLOW_DEPENDENCY_RESOLVER
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]


def threads(**options: Any) -> ParslPoolExecutor:
    return ParslPoolExecutor(Config(**{"executors": [ThreadPoolExecutor(max_threads=4)], **options}))


class Calls:
    """A function that fails at first, and counts its calls."""

    def __init__(self, failures: int = 0) -> None:
        self.count, self.failures = 0, failures

    def __call__(self, value: int = 0) -> int:
        self.count += 1
        if self.count <= self.failures:
            raise ValueError(f"call {self.count}")
        return value


def plain(value: int) -> int:
    return value + 1


def calls_of_a_flaky_task(folder: Path, **options: Any) -> int:
    flaky = Calls(failures=2)
    with threads(**options) as pool:
        pool.submit(flaky).exception()
    return flaky.count


def runs_of_a_cached_call(folder: Path, **options: Any) -> int:
    """Threads share the list."""
    with threads(**options) as pool:
        cached = pool.options(cache=True)
        [cached.submit(noted, 1).result() for _ in range(3)]
    found, NOTED[:] = len(NOTED), []
    return found


NOTED: list[int] = []


def noted(value: int) -> int:
    NOTED.append(value)
    return value


def is_checkpointed(folder: Path, **options: Any) -> bool:
    with threads(run_dir=folder, **options) as pool:
        pool.options(cache=True).submit(plain, 1).result()
    return (folder / "000" / "checkpoint" / "results.sqlite").exists()


def is_in_the_checkpoint(folder: Path, **options: Any) -> bool:
    """While the pool runs: soon, or not before an hour has passed."""

    def is_there() -> bool:
        command = [sys.executable, "-m", "parsl_pool", "checkpoints", "list", "--json", str(folder)]
        found = json.loads(subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(ROOT)}))
        return bool(found[0]["results"])

    with threads(run_dir=folder, checkpoint_mode="periodic", **options) as pool:
        pool.options(cache=True).submit(plain, 1).result()
        return bool(eventually(is_there, within=20)) if options["checkpoint_period"] == 0.05 else is_there()


def finds_an_earlier_result(folder: Path, **options: Any) -> bool:
    with threads(run_dir=folder / "runs", checkpoint_mode="task_exit") as pool:
        pool.options(cache=True).submit(noted, 1).result()
    NOTED.clear()
    files = [str(folder / "runs" / "000")] if options["checkpoint_files"] else []
    with threads(checkpoint_files=files) as pool:
        pool.options(cache=True).submit(noted, 1).result()
    found, NOTED[:] = not NOTED, []
    return found


def kind_of_a_future_in_a_list(folder: Path, **options: Any) -> str:
    with threads(**options) as pool:
        return pool.submit(lambda items: type(items[0]).__name__, [pool.submit(abs, -1)]).result()


def is_open_after_the_block(folder: Path, **options: Any) -> bool:
    with threads(**options) as pool:
        pass
    try:
        return bool(pool.submit(abs, -1).result() == 1)
    except RuntimeError:
        return False
    finally:
        pool.shutdown()


def arguments_of_a_task_that_is_over(folder: Path, **options: Any) -> Any:
    records: list[Any] = []

    def handler(error: BaseException, record: Any) -> float:
        records.append(record)
        return 1.0

    with threads(retry_handler=handler, **options) as pool:
        pool.submit(Calls(failures=1), 5).exception()
    return records[0].args


def files_of_a_run(folder: Path, **options: Any) -> list[str]:
    with threads(**{"run_dir": folder / "runs", **options}) as pool:
        pool.submit(abs, -1).result()
    return sorted(str(path.relative_to(folder)) for path in folder.glob("**/*.log"))


def join_apps_at_once(folder: Path, **options: Any) -> int:
    """How many of three run at the same time: they wait a moment for each other."""
    lock, counts, running = threading.Lock(), [0], [0]
    together = threading.Event()

    def join() -> Any:
        with lock:
            running[0] += 1
            counts.append(running[0])
            if running[0] == 3:
                together.set()
        together.wait(0.1)
        with lock:
            running[0] -= 1
        return []

    with threads(**options) as pool:
        [future.result() for future in [pool.options(join=True).submit(join) for _ in range(3)]]
    return max(counts)


def lost_retries_of(folder: Path, **options: Any) -> int:
    """That these are kept to is shown in tests/recovery."""
    executors = [HighThroughputExecutor(max_workers_per_node=1)]
    with threads(executors=executors, **options) as pool:
        return int(pool.executors["HighThroughputExecutor"].link.tries.options.lost_retries)


def least_pause(folder: Path, **options: Any) -> bool:
    """Whether there is one of a tenth of a second."""
    with threads(retries=2, **options) as pool:
        future = pool.submit(Calls(failures=2))
        future.result()
    first, second = future.attempts
    return second.began - first.ended >= 0.1


def name_of_a_log(folder: Path, **options: Any) -> str:
    with threads(run_dir=folder, **options) as pool:
        future = bash_app(data_flow_kernel=pool)(says)(stdout=AUTO_LOGNAME)
        future.result()
    return Path(str(future.stdout)).name


def place_of_a_command(folder: Path, **options: Any) -> str | None:
    with threads(run_dir=folder / "runs", **options) as pool:
        future = bash_app(data_flow_kernel=pool)(says)()
        future.result()
    return None if future.sandbox is None else str(Path(future.sandbox).parent.parent.relative_to(folder))


def says(stdout: Any = None) -> str:
    return "echo said"


def messages(folder: Path, **options: Any) -> list[Any]:
    """Those of a run: their project."""
    with collector() as (address, received):
        with threads(**{"usage_tracking": 1, "usage_address": address, **options}):
            pass
        return [message["project_name"] for message in received()]


@contextmanager
def collector() -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)

        def received() -> list[Any]:
            found = []
            while True:
                try:
                    found.append(json.loads(sock.recv(65536)))
                except BlockingIOError:
                    return found

        yield f"127.0.0.1:{sock.getsockname()[1]}", received


@contextmanager
def blocks(folder: Path, **options: Any) -> Iterator[tuple[ParslPoolExecutor, Any]]:
    """A pool of one worker a block: one block at first, and two at most."""
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=LocalProvider(init_blocks=1, max_blocks=2))
    with ParslPoolExecutor(Config([executor], run_dir=folder / "runs", **options)) as pool:
        yield pool, executor


def meet(folder: str, patience_s: float) -> int:
    """How many of this are under way at a time."""
    Path(folder, str(os.getpid())).touch()
    end = time.monotonic() + patience_s
    while len(os.listdir(folder)) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return len(os.listdir(folder))


def tasks_at_once(folder: Path, strategy: str) -> int:
    (folder / "met").mkdir()
    patience_s = 1.0 if strategy == "none" else 30.0
    with blocks(folder, strategy=strategy, strategy_period=0.1) as (pool, _):
        futures = [pool.submit(meet, str(folder / "met"), patience_s) for _ in range(2)]
        return max(future.result(40) for future in futures)


def block_goes(folder: Path, max_idletime: float) -> bool:
    with blocks(folder, max_idletime=max_idletime, strategy_period=0.1) as (pool, executor):
        assert pool.submit(abs, -1).result(30) == 1
        keeper, decided = executor.keeper, []

        def has_gone_or_stays() -> bool:
            decided.append(keeper._decided)
            return len(set(decided)) > 5 or not keeper.table.capacity()

        if max_idletime < 1:
            eventually(lambda: not keeper.table.capacity(), within=30)
        else:
            eventually(has_gone_or_stays, within=30)
        return not keeper.table.capacity()


def is_soon_looked_at_again(folder: Path, strategy_period: float) -> bool:
    with blocks(folder, strategy_period=strategy_period) as (pool, executor):
        assert pool.submit(abs, -1).result(30) == 1
        return bool(executor.keeper._decision_due_s(time.monotonic()) <= 5.0)


def labels(folder: Path, **options: Any) -> list[str]:
    with threads(**options) as pool:
        return list(pool.executors)


def named(record: Any, stream: str) -> str:
    return f"{record.task}-mine.{stream}"


Seen = Callable[..., Any]
TABLE: dict[str, tuple[Seen, list[tuple[Callable[[Path], Any], Any]]]] = {
    "executors": (labels, [(lambda _: [ThreadPoolExecutor("a"), ThreadPoolExecutor("b")], ["a", "b"]),
                           (lambda _: None, ["threads"])]),
    "app_cache": (runs_of_a_cached_call, [(lambda _: True, 1), (lambda _: False, 3)]),
    "checkpoint_files": (finds_an_earlier_result, [(lambda _: True, True), (lambda _: False, False)]),
    "checkpoint_mode": (is_checkpointed, [(lambda _: "task_exit", True), (lambda _: None, False)]),
    "checkpoint_period": (
        is_in_the_checkpoint,
        [(lambda _: 0.05, True), (lambda _: "01:00:00", False)],
    ),
    "dependency_resolver": (
        kind_of_a_future_in_a_list, [(lambda _: None, "int"), (lambda _: SHALLOW_DEPENDENCY_RESOLVER, "AppFuture")]
    ),
    "exit_mode": (is_open_after_the_block, [(lambda _: "skip", True), (lambda _: "cleanup", False)]),
    "garbage_collect": (arguments_of_a_task_that_is_over, [(lambda _: True, ()), (lambda _: False, (5,))]),
    "initialize_logging": (files_of_a_run, [(lambda _: True, ["runs/000/parsl_pool.log"]), (lambda _: False, [])]),
    "internal_tasks_max_threads": (join_apps_at_once, [(lambda _: 1, 1), (lambda _: 3, 3)]),
    "lost_retries": (lost_retries_of, [(lambda _: 0, 0), (lambda _: 7, 7)]),
    "max_idletime": (block_goes, [(lambda _: 0.1, True), (lambda _: 1e6, False)]),
    "monitoring": (files_of_a_run, [(lambda _: None, ["runs/000/parsl_pool.log"])]),
    "project_name": (messages, [(lambda _: "fish", ["fish"]), (lambda _: None, [None])]),
    "retries": (calls_of_a_flaky_task, [(lambda _: 0, 1), (lambda _: 5, 3)]),
    "retry_delay": (least_pause, [(lambda _: 0.1, True), (lambda _: 0.0, False)]),
    "retry_handler": (
        lambda folder, **options: calls_of_a_flaky_task(folder, retries=1, **options),
        [(lambda _: None, 2), (lambda _: lambda error, record: 0.1, 3), (lambda _: lambda error, record: 9, 1)],
    ),
    "run_dir": (
        files_of_a_run, [(lambda folder: folder / "x", ["x/000/parsl_pool.log"]), (lambda _: None, [])]
    ),
    "sandbox": (
        place_of_a_command,
        [(lambda _: None, None), (lambda _: False, None), (lambda _: True, "runs/000"),
         (lambda folder: folder / "x", "x")],
    ),
    "std_autopath": (
        name_of_a_log,
        [(lambda folder: lambda record, stream: str(folder / named(record, stream)), "1-mine.stdout"),
         (lambda _: None, "task_0001_says.stdout")],
    ),
    "strategy": (tasks_at_once, [(lambda _: "simple", 2), (lambda _: "htex_auto_scale", 2), (lambda _: "none", 1)]),
    "strategy_period": (is_soon_looked_at_again, [(lambda _: 5.0, True), (lambda _: 1000.0, False)]),
    "usage_address": (messages, [(lambda _: "127.0.0.1:9", []), (lambda _: None, [])]),
    "usage_tracking": (messages, [(lambda _: 1, [None]), (lambda _: 0, []), (lambda _: 3, [None, None])]),
}  # fmt: skip

ROWS = [(name, row) for name, (_, rows) in TABLE.items() for row in range(len(rows))]


def test_the_table_has_every_option() -> None:
    assert set(TABLE) == set(RULES)


@pytest.mark.parametrize("name, row", ROWS, ids=[f"{name}-{row}" for name, row in ROWS])
def test_an_option_does_what_it_says(name: str, row: int, tmp_path: Path) -> None:
    seen, rows = TABLE[name]
    value, expected = rows[row]
    assert seen(tmp_path, **{name: value(tmp_path)}) == expected
    parsl_pool.clear()
