"""Tasks in directories of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import (
    Config,
    DataFuture,
    File,
    HighThroughputExecutor,
    ParslPoolExecutor,
    ThreadPoolExecutor,
    bash_app,
    join_app,
    portable,
    python_app,
)
from parsl_pool.errors import (
    AppTimeout,
    BashExitFailure,
    ConfigurationError,
    MissingOutputs,
    StagingError,
    WorkerLost,
    WrongType,
)
from parsl_pool.staging import NoOpFileStaging, sandbox
from tests import leaks
from tests.staging.shelf import SeparateShelf, ShelfInTask

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module", params=["inside", "apart"])
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParslPoolExecutor]:
    """A pool of processes whose workers' working directory is `home`; none of the tests harms it."""
    home = tmp_path_factory.mktemp("home")
    before = os.getcwd()
    os.chdir(home)
    executor = HighThroughputExecutor(
        "main", max_workers_per_node=2, manager_inside=request.param == "inside",
        storage_access=[NoOpFileStaging(), ShelfInTask()],
    )  # fmt: skip
    try:
        with leaks.keeping("the module's pool"), parsl_pool.load(Config([executor], run_dir="runs")) as pool:
            pool.submit(os.getcwd).result()
            os.chdir(before)
            yield pool
    finally:
        os.chdir(before)
        parsl_pool.clear()


@pytest.fixture
def home(pool: ParslPoolExecutor) -> Path:
    """Where relative paths lead to that tasks name."""
    return Path(pool.submit(os.getcwd).result())


def own_name() -> str:
    """Where we are; and something is left there."""
    Path("scratch").write_text("x")
    return os.getcwd()


def fail(times: int, error: type[BaseException] = ValueError) -> int:
    """Fails in its first tries, and says what it has found."""
    left = os.listdir()
    Path("left").write_text("by me")
    number = parsl_pool.task.try_number
    if number < times:
        raise error(f"try {number} has found {left}")
    return number


def notes(error: BaseException | None) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def directory(future: Any) -> Path:
    assert future.sandbox is not None
    return Path(future.sandbox)


# -- the directory


def test_each_task_is_in_one_of_its_own_which_is_gone_after_that(pool: ParslPoolExecutor, home: Path) -> None:
    alone = pool.options(sandbox=True)
    futures = [alone.submit(own_name) for _ in range(4)]
    paths = {future.result() for future in futures}
    assert len(paths) == 4 and paths == {future.sandbox for future in futures}
    assert {os.path.dirname(path) for path in paths} == {os.path.join(pool.run_directory(), "sandboxes")}
    assert not any(map(os.path.exists, paths)) and not (home / "scratch").exists()
    assert pool.submit(os.getcwd).result() == str(home), "the worker has come back"
    assert pool.submit(abs, 1).sandbox is None


def test_one_that_fails_stays_and_the_error_says_where(pool: ParslPoolExecutor) -> None:
    future = pool.options(sandbox=True).submit(fail, 1)
    error = future.exception()
    assert isinstance(error, ValueError)
    assert notes(error) == [f"the task's own directory is kept: {future.sandbox}"]
    assert (directory(future) / "left").read_text() == "by me"
    assert pool.submit(os.getcwd).result() != future.sandbox
    assert notes(pool.submit(fail, 1).exception()) == []


def test_each_try_has_a_fresh_one(pool: ParslPoolExecutor) -> None:
    future = pool.options(sandbox=True, retries=2, label="again").submit(fail, 2)
    assert future.result() == 2
    assert [attempt.error for attempt in future.attempts] == [f"ValueError: try {n} has found []" for n in (0, 1)]
    assert directory(future).name == f"task_{future.tid:04}_again_try2" and not directory(future).exists()
    kept = sorted(path.name for path in directory(future).parent.glob(f"task_{future.tid:04}_again_try?"))
    assert kept == [f"task_{future.tid:04}_again_try{n}" for n in (0, 1)]


