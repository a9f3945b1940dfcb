"""The log of a run, as a Config asks for it: INFO in the file, and nothing more than before anywhere else."""

import gc
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import ConfigurationError
from parsl_pool.run_log import RunLog
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
KINDS: dict[str, Callable[[str], Any]] = {
    "threads": ThreadPoolExecutor,
    "processes": lambda label: HighThroughputExecutor(label, max_workers_per_node=1),
}
logger = logging.getLogger("parsl_pool")


@pytest.fixture(autouse=True)
def the_loggers_are_as_before() -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.NOTSET)  # tests before these may have left another
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    assert (logger.level, logger.propagate, logger.handlers) == before
    logger.setLevel(level)


def log_of(folder: Path, run: str = "000") -> str:
    return (folder / run / "parsl_pool.log").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_has_a_log_from_info_on(kind: str, tmp_path: Path) -> None:
    with ParslPoolExecutor(Config([KINDS[kind]("mine")], run_dir=tmp_path)) as pool:
        assert pool.submit(abs, -1).result() == 1
        logging.getLogger("parsl_pool.test").info("pool %s: told", "mine")
        logging.getLogger("parsl_pool.test").info("pool %s: told", "another")
        logging.getLogger("parsl_pool.test").debug("whispered")
    first, *others = log_of(tmp_path).splitlines()
    assert f" INFO parsl_pool.pool pool mine: begun in process {os.getpid()}, parsl_pool " in first
    assert [line for line in others if "told" in line or "whispered" in line] == [
        line for line in others if line.endswith(" INFO parsl_pool.test pool mine: told")
    ]
    assert "pool mine: told" in log_of(tmp_path) and others[-1].endswith(" pool mine: ended")


def test_several_executors_of_a_run_share_its_log(tmp_path: Path) -> None:
    with ParslPoolExecutor(Config([KINDS["threads"]("one"), KINDS["threads"]("two")], run_dir=tmp_path)) as pool:
        pool.submit(abs, -1).result()
        logging.getLogger("parsl_pool.test").warning("to all")
        for label in ("one", "two"):
            logging.getLogger("parsl_pool.test").info("pool %s: told", label)
    text = log_of(tmp_path)
    assert text.count("to all") == text.count("pool one: told") == text.count("pool two: told") == 1
    assert text.count(": ended") == 2


def test_runs_are_numbered_and_kept(tmp_path: Path) -> None:
    for _ in range(3):
        with ParslPoolExecutor(Config([KINDS["threads"]("x")], run_dir=tmp_path)) as pool:
            pool.submit(abs, -1).result()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000", "001", "002"]
    assert all("ended" in log_of(tmp_path, run) for run in ("000", "001", "002"))


@pytest.mark.parametrize("options", [{"initialize_logging": False}, {"run_dir": None}])
@pytest.mark.parametrize("kind", KINDS)
def test_without_it_nothing_is_written_and_no_logger_changes(
    kind: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config([KINDS[kind]("x")], **{"run_dir": tmp_path / "runs", **options})
    with ParslPoolExecutor(config) as pool:
        pool.submit(abs, -1).result()
        assert logger.level == logging.NOTSET and logger.propagate
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_a_pool_that_was_dropped_ends(tmp_path: Path) -> None:
    pool = ParslPoolExecutor(Config([KINDS["threads"]("x")], run_dir=tmp_path))
    pool.submit(abs, -1).result()
    del pool
    gc.collect()
    eventually(lambda: "ended" in log_of(tmp_path))


@pytest.fixture
def above() -> Iterator[io.StringIO]:
    """What the program's own handler gets."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def told(level: int, name: str = "parsl_pool.test") -> None:
    logging.getLogger(name).log(level, "told at %d", level)


def test_handlers_of_the_program_get_what_they_would_get_without_a_log(
    tmp_path: Path, above: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings, then; more if the program asks for more: at the root, of our logger, of one below."""
    child = logging.getLogger("parsl_pool.below")
    run_log = RunLog(str(tmp_path), "x")
    try:
        told(logging.INFO)
        told(logging.WARNING)
        assert above.getvalue() == "told at 30\n"
        monkeypatch.setattr(child, "level", logging.INFO)
        told(logging.INFO, "parsl_pool.below")
        assert above.getvalue() == "told at 30\ntold at 20\n"
        logging.getLogger().setLevel(logging.INFO)
        told(logging.INFO)
        assert above.getvalue().count("told at 20") == 2
        logging.getLogger().setLevel(logging.WARNING)
        told(logging.INFO)
        assert above.getvalue().count("told at 20") == 2
        logger.setLevel(logging.INFO)
        told(logging.INFO)
        assert above.getvalue().count("told at 20") == 3
    finally:
        logging.getLogger().setLevel(logging.WARNING)
        run_log.close()
        logger.setLevel(logging.NOTSET)
    lines = (tmp_path / "parsl_pool.log").read_text().splitlines()
    assert len(lines) == 8  # all of it, and its begin and end


def test_a_level_that_the_program_has_set_is_left_alone(tmp_path: Path, above: io.StringIO) -> None:
    logger.setLevel(logging.ERROR)
    try:
        run_log = RunLog(str(tmp_path), "x")
        told(logging.WARNING)
        told(logging.ERROR)
        run_log.close()
    finally:
        logger.setLevel(logging.NOTSET)
    assert (tmp_path / "parsl_pool.log").read_text().splitlines()[0].endswith("told at 40")
    assert above.getvalue() == "told at 40\n"


PROGRAM = """
import os, parsl_pool
if {warn}:
    import logging
    logging.getLogger("parsl_pool.test")
with parsl_pool.load() as pool:
    print(pool.submit(abs, -1).result())
    if {warn}:
        logging.getLogger("parsl_pool.test").warning("nobody asked")
with parsl_pool.ParslPoolExecutor(1) as pool:
    print(pool.submit(abs, -1).result())
"""


@pytest.mark.parametrize("warn", [False, True])
def test_a_config_makes_runinfo_where_the_program_is_and_a_plain_pool_makes_nothing(
    warn: bool, tmp_path: Path
) -> None:
    """And nothing is on stderr, though nobody handles our warnings."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(warn=warn)], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=50,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("1\n1\n", "", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["runinfo"]
    assert sorted(path.name for path in (tmp_path / "runinfo").iterdir()) == ["000"]
    assert ("nobody asked" in log_of(tmp_path / "runinfo")) is warn


def test_a_place_that_cannot_be_written_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with ParslPoolExecutor(Config([ThreadPoolExecutor()], run_dir=tmp_path / "file")) as pool:
        with pytest.raises(ConfigurationError, match=r"cannot make a run directory in .*run_dir="):
            pool.submit(abs, -1)
