"""`load`, `clear`, `dfk`, `wait_for_current_tasks`."""

import contextlib
import gc
import io
import logging
import re
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ThreadPoolExecutor, bash_app, python_app
from parsl_pool.errors import ConfigurationError, NoDataFlowKernelError
from parsl_pool.providers import LocalProvider

pytestmark = pytest.mark.timeout(60)


@python_app
def sleep_for(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.fixture(autouse=True)
def nothing_stays_loaded() -> Iterator[None]:
    yield
    parsl_pool.clear()


def threads() -> Config:
    return Config([ThreadPoolExecutor(max_threads=2)])


def test_load_makes_the_pool_that_apps_use() -> None:
    pool = parsl_pool.load(threads())
    assert parsl_pool.dfk() is pool
    assert sleep_for(0.01).result() == 0.01
    assert list(pool.executors) == ["threads"]


def test_nothing_loaded() -> None:
    for ask in (parsl_pool.dfk, parsl_pool.wait_for_current_tasks):
        with pytest.raises(NoDataFlowKernelError, match="no pool is loaded"):
            ask()
    parsl_pool.clear()  # no error


def test_a_second_load_is_an_error_until_the_first_is_cleared() -> None:
    first = parsl_pool.load(threads())
    with pytest.raises(ConfigurationError, match=r"a pool is loaded already, .*threads.*clear\(\)"):
        parsl_pool.load(threads())
    assert parsl_pool.dfk() is first
    parsl_pool.clear()
    assert parsl_pool.load(threads()) is not first


def test_a_config_serves_once() -> None:
    config = threads()
    parsl_pool.load(config)
    parsl_pool.clear()
    with pytest.raises(ConfigurationError, match="has been used for a pool already"):
        parsl_pool.load(config)


def test_clear_finishes_what_is_under_way() -> None:
    parsl_pool.load(threads())
    futures = [sleep_for(0.1) for _ in range(4)]
    parsl_pool.clear()
    assert all(future.done() for future in futures)


def test_as_a_context() -> None:
    with parsl_pool.load(threads()) as pool:
        future = sleep_for(0.05)
        assert parsl_pool.dfk() is pool
    assert future.done()
    with parsl_pool.load(threads()):
        assert sleep_for(0).result() == 0


def test_wait_for_current_tasks() -> None:
    parsl_pool.load(threads())
    futures = [sleep_for(0.05) for _ in range(4)]
    chained = sleep_for(futures[-1])
    parsl_pool.wait_for_current_tasks()
    assert all(future.done() for future in [*futures, chained])


def test_several_pools_side_by_side() -> None:
    parsl_pool.load(threads())
    with parsl_pool.ParslPoolExecutor(Config([ThreadPoolExecutor("other")])) as other:
        bound = python_app(data_flow_kernel=other)(str)
        assert bound(sleep_for(0.0)).result() == "0.0"
        assert other.status().done == 1


def processes(**options: Any) -> Config:
    return Config([HighThroughputExecutor("few", max_workers_per_node=1, provider=None)], **options)


def test_configs_are_the_same_if_they_were_made_in_the_same_way() -> None:
    for make in (threads, processes):
        assert make().is_same_as(make())
    assert not threads().is_same_as(processes())
    assert not processes().is_same_as(processes(retries=1))
    one, other = (HighThroughputExecutor("x", provider=LocalProvider(worker_init=init)) for init in ("", "true"))
    assert not Config([one]).is_same_as(Config([other]))
    again = HighThroughputExecutor("x", provider=LocalProvider())
    assert Config([one]).is_same_as(Config([again]))
    for executor in (one, other, again):
        executor.shutdown()


def test_in_a_notebook_the_cell_may_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = parsl_pool.load(threads())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))
    assert parsl_pool.load(threads()) is first
    with pytest.raises(ConfigurationError, match="a pool is loaded already"):
        parsl_pool.load(Config([ThreadPoolExecutor(max_threads=3)]))


