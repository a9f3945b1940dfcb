"""The login to Globus: how it is got by `parsl-pool globus-auth`, how it is kept, and what is wrong with some."""

import logging
import os
import pty
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from parsl_pool.cli.main import main
from parsl_pool.errors import ConfigurationError, OptionalModuleMissing, StagingError
from parsl_pool.files import File
from parsl_pool.staging import GlobusStaging
from parsl_pool.staging.globus import login, tokens
from tests.staging.globus.conftest import NO_SDK
from tests.staging.globus.service import BUSY, CLIENT, CUT, HERE, SCOPE, THERE, Answer, Globus, stored_login

pytestmark = pytest.mark.timeout(60)
ROOT = Path(__file__).parents[3]
MORE = f"{SCOPE}[*https://auth.globus.org/scopes/{THERE}/data_access]"

COMMAND = ("-m", "parsl_pool", "globus-auth")


@pytest.fixture(autouse=True)
def nothing_planned(globus: Globus, home: Path) -> None:
    globus.planned.clear()
    globus.asked.clear()
    globus.refresh, globus.access = "first-refresh-token", {"first-access-token"}
    (home / ".parsl_pool" / "globus" / "login.json").unlink(missing_ok=True)


def typed(
    arguments: list[str], home: Path, code: str = "", is_visited: bool = True, command: Sequence[str] = COMMAND
) -> tuple[int, str]:
    """The command at a terminal, whose user opens the page and types the code that it shows: its status, and output."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, *command, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
        cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # it has ended: a terminal's way to say so
                break
            page = re.search(rb"(http://127\S+)\s", seen)
            if is_visited and page is not None and b"Enter the code" in seen:
                is_visited = False
                with urllib.request.urlopen(page[1].decode(), timeout=30) as shown:
                    os.write(ours, (code or shown.read().decode()).encode() + b"\n")
            elif not is_visited and b"Enter the code" in seen and code == "^D":
                os.write(ours, b"\x04")
                code = ""
        return running.wait(30), seen.decode()
    finally:
        running.kill()
        running.wait()
        os.close(ours)


def test_a_user_logs_in_by_a_browser_and_a_code(globus: Globus, home: Path) -> None:
    status, seen = typed(["--client-id", CLIENT], home)
    kept = home / ".parsl_pool" / "globus" / "login.json"
    assert status == 0 and f"logged in to Globus: {kept}" in seen
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(kept.parent) == ["login.json"]
    known = tokens.load()
    assert known is not None and known.refresh_token == globus.refresh and known.access_token in globus.access
    assert (known.client_id, known.scopes) == (CLIENT, (SCOPE,)) and known.expires_at > time.time()
    assert known.refresh_token not in seen + repr(known) and known.access_token not in seen + repr(known)
    status, seen = typed([], home)
    assert status == 0 and "already logged in to Globus" in seen and "http" not in seen
    status, seen = typed(["--scope", MORE], home)
    assert status == 0 and globus.scope == f"{SCOPE} {MORE}"
    known = tokens.load()
    assert known is not None and known.scopes == (SCOPE, MORE)


def test_a_wrong_code_is_told(globus: Globus, home: Path) -> None:
    status, seen = typed(["--client-id", CLIENT], home, code="nonsense")
    assert status == 1 and "parsl-pool globus-auth: Globus does not take the code: 400" in seen
    assert tokens.load() is None


def test_who_types_no_code_is_told(globus: Globus, home: Path) -> None:
    status, seen = typed(["--client-id", CLIENT], home, code="^D", is_visited=False)
    assert status == 1 and "nobody has typed the code" in seen


def test_a_login_that_has_ended_is_replaced(globus: Globus, home: Path) -> None:
    stored_login(home, refresh="an ended one")
    status, seen = typed([], home)
    assert status == 0 and "400" in seen and "logged in to Globus" in seen
    known = tokens.load()
    assert known is not None and known.refresh_token == globus.refresh


@pytest.mark.parametrize("trouble", [CUT, BUSY], ids=["cut", "busy"])
def test_a_globus_in_trouble_ends_no_login(
    globus: Globus, home: Path, trouble: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = stored_login(home).read_text()
    globus.planned["token"] += [trouble] * 9
    assert main(["globus-auth"]) == 1
    assert "Globus does not renew the login: " in capsys.readouterr().err
    assert (home / ".parsl_pool" / "globus" / "login.json").read_text() == kept


@pytest.mark.parametrize("is_kept", [True, False], ids=["ended", "none"])
def test_nobody_is_asked_without_a_terminal(
    globus: Globus, home: Path, is_kept: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()  # nothing ever comes from it
    with open(read) as stdin, open(write, "w"):
        monkeypatch.setattr(sys, "stdin", stdin)
        if is_kept:
            stored_login(home, refresh="an ended one")
        assert main(["globus-auth", "--client-id", CLIENT]) == 1
    assert "nobody is there to log in to Globus: run 'parsl-pool globus-auth' in a terminal" in capsys.readouterr().err
    assert globus.asked["authorize"] == 0


def test_the_application_is_wanted_once(
    globus: Globus, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["globus-auth"]) == 1
    assert f"register one ('thick client') at {login.APPS_PAGE}" in capsys.readouterr().err
    monkeypatch.setenv("PARSL_POOL_GLOBUS_CLIENT", CLIENT)
    status, seen = typed([], home)
    assert status == 0, seen


def test_a_scope_of_something_else_is_refused(globus: Globus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["globus-auth", "--scope", "openid"]) == 1
    assert "--scope must be one of Globus' transfers" in capsys.readouterr().err


PROGRAM = """
import sys
from parsl_pool import Config, File, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.staging import GlobusStaging