def test_with_a_handler_and_a_pause_the_tries_count_on(pool: ParslPoolExecutor) -> None:
    said: list[str | None] = []

    def cost(error: BaseException, record: Any) -> float:
        said.append(record.directory)
        return 1.0

    future = pool.options(sandbox=True, retries=1, retry_handler=cost, retry_delay=0.001).submit(fail, 5)
    assert isinstance(future.exception(), ValueError)
    assert directory(future).name.endswith("_try1") and (directory(future) / "left").exists()
    assert [os.path.basename(str(path))[-5:] for path in said] == ["_try0", "_try1"]


@pytest.mark.parametrize(
    ("how", "error"), [(signal.SIGKILL, WorkerLost), ("walltime", AppTimeout)], ids=["killed", "walltime"]
)
def test_one_whose_process_ends_stays(pool: ParslPoolExecutor, how: Any, error: type[BaseException]) -> None:
    def end() -> None:
        Path("left").write_text("by me")
        if how == "walltime":
            signal.pause()
        os.kill(os.getpid(), how)

    future = pool.options(sandbox=True, walltime=1 if how == "walltime" else None).submit(end)
    assert isinstance(future.exception(), error)
    assert notes(future.exception()) == [f"the task's own directory is kept: {future.sandbox}"]
    assert (directory(future) / "left").read_text() == "by me"


def test_one_that_never_ran_is_not_told_of(pool: ParslPoolExecutor) -> None:
    failed = pool.submit(fail, 1)
    after = pool.options(sandbox=True).submit(str, failed)
    assert after.exception() is not None and notes(after.exception()) == []
    assert notes(pool.options(sandbox=True).submit(abs, sys._getframe()).exception()) == [], "it can't be pickled"


def test_a_child_that_the_task_has_forked_leaves_it_alone(pool: ParslPoolExecutor) -> None:
    def forked() -> list[str]:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        Path("mine").write_text("")  # by both
        return os.listdir()

    assert pool.options(sandbox=True).submit(forked).result() == ["mine"]