CELL = """
def cost(error, record, most={most}):
    return limit

config = Config([HighThroughputExecutor("x", initializer=partial(prepare, lambda: 1))], retry_handler=cost)
"""


def test_in_a_notebook_functions_that_a_cell_defines_again_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))
    cells: dict[str, Any] = {
        "Config": Config, "HighThroughputExecutor": HighThroughputExecutor, "partial": partial, "prepare": print,
        "limit": 1,
    }  # fmt: skip

    def run(cell: str) -> parsl_pool.ParslPoolExecutor:
        exec(cell, cells)
        return parsl_pool.load(cells["config"])

    first = run(CELL.format(most=1))
    assert run(CELL.format(most=1)) is first
    for changed in (CELL.format(most=2), CELL.format(most=1).replace("return limit", "return 1"),
                    CELL.format(most=1).replace("lambda: 1", "lambda: 1.0")):  # fmt: skip
        with pytest.raises(ConfigurationError, match="a pool is loaded already"):
            run(changed)
    cells["prepare"] = repr
    with pytest.raises(ConfigurationError, match="a pool is loaded already"):
        run(CELL.format(most=1))


def test_what_has_no_answer_to_being_equal_is_not_the_same() -> None:
    class Several:
        def __eq__(self, other: object) -> Any:
            raise ValueError("which of them?")

    one, other = (Config([HighThroughputExecutor("x", initializer=print, initargs=(Several(),))]) for _ in "ab")
    assert not one.is_same_as(other) and one.is_same_as(one)
    box: list[Any] = []

    def own(error: BaseException, record: Any) -> float:
        return len(box) + own(error, record)

    assert Config(retry_handler=own).is_same_as(Config(retry_handler=own))


def test_a_label_that_comes_twice_is_told_also_if_it_came_later() -> None:
    config = threads()
    config.executors.append(ThreadPoolExecutor())
    with pytest.raises(ConfigurationError, match="two have the label 'threads'"):
        parsl_pool.load(config)


@pytest.mark.parametrize("error", [None, ValueError])
@pytest.mark.parametrize("mode", ["cleanup", "skip", "wait"])
def test_what_leaving_the_block_does(mode: str, error: type[Exception] | None) -> None:
    config = Config([ThreadPoolExecutor(max_threads=1)], exit_mode=mode)
    with contextlib.suppress(ValueError), parsl_pool.load(config) as pool:
        futures = [sleep_for(0.1) for _ in range(3)]
        if error is not None:
            raise error
    if mode == "skip":
        assert sleep_for(0).result() == 0 and parsl_pool.dfk() is pool
    else:
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(abs, 1)
    assert any(future.cancelled() for future in futures) is (mode == "wait" and error is not None)
    assert all(future.done() for future in futures) or mode == "skip"