here, there, folder = sys.argv[1:]
executor = ThreadPoolExecutor(storage_access=[GlobusStaging(here, "/", folder)], working_dir=folder + "/working")
with ParslPoolExecutor(config=Config([executor], run_dir=None)) as pool:
    print("read:", pool.submit(lambda file: open(file).read(), File(f"globus://{there}/f")).result())
"""


def test_a_program_at_a_terminal_asks_its_user_at_the_first_file(
    globus: Globus, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (globus.folders[THERE] / "f").write_text("words")
    monkeypatch.setenv("PARSL_POOL_GLOBUS_CLIENT", CLIENT)
    program = home / "program.py"
    program.write_text(PROGRAM)
    status, seen = typed([str(program), HERE, THERE, str(globus.folders[HERE])], home, command=[])
    assert status == 0 and "read: words" in seen, seen
    assert tokens.load() is not None


# ---- as it is kept


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_login_that_others_can_read_is_not_used(globus: Globus, home: Path, mode: int) -> None:
    stored_login(home).chmod(mode)
    with pytest.raises(StagingError, match="readable by nobody else"):
        tokens.load()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "scopes": 3, "expires_at": 1}'])
def test_a_damaged_login_is_told_without_its_contents(globus: Globus, home: Path, text: str) -> None:
    file = stored_login(home)
    file.write_text(text)
    with pytest.raises(StagingError, match="is damaged: remove it, and run 'parsl-pool globus-auth'") as caught:
        tokens.load()
    assert caught.value.__suppress_context__


def test_a_link_in_the_place_of_the_login_is_not_followed(globus: Globus, home: Path, tmp_path: Path) -> None:
    file = stored_login(home)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StagingError, match="can't be read"):
        tokens.load()


def test_no_token_gets_into_a_log(globus: Globus, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.staging.globus.test_faults import failure_of, moved  # its ways to move a file

    (globus.folders[THERE] / "f").write_text("words")
    stored_login(home, expires_at=0)
    with caplog.at_level(logging.DEBUG):
        moved("/f").result(30)
        globus.planned["look"] += [CUT] * 99
        told = str(failure_of(moved("/f")))
    assert "Executing token refresh" in caplog.text  # the SDK's own words are among them
    for token in {"first-refresh-token", *globus.access}:
        assert token not in caplog.text and token not in told


# ---- without the SDK


def test_without_the_sdk_it_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "globus_sdk", None)
    with pytest.raises(OptionalModuleMissing, match=r"GlobusStaging \(extra: globus; pip install 'parsl_pool"):
        GlobusStaging(HERE)
    assert main(["globus-auth"]) == 1
    assert "needs globus-sdk, which is not installed" in capsys.readouterr().err


def test_the_sdk_is_loaded_by_the_first_transfer_only() -> None:
    pytest.importorskip("globus_sdk", reason=NO_SDK)
    code = f"""if True:
        import sys
        from parsl_pool.staging import GlobusStaging, default_staging
        GlobusStaging({HERE!r})
        print([name for name in ("globus_sdk", "requests", "jwt") if name in sys.modules])"""
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=here, capture_output=True)
    assert (done.stdout, done.stderr) == (b"[]\n", b"")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("no uuid",), "endpoint_uuid must be a UUID"),
        ((HERE, "/a"), "must be given together"),
        ((HERE, None, "/a"), "must be given together"),
        ((HERE, "a", "/a"), "endpoint_path must begin with a '/'"),
        ((HERE, "/a", "a"), "local_path must be an absolute path"),
    ],
)
def test_wrong_places_are_refused(globus: Globus, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        GlobusStaging(*arguments)


def test_it_brings_files_of_globus_and_no_others(globus: Globus) -> None:
    staging = GlobusStaging(HERE.upper(), "/~/", "/home/me")
    assert staging.endpoint_uuid == HERE
    assert repr(staging).startswith(f"GlobusStaging(endpoint_uuid={HERE!r}, endpoint_path='/~/', local_path='/home/me'")
    for url, is_mine in [(f"globus://{HERE}/x", True), ("/x", False), ("https://h/x", False)]:
        assert staging.can_stage_in(File(url)) is staging.can_stage_out(File(url)) is is_mine
