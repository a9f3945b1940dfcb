"""Tasks whose files come and go over the network, on each kind of executor, and by each of the two ways."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import parsl_pool
from parsl_pool import Config, File, ParslPoolExecutor, python_app
from parsl_pool.errors import ConfigurationError, TransferFailed, WrongType
from parsl_pool.staging import (
    FTPInTaskStaging,
    FTPSeparateTaskStaging,
    HTTPInTaskStaging,
    HTTPSeparateTaskStaging,
    RSyncStaging,
    S3InTaskStaging,
    SFTPSeparateTaskStaging,
    Transfer,
    default_staging,
)
from tests import leaks
from tests.services.web_faults import WebFaults, gives, serves, takes
from tests.staging.conftest import KINDS

pytestmark = pytest.mark.timeout(60)

QUICK = Transfer(pause=0.001, retries=2)
WEB = {"separate": HTTPSeparateTaskStaging, "in task": HTTPInTaskStaging}


@pytest.fixture(scope="module")
def web_pool(kind: str, way: str, working: Path) -> Iterator[ParslPoolExecutor]:
    """A pool that can bring files of the web. None of the tests harms it."""
    executor = KINDS[kind](storage_access=[WEB[way](QUICK)], working_dir=working)
    with leaks.keeping("the module's pool"), parsl_pool.load(Config([executor], run_dir=None)) as pool:
        yield pool
    parsl_pool.clear()


@pytest.fixture
def server() -> Iterator[WebFaults]:
    with WebFaults() as server:
        yield server


@python_app
def text_of(file: File) -> str:
    return Path(file).read_text()


@python_app
def write(text: str, outputs: tuple[File, ...] = ()) -> None:
    Path(outputs[0]).write_text(text)


def test_a_file_of_the_web_comes_to_the_task(web_pool: ParslPoolExecutor, server: WebFaults) -> None:
    server.plan("/data.txt?part=1", gives(b"busy", 503, Retry_After=0), serves(b"hello"))
    assert text_of(File(server.url("/data.txt?part=1"))).result(30) == "hello"
    assert len(server.requests) == 2


def test_a_file_goes_to_the_web_before_its_future_is_done(web_pool: ParslPoolExecutor, server: WebFaults) -> None:
    came: list[bytes] = []
    server.plan("/new.txt", takes(came))
    file = write("hello", outputs=[File(server.url("/new.txt"))]).outputs[0]
    assert file.result(30).url == server.url("/new.txt") and came == [b"hello"]


def test_a_refusal_fails_the_task_with_the_server_s_words(web_pool: ParslPoolExecutor, server: WebFaults) -> None:
    server.plan("/none", gives(b"no such planet", 404))
    error = text_of(File(server.url("/none", user="me:open-sesame@"))).exception(30)
    told = str(error)
    assert "HTTP 404 Not Found: no such planet" in told and "me:***@" in told and "sesame" not in told
    assert isinstance(getattr(error, "root_cause", error), TransferFailed)
    assert web_pool.submit(abs, -3).result(30) == 3


def test_a_file_that_can_t_go_out_fails_its_future(web_pool: ParslPoolExecutor, server: WebFaults) -> None:
    server.plan("/new.txt", gives(b"not for you", 403))
    error = write("hello", outputs=[File(server.url("/new.txt"))]).outputs[0].exception(30)
    assert "HTTP 403 Forbidden: not for you" in str(error)


def test_the_default_is_what_it_is_in_parsl() -> None:
    assert [type(provider).__name__ for provider in default_staging] == [
        "NoOpFileStaging", "FTPSeparateTaskStaging", "HTTPSeparateTaskStaging",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "provider, url",
    [
        (HTTPInTaskStaging(), "http://host/x"), (HTTPSeparateTaskStaging(), "https://host/x"),
        (FTPInTaskStaging(), "ftp://host/x"), (FTPSeparateTaskStaging(), "ftps://host/x"),
        (SFTPSeparateTaskStaging(), "sftp://host/x"), (S3InTaskStaging(), "s3://bucket/x"),
        (RSyncStaging("me@host"), "/x"), (RSyncStaging("host"), "file:///x"),
    ],
    ids=lambda thing: thing if isinstance(thing, str) else type(thing).__name__,
)  # fmt: skip
def test_who_can_bring_what(provider: parsl_pool.staging.Staging, url: str) -> None:
    assert provider.can_stage_in(File(url)) and provider.can_stage_out(File(url))
    assert not provider.can_stage_in(File("globus://host/x")) and not provider.can_stage_out(File("globus://host/x"))


@pytest.mark.parametrize("hostname", ["", "-oProxyCommand=x", "host:path", "a b", "a/b"])
def test_a_host_that_is_none_is_a_wrong_option(hostname: str) -> None:
    with pytest.raises(ConfigurationError, match="^hostname must be "):
        RSyncStaging(hostname)


@pytest.mark.parametrize("wrong", [{"options": 5}, {"options": Transfer}, {"options": {"retries": 3}}])
def test_options_that_are_none_are_wrong(wrong: dict[str, object]) -> None:
    with pytest.raises(WrongType, match="^options must be a Transfer, or None"):
        HTTPInTaskStaging(**wrong)  # type: ignore[arg-type]  # the mistake