def test_the_config_can_be_changed_until_it_is_used() -> None:
    config = threads()
    config.retries = 2
    with pytest.raises(ConfigurationError, match="retries must be"):
        config.retries = -1
    with pytest.raises(ConfigurationError, match="a Config has no option 'retry'; there are: executors, app_cache"):
        config.retry = 1
    assert "retries=2" in repr(config) and "max_threads=2" in repr(config)
    pool = parsl_pool.load(config)
    assert pool.config is config and pool.default_options.retries == 2
    with pytest.raises(ConfigurationError, match="retries can't be changed: a pool uses this Config already"):
        config.retries = 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"executors": {"label": "x"}}, "executors must be a list of executors"),
        ({"executors": [ThreadPoolExecutor("x"), ThreadPoolExecutor("x")]}, "two have the label 'x'"),
        ({"executors": []}, "it is empty"),
        ({"checkpoint_mode": "never"}, "checkpoint_mode must be one of 'task_exit', 'periodic', 'dfk_exit', 'manual'"),
        ({"checkpoint_mode": "periodic"}, "needs a checkpoint_period"),
        ({"checkpoint_mode": "manual", "app_cache": False}, "needs app_cache=True"),
        ({"checkpoint_period": "1h"}, 'checkpoint_period must be a time "HH:MM:SS"'),
        ({"strategy": "fast"}, "strategy must be one of 'none', 'simple', 'htex_auto_scale'"),
        ({"exit_mode": True}, "exit_mode must be a text"),
        ({"retry_handler": 5}, "retry_handler must be a callable"),
        ({"internal_tasks_max_threads": 0}, "internal_tasks_max_threads must be greater than 0"),
    ],
)
def test_wrong_options_of_a_config(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        Config(**{"executors": [ThreadPoolExecutor()], **options})


def test_a_dict_in_the_place_of_a_config() -> None:
    with pytest.raises(ConfigurationError, match=r"config must be a Config, got .*no dicts since 0.6, write Config\("):
        parsl_pool.load({"executors": []})  # type: ignore[arg-type]  # that is the point


def test_a_pool_that_is_dropped_ends_with_its_tasks() -> None:
    """Also one whose tasks took more than one step."""
    pool = parsl_pool.ParslPoolExecutor(threads())
    futures = [pool.options(cache=True, retry_delay=0.01).submit(abs, number) for number in range(3)]
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert [future.result(10) for future in futures] == [0, 1, 2]


def test_parsls_names(caplog: pytest.LogCaptureFixture) -> None:
    pool = parsl_pool.load(threads())
    assert sleep_for(0).result() == 0
    with caplog.at_level("INFO", "parsl_pool"):
        pool.log_task_states()
    assert "done=1" in caplog.text
    pool.wipe_task(1)
    pool.cleanup()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)


def test_periods_and_old_names() -> None:
    assert Config([ThreadPoolExecutor()], checkpoint_period="01:02:03").checkpoint_period == 3723
    assert Config([ThreadPoolExecutor()], strategy=None).strategy == "none"
    assert [executor.label for executor in Config().executors] == ["threads"]


def test_executors_by_label() -> None:
    config = Config([ThreadPoolExecutor("one", thread_name_prefix="one"), ThreadPoolExecutor("two", 2, "two")])
    with parsl_pool.load(config) as pool:
        names = {label: python_app(executors=[label])(name_of_thread) for label in ("one", "two")}
        assert {label: app().result()[:3] for label, app in names.items()} == {"one": "one", "two": "two"}
        either = {python_app(name_of_thread)().result()[:3] for _ in range(60)}
        assert either == {"one", "two"} == {pool.submit(name_of_thread).result()[:3] for _ in range(60)}


@pytest.mark.parametrize(
    "make, own, here",
    [(ThreadPoolExecutor, {"retries": 0}, (0, 2)), (ThreadPoolExecutor, {}, (1, 2)),
     (HighThroughputExecutor, {"retries": 5, "lost_retries": 3}, (5, 3)), (HighThroughputExecutor, {}, (1, 2))],
)  # fmt: skip
def test_what_an_executor_says_counts_more_than_what_the_config_does(
    make: Any, own: dict[str, int], here: tuple[int, int]
) -> None:
    """Zero is something that can be said."""
    with parsl_pool.ParslPoolExecutor(Config([make("x", **own)], retries=1, lost_retries=2)) as pool:
        assert pool.executors["x"].options[:2] == here == pool.default_options[:2]
        assert (pool.config.retries, pool.config.lost_retries) == (1, 2)


def test_each_executor_of_several_has_its_own_retries() -> None:
    """For calls that say nothing: what is said for a call counts everywhere."""
    several = [ThreadPoolExecutor("a", retries=0), ThreadPoolExecutor("b", retries=3), ThreadPoolExecutor("c")]
    calls: list[str] = []

    def fail(label: str) -> None:
        calls.append(label)
        raise ValueError(label)

    with parsl_pool.load(Config(several, retries=1)) as pool:
        for label in "abc":
            pool.options(executors=label).submit(fail, label).exception()
            python_app(executors=[label])(fail)(label).exception()
        assert [calls.count(label) for label in "abc"] == [2, 8, 4]
        calls.clear()
        for retries in (0, 1, 3):
            for label in "abc":
                pool.options(executors=label, retries=retries).submit(fail, label).exception()
        assert [calls.count(label) for label in "abc"] == [7, 7, 7]
        pool.add_executors([ThreadPoolExecutor("d", retries=5)])
        pool.options(executors="d").submit(fail, "d").exception()
        assert calls.count("d") == 6
        calls.clear()
        for _ in range(40):
            pool.submit(fail, "any").exception()
        assert 40 < len(calls) < 6 * 40


