"""Tasks whose files Globus brings, on each kind of executor. The SDK is the real one, and Globus is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import Config, File, ParslPoolExecutor, bash_app, python_app
from parsl_pool.errors import DependencyError, GlobusTransferFailed
from parsl_pool.staging import GlobusStaging
from tests import leaks
from tests.staging.conftest import KINDS
from tests.staging.globus.service import HERE, THERE, Globus, failed, url_of

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module", autouse=True)
def pool(kind: str, globus: Globus) -> Iterator[ParslPoolExecutor]:
    """Its nodes see the endpoint HERE, which calls their files otherwise. None of the tests harms it."""
    local = globus.folders[HERE] / "data"
    staging = GlobusStaging(HERE, endpoint_path="/data", local_path=local)
    executor = KINDS[kind](storage_access=[staging], working_dir=local / "working")
    with leaks.keeping("the module's pool"), parsl_pool.load(Config([executor], run_dir=None)) as pool:
        yield pool
    parsl_pool.clear()


@pytest.fixture
def there(globus: Globus, request: pytest.FixtureRequest) -> Path:
    """A folder of the other endpoint, for one test."""
    folder = globus.folders[THERE] / str(request.node.originalname)
    folder.mkdir(exist_ok=True)
    return folder


@python_app
def text_of(file: Any) -> str:
    with open(file) as opened:
        return opened.read()


@bash_app
def shout(inputs: Any = (), outputs: Any = ()) -> str:
    return f"tr a-z A-Z < '{inputs[0].filepath}' > '{outputs[0].filepath}'"


def test_a_file_comes_goes_and_comes_again(globus: Globus, there: Path) -> None:
    (there / "a b#?%.txt").write_text("words")
    before = len(globus.submitted)
    written = shout(
        inputs=[File(url_of(f"/{there.name}/a b#?%.txt"))], outputs=[File(url_of(f"/{there.name}/new/loud.txt"))]
    ).outputs[0]
    assert text_of(written).result(30) == "WORDS"
    assert (there / "new" / "loud.txt").read_text() == "WORDS"
    documents = globus.submitted[before:]
    assert [(each["source_endpoint"], each["destination_endpoint"]) for each in documents] == [
        (THERE, HERE), (HERE, THERE), (THERE, HERE),
    ]  # fmt: skip
    assert all(each["verify_checksum"] for each in documents)
    assert documents[0]["DATA"][0]["destination_path"].startswith("/data/working/")


def test_a_file_of_several_tasks_is_brought_once(globus: Globus, there: Path) -> None:
    (there / "f").write_text("once")
    globus.stages[f"/{there.name}/f"] = [None] * 5  # so that the first is not done before the last has asked
    before = len(globus.submitted)
    with globus.lock:
        tasks = [text_of(File(url_of(f"/{there.name}/f"))) for _ in range(5)]
    assert [task.result(30) for task in tasks] == ["once"] * 5
    assert len(globus.submitted) == before + 1


def test_who_needs_a_file_that_can_not_be_brought_learns_why(globus: Globus, there: Path) -> None:
    path = f"/{there.name}/locked"
    globus.stages[path] = [failed("PERMISSION_DENIED", f"Error (open) {path}: Permission denied")]
    problem = text_of(File(url_of(path))).exception(30)
    assert isinstance(problem, DependencyError)
    failure = problem.root_cause
    assert isinstance(failure, GlobusTransferFailed)
    assert failure.nice_status == "PERMISSION_DENIED" and failure.fatal_error.endswith("Permission denied")
    assert failure.url == url_of(path) and failure.task_id in str(failure) and "PERMISSION_DENIED" in str(failure)


def test_a_file_that_can_not_be_sent_fails_its_future_and_not_the_task(globus: Globus, there: Path) -> None:
    (there / "f").write_text("x")
    before = set(globus.tasks)
    task = shout(inputs=[File(url_of(f"/{there.name}/f"))], outputs=[File(url_of("/x", "0" * 32))])
    assert task.result(30) == 0
    problem = task.outputs[0].exception(30)
    assert isinstance(problem, GlobusTransferFailed) and "404 EndpointNotFound" in str(problem)
    assert len(set(globus.tasks) - before) == 1


def test_what_a_failed_task_was_to_write_is_not_sent(globus: Globus, there: Path) -> None:
    before = len(globus.submitted)
    (there / "f").write_text("x")
    nothing = shout(inputs=[File(url_of(f"/{there.name}/missing"))], outputs=[File(url_of(f"/{there.name}/out"))])
    assert isinstance(nothing.exception(30), DependencyError)
    assert isinstance(nothing.outputs[0].exception(30), DependencyError)
    assert len(globus.submitted) == before + 1
