"""What goes wrong while Globus brings a file: what is tried again, what is told, and what is ended."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, File, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import GlobusTransferFailed, StagingError
from parsl_pool.staging import GlobusStaging
from parsl_pool.staging.globus.mover import Mover
from parsl_pool.staging.globus.moves import PACE, Move
from parsl_pool.staging.globus.service import Place
from tests.eventually import eventually
from tests.staging.globus.service import (
    BUSY,
    CUT,
    HERE,
    NOWHERE,
    SCOPE,
    THERE,
    Answer,
    Globus,
    failed,
    refusal,
    stored_login,
    troubled,
    url_of,
)

pytestmark = pytest.mark.timeout(60)
CONSENT = f"{SCOPE}[*https://auth.globus.org/scopes/{THERE}/data_access]"


@pytest.fixture
def path(globus: Globus, home: Path, request: pytest.FixtureRequest) -> str:
    """A file of the other endpoint, and a Globus that remembers nothing."""
    globus.planned.clear()
    globus.stages.clear()
    globus.asked.clear()
    globus.events.clear()
    globus.submitted.clear()
    globus.cancelled.clear()
    globus.refresh, globus.access = "first-refresh-token", {"first-access-token"}
    stored_login(home)
    (globus.folders[THERE] / "f").write_text("words")
    return "/f"


def moved(
    path: str, source: str = THERE, target: str = "/moved", retries: int = 2, deadline: float | None = None
) -> Future[None]:
    """A file on its way."""
    move = Move(url_of(path, source), Place(source, path), Place(HERE, target), retries, deadline)
    Mover().begin(move)
    return move.future


def failure_of(future: Future[None]) -> GlobusTransferFailed:
    problem = future.exception(30)
    assert isinstance(problem, GlobusTransferFailed), problem
    return problem


# ---- it passes


@pytest.mark.parametrize("kind", ["number", "submit", "look"])
@pytest.mark.parametrize(
    "trouble",
    [CUT, BUSY, refusal(429, "RateLimit", "slower"), refusal(500, "InternalError", "oops"),
     Answer(503, "<html>down</html>", {"Retry-After": "1"}), Answer(200, "<html>a proxy of the hotel's</html>")],
    ids=["cut", "busy", "too many", "its error", "down", "another"],
)  # fmt: skip
def test_what_passes_is_waited_for(globus: Globus, path: str, kind: str, trouble: Answer) -> None:
    globus.planned[kind] += [trouble] * 2
    moved(path).result(30)
    assert len(globus.submitted) == 1
    assert (globus.folders[HERE] / "moved").read_text() == "words"


def test_a_transfer_that_is_submitted_twice_is_one(globus: Globus, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = globus._submit
    lost = [True]

    def submit(document: dict[str, Any]) -> Answer:
        answer = original(document)
        return CUT if lost and lost.pop() else answer  # it gets lost on its way

    monkeypatch.setattr(globus, "_submit", submit)
    moved(path).result(30)
    assert len(globus.submitted) == 1 and globus.asked["submit"] == 2


def test_an_access_token_that_has_expired_is_renewed_and_kept(globus: Globus, home: Path, path: str) -> None:
    globus.access = {"another"}  # Globus takes ours no more
    moved(path).result(30)
    assert globus.asked["token"] == 1
    kept = home / ".parsl_pool" / "globus" / "login.json"
    assert "first-access-token" not in kept.read_text() and "first-refresh-token" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    moved(path).result(30)
    assert globus.asked["token"] == 1


def test_a_token_is_renewed_before_it_is_used_if_its_time_is_over(globus: Globus, home: Path, path: str) -> None:
    stored_login(home, expires_at=time.time() - 10)
    globus.planned["token"] += [BUSY]
    moved(path).result(30)
    assert globus.asked["number"] == 1


def test_a_home_that_takes_no_new_token_stops_nothing(
    globus: Globus, home: Path, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored_login(home, expires_at=0)
    monkeypatch.setattr("os.replace", refuse)
    moved(path).result(30)
    assert "could not be kept" in caplog.text
    assert [file.name for file in (home / ".parsl_pool" / "globus").iterdir()] == ["login.json"]


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_transfer_that_failed_from_what_may_pass_is_begun_anew(globus: Globus, path: str) -> None:
    timed_out = failed("CONNECT_FAILED", "the endpoint does not answer")
    globus.stages[path] = [timed_out]
    failure = failure_of(moved(path, retries=2))
    assert len(globus.submitted) == 3 and failure.nice_status == "CONNECT_FAILED"
    assert len({each["submission_id"] for each in globus.submitted}) == 3


# ---- it does not


@pytest.mark.parametrize(
    "stages, words",
    [
        ([failed("PERMISSION_DENIED", "Error (open)")], "FAILED: PERMISSION_DENIED: PERMISSION_DENIED: Error (open)"),
        ([failed("FILE_NOT_FOUND", "No such file")], "FAILED: FILE_NOT_FOUND: FILE_NOT_FOUND: No such file"),
        ([failed("EXPIRED", "the deadline has passed")], "EXPIRED"),
        ([troubled("PERMISSION_DENIED", "locked")], "ACTIVE: PERMISSION_DENIED: locked"),
        ([{"status": "INACTIVE", "nice_status": "CREDENTIALS_EXPIRED"}], "INACTIVE: CREDENTIALS_EXPIRED"),
    ],
    ids=["denied", "not found", "too late", "denied, and goes on", "suspended"],
)
def test_what_lasts_is_told_with_its_name(globus: Globus, path: str, stages: list[Any], words: str) -> None:
    globus.stages[path] = stages
    failure = failure_of(moved(path))
    assert words in str(failure) and failure.url == url_of(path) and failure.task_id in str(failure)
    assert len(globus.submitted) == 1
    assert len(globus.cancelled) == (stages[0]["status"] != "FAILED")


def test_a_fault_that_globus_gets_over_is_logged_once(
    globus: Globus, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    globus.stages[path] = [troubled("ENDPOINT_ERROR", "")] * 5 + [None]
    globus.events += [{"code": "CONNECT_FAILED", "description": "connection refused", "details": "by there:2811"}]
    moved(path).result(30)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1 and "ACTIVE: ENDPOINT_ERROR: connection refused: by there:2811" in warned[0]


@pytest.mark.parametrize(
    "answer, words",
    [
        (refusal(403, "PermissionDenied", "you have no access"), "403 PermissionDenied; you have no access"),
        (refusal(409, "ClientError.Conflict", "too many transfers"), "409 ClientError.Conflict"),
        (
            refusal(403, "ConsentRequired", "Missing required data_access consent", required_scopes=[CONSENT]),
            f"allow it by 'parsl-pool globus-auth --scope '{CONSENT}''",
        ),
        (
            refusal(403, "AuthorizationRequired", "a login of the university", authorization_parameters={}),
            "log in again, by 'parsl-pool globus-auth --force'",
        ),
    ],
    ids=["denied", "conflict", "consent", "session"],
)
def test_what_globus_refuses_is_told_at_once(globus: Globus, path: str, answer: Answer, words: str) -> None:
    globus.planned["submit"] += [answer] * 9
    assert words in str(failure_of(moved(path)))
    assert globus.asked["submit"] == 1


def test_an_endpoint_that_nobody_knows_is_told(globus: Globus, path: str) -> None:
    assert f"404 EndpointNotFound; No such endpoint {NOWHERE}" in str(failure_of(moved(path, NOWHERE)))


def test_a_login_that_has_ended_says_what_to_do_and_the_next_one_is_used(globus: Globus, home: Path, path: str) -> None:
    globus.access, globus.refresh = set(), "a newer one"
    mover = Mover()
    first, second = (Move(url_of(path), Place(THERE, path), Place(HERE, "/moved"), 0, None) for _ in range(2))
    mover.begin(first)
    failure = failure_of(first.future)
    assert "the login has ended" in str(failure) and "'parsl-pool globus-auth --force'" in str(failure)
    assert "first-refresh-token" not in repr(failure) and failure.__cause__ is None
    stored_login(home, refresh="a newer one")
    mover.begin(second)
    second.future.result(30)


def test_a_login_that_is_gone_says_what_to_do(globus: Globus, home: Path, path: str) -> None:
    stored_login(home).unlink()
    assert "run 'parsl-pool globus-auth' in a terminal" in str(failure_of(moved(path)))


@pytest.mark.parametrize("trouble", [CUT, BUSY], ids=["cut", "busy"])
@pytest.mark.parametrize("kind", ["number", "submit", "look"])
def test_a_globus_that_is_gone_for_good_is_told(globus: Globus, path: str, kind: str, trouble: Answer) -> None:
    globus.planned[kind] += [trouble] * 99
    assert "Globus does not answer: " in str(failure_of(moved(path)))


def test_silence_is_found_out_once_for_all_files(globus: Globus, path: str) -> None:
    globus.planned["number"] += [CUT] * 999
    mover = Mover()
    moves = [Move(url_of(path), Place(THERE, path), Place(HERE, f"/moved{number}"), 0, None) for number in range(20)]
    with globus.lock:  # the first question has no answer yet
        for move in moves:
            mover.begin(move)
    for move in moves:
        failure_of(move.future)
    # Those that were there when it was asked, and those that came meanwhile. The SDK asks twice.
    assert globus.asked["number"] <= 2 * 2 * PACE.unanswered


def test_no_more_are_begun_than_globus_takes(globus: Globus, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PACE, "at_once", 3)
    globus.stages[path] = [{}] * 3 + [None]
    most = []
    original = globus._look

    def look(task: dict[str, Any]) -> Answer:
        most.append(sum(each["status"] == "ACTIVE" for each in globus.tasks.values()))
        return original(task)

    globus.tasks.clear()
    monkeypatch.setattr(globus, "_look", look)
    mover = Mover()
    moves = [Move(url_of(path), Place(THERE, path), Place(HERE, f"/moved{number}"), 0, None) for number in range(20)]
    for move in moves:
        mover.begin(move)
    for move in moves:
        move.future.result(30)
    assert max(most) == 3 and len(globus.submitted) == 20


def test_two_do_not_write_one_file_at_the_same_time(globus: Globus, path: str) -> None:
    globus.stages[path] = [{"status": "ACTIVE", "nice_status": "OK"}]
    mover = Mover()
    moves = [Move(url_of(path), Place(THERE, path), Place(HERE, "/moved"), 0, None) for _ in range(2)]
    for move in moves:
        mover.begin(move)
    eventually(lambda: globus.asked["look"] > 3, within=20)
    assert len(globus.submitted) == 1
    globus.stages.clear()
    moves[0].future.cancel()
    moves[1].future.result(30)
    assert len(globus.submitted) == 2 and len(globus.cancelled) == 1


def test_what_never_ends_is_ended_at_the_deadline(globus: Globus, path: str) -> None:
    globus.stages[path] = [{"status": "ACTIVE", "nice_status": "OK"}]
    failure = failure_of(moved(path, deadline=0.2))
    assert "not done within 0.2 seconds: ACTIVE" in str(failure)
    assert globus.cancelled == [failure.task_id]
    assert "deadline" in globus.submitted[0]


def test_the_deadline_holds_if_globus_says_nothing(globus: Globus, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PACE, "unanswered", 10**9)
    globus.planned["look"] += [BUSY] * 10**5
    assert "not done within 0.2 seconds" in str(failure_of(moved(path, deadline=0.2)))


# ---- nobody wants it any more


def test_a_transfer_is_cancelled_with_its_future(globus: Globus, path: str) -> None:
    globus.stages[path] = [{"status": "ACTIVE", "nice_status": "OK"}]
    future = moved(path)
    eventually(lambda: globus.asked["look"] > 1, within=20)
    globus.planned["cancel"] += [BUSY, CUT]
    assert future.cancel()
    eventually(lambda: len(globus.cancelled) == 1, within=20)
    assert_thread_ends()


def test_a_transfer_whose_beginning_had_no_answer_is_cancelled_too(
    globus: Globus, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PACE, "unanswered", 10**9)
    globus.planned["submit"] += [CUT] * 10
    future = moved(path)
    eventually(lambda: globus.asked["submit"] > 1, within=20)
    future.cancel()
    eventually(lambda: len(globus.cancelled) == 1, within=20)
    assert_thread_ends()


def test_a_globus_that_is_gone_holds_up_nobody_who_wants_to_end(globus: Globus, path: str) -> None:
    globus.stages[path] = [{"status": "ACTIVE", "nice_status": "OK"}]
    future = moved(path)
    eventually(lambda: globus.asked["look"] > 1, within=20)
    globus.planned["cancel"] += [CUT] * 99
    future.cancel()
    assert_thread_ends()
    assert globus.asked["cancel"] == 2 * PACE.farewells  # the SDK asks twice


def assert_thread_ends() -> None:
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "parsl-pool-globus"], within=20)


@pytest.fixture
def pool(globus: Globus, path: str) -> Iterator[ParslPoolExecutor]:
    """Its files come without end."""
    globus.stages[path] = [{"status": "ACTIVE", "nice_status": "OK"}]
    executor = ThreadPoolExecutor(
        "main", storage_access=[GlobusStaging(HERE)], working_dir=globus.folders[HERE] / "working"
    )
    with ParslPoolExecutor(config=Config([executor], run_dir=None)) as pool:
        yield pool


def first_line(file: Any) -> str:
    with open(file) as opened:
        return str(opened.readline())


def under_way(globus: Globus) -> bool:
    return len(globus.submitted) == 1 and globus.asked["look"] > 1


def test_a_file_that_no_task_waits_for_any_more_is_brought_no_further(
    globus: Globus, pool: ParslPoolExecutor, path: str
) -> None:
    one, other = (pool.submit(first_line, File(url_of(path))) for _ in range(2))
    eventually(lambda: under_way(globus), within=20)
    looks = globus.asked["look"]
    assert one.cancel()
    eventually(lambda: globus.asked["look"] > looks + 2, within=20)
    assert not globus.cancelled  # the other task still waits
    assert other.cancel()
    eventually(lambda: len(globus.cancelled) == 1, within=20)


@pytest.mark.parametrize(
    "end", [lambda pool: pool.kill_workers(), lambda pool: pool.shutdown(cancel_futures=True)], ids=["kill", "cancel"]
)
def test_a_pool_that_ends_now_ends_its_transfers(
    globus: Globus, pool: ParslPoolExecutor, path: str, end: Callable[[ParslPoolExecutor], None]
) -> None:
    task = pool.submit(first_line, File(url_of(path)))
    eventually(lambda: under_way(globus), within=20)
    end(pool)
    eventually(task.cancelled, within=20)
    eventually(lambda: len(globus.cancelled) == 1, within=20)
    assert_thread_ends()


def test_a_thread_that_could_not_be_started_is_started_for_the_next_file(
    globus: Globus, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    mover, (one, other) = Mover(), [
        Move(url_of(path), Place(THERE, path), Place(HERE, f"/moved-{name}"), 0, None) for name in "ab"
    ]
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fails)
        with pytest.raises(RuntimeError, match="new thread"):
            mover.begin(one)
    mover.begin(other)
    assert other.future.result(30) is None and not one.future.done() and len(globus.submitted) == 1
    assert_thread_ends()


# ---- wrong use, told by the call


@pytest.mark.parametrize(
    "url, words",
    [
        ("globus://go#ep1/~/data.txt", "must be globus://UUID/path"),
        (url_of("/"), "must name a file"),
        (url_of(""), "must name a file"),
        (url_of("/folder/"), "must name a file"),
    ],
)
def test_a_url_that_names_no_file_of_an_endpoint_is_told(
    globus: Globus, pool: ParslPoolExecutor, url: str, words: str
) -> None:
    with pytest.raises(StagingError, match=words):
        pool.submit(first_line, File(url))
    assert not globus.submitted


def test_a_working_dir_that_the_endpoint_can_not_see_is_told(globus: Globus, path: str) -> None:
    staging = GlobusStaging(HERE, "/~/scratch", "/scratch/me")
    executor = ThreadPoolExecutor("main", storage_access=[staging], working_dir="/scratch/me-too/x")
    with ParslPoolExecutor(config=Config([executor], run_dir=None)) as pool:
        with pytest.raises(StagingError, match=r"can't see /scratch/me-too/x/.*not below local_path, /scratch/me,.*"):
            pool.submit(first_line, File(url_of(path)))
    assert staging.endpoint_path_of("/scratch/me/a/b c") == "/~/scratch/a/b c"
    assert GlobusStaging(HERE, "/", "/home/user/").endpoint_path_of("/home/user/x") == "/x"


def test_an_executor_without_a_working_dir_is_told(globus: Globus, path: str) -> None:
    executor = ThreadPoolExecutor("main", storage_access=[GlobusStaging(HERE)])
    with ParslPoolExecutor(config=Config([executor], run_dir=None)) as pool:
        with pytest.raises(StagingError, match="'main' needs a working_dir"):
            pool.submit(first_line, File(url_of(path)))


def test_without_a_login_the_call_says_which_command_gets_one(globus: Globus, home: Path, path: str) -> None:
    stored_login(home).unlink()
    executor = ThreadPoolExecutor(
        "main", storage_access=[GlobusStaging(HERE)], working_dir=globus.folders[HERE] / "working"
    )
    with ParslPoolExecutor(config=Config([executor], run_dir=None)) as pool:
        with pytest.raises(StagingError, match="no login to Globus.*run 'parsl-pool globus-auth' in a terminal"):
            pool.submit(first_line, File(url_of(path)))