def test_a_pool_without_a_config_says_what_it_is_made_of() -> None:
    with parsl_pool.ParslPoolExecutor(1, retries=4, lost_retries=0) as pool:
        assert (pool.config.retries, pool.config.lost_retries) == (4, 0)
        pool.add_executors([ThreadPoolExecutor("more")])
        assert pool.executors["more"].options[:2] == (4, 0)


def test_executors_can_be_added() -> None:
    with parsl_pool.load(Config([ThreadPoolExecutor("one", thread_name_prefix="one")], retries=1)) as pool:
        assert name_of(pool) == {"one"}
        pool.add_executors([ThreadPoolExecutor("two", 2, "two")])
        assert name_of(pool) == {"one", "two"}
        assert pool.executors["two"].options.retries == 1
        with pytest.raises(ConfigurationError, match="has the label 'two' already"):
            pool.add_executors([ThreadPoolExecutor("two")])
        with pytest.raises(ConfigurationError, match="has been used for a pool already"):
            parsl_pool.ParslPoolExecutor(Config([pool.executors["two"]]))


def name_of(pool: parsl_pool.ParslPoolExecutor) -> set[str]:
    return {pool.submit(name_of_thread).result()[:3] for _ in range(60)}


def name_of_thread() -> str:
    return threading.current_thread().name


def test_std_autopath(tmp_path: Path) -> None:
    def path(record: Any, stream: str) -> tuple[str, str]:
        assert record["func_name"] == "say" and record.args == ("x",)
        return str(tmp_path / f"{record.id}.{stream}"), "w"

    with parsl_pool.load(Config([ThreadPoolExecutor()], std_autopath=path)):
        future = say("x", stdout=parsl_pool.AUTO_LOGNAME)
        assert future.result() == 0
        assert future.stdout == str(tmp_path / f"{future.tid}.stdout")
        assert (tmp_path / f"{future.tid}.stdout").read_text() == "x\n"


@bash_app
def say(text: str, stdout: Any = None) -> str:
    return f"echo {text}"


def test_loggers(tmp_path: Path) -> None:
    stream = io.StringIO()
    loggers = [
        parsl_pool.set_stream_logger("parsl_pool.test", logging.INFO, "%(levelname)s %(message)s", stream),
        parsl_pool.set_file_logger(tmp_path / "new" / "log", "parsl_pool.test", logging.DEBUG),
    ]
    assert loggers[0] is loggers[1] is logging.getLogger("parsl_pool.test")
    loggers[0].info("told")
    loggers[0].debug("whispered")
    assert stream.getvalue() == "INFO told\n"
    lines = (tmp_path / "new" / "log").read_text().splitlines()
    assert [line.split("] ")[1] for line in lines] == ["told", "whispered"]
    loggers[0].setLevel(logging.NOTSET)
    for handler in list(loggers[0].handlers):
        loggers[0].removeHandler(handler)
        handler.close()


@pytest.mark.parametrize("name", ["local_threads", "htex_local"])
def test_ready_made_configs(name: str) -> None:
    for _ in range(2):  # each import gives a new one
        config = getattr(import_module(f"parsl_pool.configs.{name}"), "config")  # noqa: B009  # it is made by asking
        with parsl_pool.load(config):
            assert sleep_for(0).result() == 0
        parsl_pool.clear()
    with pytest.raises(AttributeError):
        import_module(f"parsl_pool.configs.{name}").other  # noqa: B018  # asking is the point