def test_what_has_no_rights_is_removed_too(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir(0o755)
    (inner / "link").symlink_to(elsewhere)
    inner.chmod(0)
    (tmp_path / "closed").chmod(0o500)
    sandbox._discard(str(tmp_path / "closed"))
    assert os.listdir(tmp_path) == [] and elsewhere.stat().st_mode & 0o777 == 0o755


def test_a_path_that_can_t_be_made_is_named(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    future = pool.options(sandbox=tmp_path / "file").submit(own_name)
    error = future.exception()
    assert isinstance(error, OSError) and str(tmp_path / "file") in str(error) and notes(error) == []
    assert pool.submit(abs, -1).result() == 1


def test_only_the_user_can_enter(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    future = pool.options(sandbox=tmp_path / "there").submit(fail, 1)
    assert future.exception() is not None
    path = directory(future)
    assert path.parent == tmp_path / "there" / pool.run_id
    assert {place.stat().st_mode & 0o777 for place in (path, path.parent, path.parent.parent)} == {0o700}
    environment = path.with_name(f"{path.name}.environment")
    assert environment.stat().st_mode & 0o777 == 0o600


def test_folders_that_are_only_for_them_go_with_the_last(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    assert pool.options(sandbox=tmp_path).submit(own_name).result().startswith(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_the_folder_above_may_go_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.mkdir
    gone: list[Any] = []

    def mkdir(path: Any, mode: int = 0o777) -> None:
        if str(path).endswith("_try0") and len(gone) < 3:
            gone.append(path)
            os.rmdir(tmp_path / "run")  # by another task, which had the last directory in it
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    first = sandbox._new(str(tmp_path / "run" / "task_try0"))
    assert first == str(tmp_path / "run" / "task_try0") and len(gone) == 3
    assert sandbox._new(first) == f"{first}_2", "of a try that may still be at work"


# -- environment and output


def test_the_environment_can_be_had_again(pool: ParslPoolExecutor) -> None:
    def fails() -> None:
        os.environ["LATE"] = "1"  # what it was when the try began is what is wanted
        raise ValueError

    assert pool.submit(os.putenv, "WILD", "a 'b' $c\nd").result() is None
    future = pool.options(sandbox=True).submit(fails)
    assert isinstance(future.exception(), ValueError)
    shown = f'. {future.sandbox}.environment; echo "$PARSL_POOL_TASK_ID/$HOME/$LATE"'
    done = subprocess.run(["sh", "-c", shown], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{future.tid}/{os.environ.get('HOME', '')}/\n"


def prints(text: str) -> None:
    print(text)
    print(text.upper(), file=sys.stderr)
    os.system(f"echo {text} from a shell")


def test_what_a_function_prints_is_captured(pool: ParslPoolExecutor) -> None:
    futures = [pool.options(sandbox=True).submit(prints, text) for text in ("one", "two")]
    for future, text in zip(futures, ("one", "two")):
        future.result()
        assert isinstance(future.stdout, str) and isinstance(future.stderr, str)
        assert Path(future.stdout).read_text() == f"{text}\n{text} from a shell\n"
        assert Path(future.stderr).read_text() == f"{text.upper()}\n"
        assert Path(future.stdout).name == f"task_{future.tid:04}_prints.stdout"
    plain = pool.submit(prints, "three")
    plain.result()
    assert plain.stdout is None and "THREE" not in Path(str(futures[1].stderr)).read_text()


@bash_app(sandbox=True)
def shell(command: str, outputs: Any = (), stdout: Any = None, stderr: Any = None) -> str:
    return command


def test_a_bash_app(pool: ParslPoolExecutor, home: Path) -> None:
    future = shell("pwd; echo oh >&2; ls -A; touch rubbish", stderr="own.err")
    assert future.result() == 0
    assert isinstance(future.stdout, str)
    assert Path(future.stdout).read_text() == f"{future.sandbox}\n"
    assert future.stderr == "own.err" and (home / "own.err").read_text() == "oh\n", "relative to where it was called"
    failed = shell("touch rubbish; echo last words >&2; exit 3")
    error = failed.exception()
    assert isinstance(error, BashExitFailure) and "last words" in str(error)
    assert notes(error) == [f"the task's own directory is kept: {failed.sandbox}"]
    assert os.listdir(directory(failed)) == ["rubbish"]


def test_an_app_goes_through_pickle_with_its_option(pool: ParslPoolExecutor) -> None:
    def calls(app: Any) -> Any:
        return app.sandbox

    assert pool.submit(calls, python_app(own_name, sandbox=True)).result() is True


# -- files


@python_app(sandbox=True)
def double(inputs: Any = (), outputs: Any = (), also: Any = None) -> list[str]:
    with open(outputs[0], "w") as file:
        file.write("".join(Path(each).read_text() * 2 for each in [*inputs, *(also or {}).values()]))
    return [str(each) for each in [*inputs, *outputs]]


def test_relative_files_mean_the_same_as_without(pool: ParslPoolExecutor, home: Path) -> None:
    (home / "folder").mkdir(exist_ok=True)
    for name in ("folder/a", "b"):
        (home / name).write_text(name[-1])
    future = double(inputs=[File("folder/a")], outputs=[File("new/out")], also={"deep": File(f"../{home.name}/b")})
    read, written = future.result()
    assert read == str(home / "folder/a") and written == f"{future.sandbox}/new/out"
    assert (home / "new/out").read_text() == "aabb"
    again = double(inputs=[future.outputs[0]], outputs=[File(str(home / "absolute"))])
    assert again.result() == [str(home / "new/out"), str(home / "absolute")]
    assert again.outputs[0].result().filename == "absolute" and (home / "absolute").read_text() == "aabb" * 2


def test_what_a_command_writes_by_that_name_arrives(pool: ParslPoolExecutor, home: Path) -> None:
    (home / "by-name").write_text("before")
    future = shell("echo fresh > by-name; ln -s by-name linked; mkdir tree; echo x > tree/leaf",
                   outputs=["by-name", "linked", "tree"])  # fmt: skip
    assert [each.result().filename for each in future.outputs] == ["by-name", "linked", "tree"]
    assert (home / "by-name").read_text() == "fresh\n" == (home / "linked").read_text()
    assert (home / "tree" / "leaf").read_text() == "x\n"
    assert not (home / "linked").is_symlink()


def test_nothing_arrives_of_a_task_that_fails(pool: ParslPoolExecutor, home: Path) -> None:
    failed = shell("echo half > never; exit 1", outputs=["never"])
    assert isinstance(failed.outputs[0].exception(), BashExitFailure)
    missing = shell("echo x > one", outputs=["one", "two"])
    error = missing.exception()
    assert isinstance(error, MissingOutputs) and error.outputs == [f"{missing.sandbox}/two"]
    assert not {"never", "one", "two"} & set(os.listdir(home))
    assert os.listdir(directory(missing)) == ["one"]


def test_an_output_that_can_t_be_moved_fails_the_task(pool: ParslPoolExecutor, home: Path) -> None:
    (home / "taken" / "full").mkdir(parents=True, exist_ok=True)
    future = shell("echo x > taken", outputs=["taken"])
    assert isinstance(future.exception(), OSError) and "taken" in str(future.exception())
    assert os.listdir(directory(future)) == ["taken"] and os.listdir(home / "taken") == ["full"]
    assert not list(home.glob("*.part"))


def test_to_another_file_system_it_is_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Path("/dev/shm")
    if portable.FORCED or not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here: moving between two is NOT CHECKED")
    there = memory / f"sandbox-of-tests-{os.getpid()}"  # none of the pool's names: sessions beside look for those
    there.mkdir()
    try:
        (there / "file").write_text("x")
        (there / "tree").mkdir()
        (there / "tree" / "leaf").write_text("y")
        (there / "tree" / "link").symlink_to("leaf")
        for name in ("file", "tree"):
            sandbox._move(str(there / name), str(tmp_path / "new" / name))
        assert (tmp_path / "new" / "file").read_text() == "x" and (tmp_path / "new" / "tree" / "leaf").exists()
        assert os.readlink(tmp_path / "new" / "tree" / "link") == "leaf"
        assert sorted(os.listdir(tmp_path / "new")) == ["file", "tree"]
    finally:
        sandbox._discard(str(there))


@pytest.mark.parametrize("name", ["../out", "a/../../out", ".."])
def test_an_output_outside_of_it_is_refused(pool: ParslPoolExecutor, name: str) -> None:
    with pytest.raises(StagingError, match="leads out of the task's own directory"):
        double(outputs=[File(name)])
    assert double(outputs=[File("a/../inside")]).result()


def test_files_that_are_brought_come_and_go(pool: ParslPoolExecutor, tmp_path: Path, home: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "in").write_text("i")
    future = double(inputs=[File(f"shelf:{shelf}/in")], outputs=[File(f"shelf:{shelf}/out"), File("beside")])
    assert isinstance(future.exception(), MissingOutputs) and not (shelf / "out").exists()
    future = double(inputs=[File(f"shelf:{shelf}/in")], outputs=[File(f"shelf:{shelf}/out")])
    assert future.outputs[0].exception() is None
    assert (shelf / "out").read_text() == "ii"


# -- where it can be said


def chdir_free(name: str) -> str:
    return os.path.basename(os.getcwd())[:4] + name


def test_for_all_tasks_of_a_pool(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "in").write_text("i")

    def read(file: Any) -> tuple[str, str]:
        return Path(file).read_text(), os.path.basename(os.getcwd())[:5]

    executor = HighThroughputExecutor(
        max_workers_per_node=1, working_dir=tmp_path / "working", storage_access=[SeparateShelf(), NoOpFileStaging()]
    )
    with ParslPoolExecutor(config=Config([executor], run_dir=None, sandbox=True)) as pool:
        assert list(pool.map(chdir_free, "ab", chunksize=2)) == ["taska", "taskb"]
        assert list(pool.options(sandbox=False).map(chdir_free, "a", chunksize=2)) != ["taska"]
        assert pool.submit(read, File(f"shelf:{shelf}/in")).result() == ("i", "task_")
        future = pool.submit(chdir_free, "c")
        assert str(future.sandbox).startswith(f"{tmp_path}/working/sandboxes/{pool.run_id}/")
        assert join_app(lambda: pool.submit(chdir_free, "d"), pool)().result() == "taskd"
        assert python_app(chdir_free, pool, sandbox=False)("e").sandbox is None
    assert os.listdir(tmp_path / "working" / "sandboxes") == []


def test_names_that_the_config_makes(tmp_path: Path) -> None:
    def path(record: Any, stream: str) -> Any:
        assert record.func in (prints, shell.func)
        return (f"{tmp_path}/{record.func_name}-{stream}", "w") if stream == "stdout" else File(f"{tmp_path}/errors")

    executor = HighThroughputExecutor(max_workers_per_node=1)
    config = Config([executor], run_dir=None, std_autopath=path, sandbox=tmp_path / "own")
    with ParslPoolExecutor(config=config) as pool:
        future = pool.submit(prints, "text")
        future.result()
        assert future.stdout == f"{tmp_path}/prints-stdout" and isinstance(future.stderr, DataFuture)
        assert Path(future.stderr.result()).read_text() == "TEXT\n"
        assert Path(future.stdout).read_text() == "text\ntext from a shell\n"
        assert bash_app(shell.func, pool)("echo so").result() == 0
        assert (tmp_path / "shell-stdout").read_text() == "so\n"


def test_threads_have_it_for_commands_alone(tmp_path: Path) -> None:
    with ParslPoolExecutor(config=Config([ThreadPoolExecutor()], run_dir=None, retries=1)) as pool:
        here = pool.options(sandbox=tmp_path)
        with pytest.raises(ConfigurationError, match="on executor 'threads', .* one working directory for all of them"):
            here.submit(os.getcwd)
        app = bash_app(shell.func, pool, sandbox=tmp_path)
        outputs = [str(tmp_path / "out"), "relative-to-the-tests"]
        future = app(f"pwd; echo x > {outputs[0]}; echo y > {outputs[1]}; exit 1", outputs=outputs)
        error = future.exception()
        assert notes(error) == [f"the task's own directory is kept: {future.sandbox}"]
        assert directory(future).name.endswith("_try1") and os.listdir(directory(future)) == [outputs[1]]
        assert isinstance(future.stdout, str)
        assert str(future.sandbox) in Path(future.stdout).read_text()
        assert not Path(outputs[1]).exists()


def test_without_a_place_that_stays_there_is_none() -> None:
    with ParslPoolExecutor(1) as pool:
        with pytest.raises(ConfigurationError, match="sandbox must be a path if there is no run_dir="):
            pool.options(sandbox=True).submit(os.getcwd)


def test_calls_of_a_task_have_no_such_option_and_leave_its_directory(pool: ParslPoolExecutor, home: Path) -> None:
    def asks(pool: Any) -> tuple[str, str, str, str]:
        try:
            pool.options(sandbox=True)
        except WrongType as error:
            text = str(error)
        before = os.getcwd()
        return text, before, pool.submit(os.getcwd).result(), os.getcwd()

    future = pool.options(sandbox=True).submit(asks, pool)
    text, before, inner, after = future.result()
    assert "not 'sandbox'" in text
    assert (before, inner, after) == (future.sandbox, str(home), future.sandbox)
