"""A real Jupyter kernel runs cells that use a pool, as a notebook does."""

import json
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from tests.eventually import eventually
from tests.frameworks.conftest import STDLIB

manager: Any = pytest.importorskip("jupyter_client.manager", reason="needs jupyter_client (extra 'frameworks')")
jupyter: Any = pytest.importorskip("jupyter_core.utils", reason="needs jupyter_client (extra 'frameworks')")
pytest.importorskip("ipykernel", reason="needs ipykernel (extra 'frameworks')")

pytestmark = pytest.mark.skipif(STDLIB, reason="the standard library's pool can't run what cells define")
ROOT = Path(__file__).parents[2]


class Notebook:
    """A kernel, and the cells that are run in it."""

    def __init__(self, kernel: Any, client: Any) -> None:
        self.kernel, self.client = kernel, client

    def start(self, code: str) -> str:
        """Run a cell; not waiting for its end."""
        return str(self.client.execute(code))

    def until_done(self, cell: str, within: float = 60) -> str:
        """What a cell prints, and the errors that it ends with, until it has ended."""
        end = time.monotonic() + within
        texts: list[str] = []
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the cell has not ended within {within} s; it said {texts}") from None
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                texts.append(content["text"])
            elif message["msg_type"] == "error":
                texts.append(f"{content['ename']}: {content['evalue']}")
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return "".join(texts)

    def run(self, code: str) -> str:
        """A cell, whole."""
        return self.until_done(self.start(code))


@pytest.fixture(scope="module", autouse=True)
def no_loop_is_left() -> Iterator[None]:
    """jupyter_client makes an event loop for its own use, and keeps it."""
    loop = jupyter.ensure_event_loop()
    yield
    zmq.Context.instance().term()
    loop.close()


@pytest.fixture
def notebook(empty: Notebook, manager_inside: bool) -> Notebook:
    """One with a pool."""
    said = empty.run(
        f"from parsl_pool import ParslPoolExecutor\npool = ParslPoolExecutor(2, manager_inside={manager_inside})"
    )
    assert said == ""
    return empty


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    kernel, client = manager.start_new_kernel(startup_timeout=60)
    try:
        yield Notebook(kernel, client)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def test_what_cells_define_can_be_tasks_and_is_seen_anew_when_a_cell_runs_again(notebook: Notebook) -> None:
    assert notebook.run("factor = 3\ndef times(x): return factor * x\nprint(list(pool.map(times, range(4))))") == (
        "[0, 3, 6, 9]\n"
    )
    assert notebook.run("factor = 5\nprint(pool.submit(times, 2).result())") == "10\n"
    assert notebook.run("def times(x): return 'new'\nprint(pool.submit(times, 2).result())") == "new\n"
    assert notebook.run("print(pool.submit(lambda: factor).result())") == "5\n"


def test_a_class_of_a_cell_comes_back_as_the_same_class(notebook: Notebook) -> None:
    notebook.run("class Point:\n    def __init__(self, x): self.x = x\ndef moved(p): return Point(p.x + 1)")
    said = notebook.run("one = pool.submit(moved, Point(1)).result()\nprint(type(one) is Point, one.x)")
    assert said == "True 2\n"


def test_an_interrupted_cell_leaves_a_pool_that_works(notebook: Notebook, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    cell = notebook.start(
        "import pathlib, time\n"
        f"def hold():\n    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(600)\n"
        "held = pool.submit(hold)\nheld.result()"
    )
    eventually(begun.exists)
    notebook.kernel.interrupt_kernel()
    assert notebook.until_done(cell).startswith("KeyboardInterrupt")
    assert notebook.run("print(held.kill(), pool.submit(pow, 2, 5).result())") == "True 32\n"


def test_the_notebook_of_the_examples_runs_and_its_cells_run_again(empty: Notebook) -> None:
    page = json.loads((ROOT / "examples" / "workflows" / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "code"]
    prints = ["", "", "[0.844, 0.134, 0.956, 0.238]\n", "True\n", "0.956\n"]
    assert [empty.run(cell) for cell in cells] == prints
    assert empty.run("first, before = pool, times") == ""
    assert [empty.run(cell) for cell in cells] == prints
    assert empty.run("print(pool is first, times == before)") == "True True\n"
    changed = cells[0].replace("max_workers_per_node=2", "max_workers_per_node=1")
    assert "ConfigurationError: a pool is loaded already" in empty.run(changed)
    assert empty.run(cells[1].replace(", 3)", ", 4)")) == ""
    assert empty.run(cells[2]) == "[0.8444, 0.1344, 0.956, 0.238]\n"


def test_await_works_in_a_cell(notebook: Notebook) -> None:
    """A cell runs in an event loop."""
    assert notebook.run("import asyncio\nprint(await asyncio.wrap_future(pool.submit(pow, 2, 6)))") == "64\n"


@pytest.mark.parametrize("now", [False, True], ids=["restarted", "killed"])
def test_a_kernel_that_is_ended_leaves_no_process(notebook: Notebook, now: bool) -> None:
    assert notebook.run("print(pool.submit(pow, 2, 3).result())") == "8\n"
    pid = int(notebook.run("import os; print(os.getpid())"))
    ours = psutil.Process(pid).children(recursive=True)
    assert len(ours) >= 3  # interchange, fork server, worker
    notebook.run("import time; busy = pool.submit(time.sleep, 600)")
    end: Callable[..., None] = notebook.kernel.shutdown_kernel
    end(now=now)
    eventually(lambda: not any(process.is_running() for process in ours), within=20)
