"""Log handlers of the user's that raise."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor as Foreign

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.loggers import careful_logger, tell_of
from tests.eventually import eventually
from tests.recovery.arrangement import Parts

pytestmark = pytest.mark.timeout(60)


class Raising(logging.Handler):
    """What a user may have written."""

    calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        raise SystemExit("a handler's own")


@pytest.fixture
def raising() -> Iterator[Raising]:
    handler = Raising()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def test_the_threads_of_a_pool_outlive_it(raising: Raising, capsys: pytest.CaptureFixture[str]) -> None:
    """The thread that brings everybody's results logs that a callback has failed, and that the interchange is lost."""
    with ParslPoolExecutor(1) as pool:
        first = pool.submit(abs, -1)
        first.add_done_callback(lambda _: 1 / 0)
        assert first.result(20) == 1
        eventually(lambda: raising.calls, within=20)
        Parts(pool, inside=True).interchange.kill()
        assert pool.submit(abs, -2).result(30) == 2
        assert raising.calls > 1
        assert pool._backend.broken is None
    assert "a handler's own" in capsys.readouterr().err


def test_a_logger_keeps_its_kind(raising: Raising) -> None:
    logger = careful_logger("parsl_pool.test_loggers")
    assert isinstance(logger, logging.Logger) and careful_logger(logger.name) is logger
    logger.error("it is told, and nothing is raised")
    with Foreign(1) as threads:  # and in any thread
        threads.submit(logger.error, "also here").result(5)
    try:
        raise ValueError("x")
    except ValueError:
        tell_of(logging.getLogger("somebody.else"), "about %s", "it")
    assert raising.calls == 3
