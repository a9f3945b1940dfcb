import os
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parsl_pool.errors import ScriptPathError
from parsl_pool.providers.scripts import script_text, write_script
from tests.providers.conftest import SHELLS

DATA = Path(__file__).parent / "data"


def test_the_text_is_as_in_the_file() -> None:
    text = script_text(
        shell="/bin/bash",
        job_name="parsl_pool.htex.block-0's",
        worker_init="source /opt/env/bin/activate\nexport A='1 2'",
        body="python -m pool.manager",
        directives="#SBATCH --nodes=2\n#SBATCH --time=10\n",
    )
    assert text == (DATA / "script.sh").read_text()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("worker_init", ["", "cd /tmp", "cd /tmp\n", "cd /tmp # comment", "A=1 \\", "false"])
def test_the_body_runs_after_any_worker_init(shell: str, worker_init: str) -> None:
    text = script_text(shell=shell, job_name="it's $me", worker_init=worker_init, body='echo "$JOBNAME"')
    run = subprocess.run([shell, "-c", text], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("it's $me\n", "")


def test_a_script_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = write_script(tmp_path / "new" / "scripts", "job", "é\udcff")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes() == b"\xc3\xa9\xff"


@pytest.mark.parametrize(
    "job_name", ["parsl_pool.auto", "../../etc/passwd", "a/b c$d\n'", "", "..", "é" * 300, "-rf"]
)
def test_any_job_name_gives_a_harmless_file_name(tmp_path: Path, job_name: str) -> None:
    path = write_script(tmp_path, job_name, "")
    assert path.parent == tmp_path and path.is_file()
    assert not set(path.name) & set("/ '$\n") and path.name[0] not in ".-"


def test_a_relative_directory_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_script("scripts", "job", "").parent == tmp_path / "scripts"


def test_scripts_of_one_name_get_files_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(lambda number: write_script(tmp_path, "job", str(number)), range(200)))
    assert [path.read_text() for path in paths] == [str(number) for number in range(200)]
    assert len({path.stem for path in paths}) == 200


def test_a_number_that_another_process_took_is_left_alone(tmp_path: Path) -> None:
    number = int(write_script(tmp_path, "job", "").stem.rpartition(".")[2])
    taken = [tmp_path / f"job.{number + more}.sh" for more in (1, 2)]
    for path in taken:
        path.write_text("theirs")
    assert write_script(tmp_path, "job", "ours").name == f"job.{number + 3}.sh"
    assert [path.read_text() for path in taken] == ["theirs", "theirs"]


# ---- when it cannot be written


def test_a_file_in_the_way_is_named_with_the_errno(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ScriptPathError, match=r"file/scripts: Not a directory \(ENOTDIR\)"):
        write_script(tmp_path / "file" / "scripts", "job", "")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "full"
    path.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", path], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a small disk here: {mount.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_named_and_no_half_script_is_left(full_disk: Path) -> None:
    with pytest.raises(ScriptPathError, match=r"job\.\d+\.sh: No space left on device \(ENOSPC\)"):
        write_script(full_disk, "job", "x" * 100_000)
    assert list(full_disk.iterdir()) == []


def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write everywhere; test_local has this case for another user")
    with pytest.raises(ScriptPathError, match=r"Permission denied \(EACCES\)"):
        write_script(tmp_path, "job", "")


def test_the_error_keeps_the_original(tmp_path: Path) -> None:
    with pytest.raises(ScriptPathError) as caught:
        write_script(tmp_path, "job", "\ud800")
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)
    assert list(tmp_path.iterdir()) == []


def test_a_nul_in_the_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ScriptPathError, match="null"):
        write_script(f"{tmp_path}/a\0b", "job", "")
