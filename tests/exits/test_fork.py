"""A client that forks: the child can't use the pool, and does it no harm; the parent goes on."""

import signal

import pytest

from tests.eventually import eventually
from tests.exits.conftest import Runner
from tests.exits.scripts import described, fail_with

# A fork in a program with threads makes Python 3.12 warn; that is the program's business, not what is tested.
SILENT = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}

FORK = """
pool = make(2)
futures = [pool.submit(triple, i) for i in range(200)]
before = pool.submit(triple, 1).result()
pid = os.fork()
if not pid:
    {child}
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert [future.result(20) for future in futures] == [3 * i for i in range(200)]
assert pool.submit(triple, 5).result(20) == 15
pool.shutdown()
say("status", status)
"""


def said_by_child(run: Runner, child: str, word: str) -> list[str]:
    """What a child that ends with 5 says after that word. The parent goes on, and nothing is left."""
    script = run(FORK.format(child=child), **SILENT)
    said = script.until(word)
    assert script.until("status") == ["5"]
    assert script.ends() == 0, script
    script.check_nothing_is_left()
    return said


@pytest.mark.parametrize(
    "child, status",
    [
        ("os._exit(5)", 5),
        ("sys.exit(6)", 6),
        ("return", 0),
        ("pool.shutdown(); os._exit(5)", 5),
        ("pool.shutdown(wait=False); sys.exit(6)", 6),
        ("pool.kill_workers(); os._exit(5)", 5),
        ("pool.terminate_workers(); os._exit(5)", 5),
        ("del pool; gc.collect(); sys.exit(6)", 6),
        ("[future.cancel() for future in futures]; sys.exit(6)", 6),
        ("[pool._processes, pool.status(), pool.explain(), repr(pool)]; sys.exit(6)", 6),
        ("signal.alarm(2); signal.pause()", -signal.SIGALRM),
        ("os.execl(sys.executable, sys.executable, '-c', 'raise SystemExit(8)')", 8),
    ],
)
def test_a_forked_child_ends_and_the_parents_pool_is_unharmed(run: Runner, child: str, status: int) -> None:
    script = run(FORK.format(child=child), **SILENT)
    assert script.until("status", within=40) == [str(status)]
    assert script.ends() == 0, script
    script.check_nothing_is_left()


@pytest.mark.parametrize("call", ["pool.submit(triple, 1)", "list(pool.map(triple, range(3)))"])
def test_a_forked_child_that_submits_gets_a_clear_error(run: Runner, call: str) -> None:
    child = f"""
    try:
        {call}
    except RuntimeError as error:
        say("refused", error)
        os._exit(5)
    os._exit(0)"""
    assert "fork" in " ".join(said_by_child(run, child, "refused"))


def test_a_forked_child_that_waits_for_its_parents_future_gets_a_clear_error(run: Runner) -> None:
    """It has a copy of a future that nobody will ever finish."""
    script = run("""
pool = make(2)
path = ready_file()
future = pool.submit(hold, path, 3)
wait_for(path)
pid = os.fork()
if not pid:
    try:
        future.result(30)
    except TimeoutError:
        say("timeout")
    except Exception as error:
        say("refused", error)
    os._exit(0)
os.waitpid(pid, 0)
""", **SILENT)
    assert "fork" in " ".join(script.until("refused", within=20))
    assert script.ends() == 0, script
    script.check_nothing_is_left()


def test_a_forked_child_can_have_a_pool_of_its_own(run: Runner) -> None:
    child = """
    with make(2) as own:
        say("own", *own.map(triple, range(3)))
    os._exit(5)"""
    assert said_by_child(run, child, "own") == ["0", "3", "6"]


def test_a_pool_that_was_not_started_can_be_used_by_both(run: Runner) -> None:
    script = run("""
pool = make(2)
pid = os.fork()
say("parent" if pid else "child", pool.submit(triple, 1).result(20))
if pid:
    os.waitpid(pid, 0)
""", **SILENT)
    lines = {tuple(words) for _, words in zip(range(2), script.lines(20))}
    assert lines == {("parent", "3"), ("child", "3")}
    assert script.ends() == 0, script
    script.check_nothing_is_left()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_a_client_that_dies_is_noticed_though_its_forked_child_lives(run: Runner, end: str) -> None:
    """The child has copies of all descriptors. It may live on, the pool may not."""
    script = run(FORK.format(child="time.sleep(60); os._exit(5)").replace("status = ", f"say('child', pid); {end}\n#"))
    (child,) = script.until("child")
    script.ends()

    def only_the_child_lives() -> bool:
        others = [process for process in script.alive() if process.pid != int(child)]
        return not others or fail_with(described(others))

    eventually(only_the_child_lives, within=10)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing_beside_a_pool(run: Runner, method: str) -> None:
    """Its children end by its own exit handlers, some of which wait for all that is registered."""
    script = run(f"""
import multiprocessing
context = multiprocessing.get_context({method!r})
pool = make(2)
assert pool.submit(triple, 1).result() == 3
process = context.Process(target=triple, args=(1,))
process.start()
process.join(20)
say("exitcode", process.exitcode)
with context.Pool(2) as other:
    say("pool", *other.map(triple, range(3)))
assert pool.submit(triple, 2).result(20) == 6
""", **SILENT)
    assert script.until("exitcode") == ["0"]
    assert script.until("pool") == ["0", "3", "6"]
    assert script.ends() == 0, script
    script.check_nothing_is_left()


def test_forking_while_other_threads_submit_harms_nobody(run: Runner) -> None:
    """A lock that another thread holds in the moment of the fork stays locked in the child."""
    script = run("""
pool = make(2)
stop = threading.Event()
def submit():
    while not stop.is_set():
        assert list(pool.map(triple, range(20))) == [3 * i for i in range(20)]
threads = [threading.Thread(target=submit) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(50):
    pid = os.fork()
    if not pid:
        sys.exit(number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == number
stop.set()
for thread in threads:
    thread.join()
pool.shutdown()
say("done")
""", **SILENT)
    script.until("done", within=60)
    assert script.ends() == 0, script
    script.check_nothing_is_left()


WORKFLOW = """
import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ThreadPoolExecutor, join_app, python_app
made = {{"threads": ThreadPoolExecutor, "processes": lambda label: HighThroughputExecutor(
    label, max_workers_per_node=1, manager_inside=INSIDE)}}[{kind!r}]
app = python_app(triple)
joined = join_app(lambda x: app(x))
path = ready_file()
pool = parsl_pool.load(Config([made("x")], app_cache=True, checkpoint_mode="task_exit", run_dir=os.environ["SCRATCH"]))
running = app(1)
held = pool.options(cache=True).submit(hold, path, 2)
wait_for(path)
waiting = app(held)
joining = joined(held)
pid = os.fork()
if not pid:
    def tell(what, call):
        try:
            say(what, "done", call())
        except BaseException as error:
            say(what, type(error).__name__, str(error).replace(chr(10), " "))
    {child}
    say("end")
    os._exit(5)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert waiting.result(30) == joining.result(30) == 3 * held.result() and app(5).result(30) == 15
assert os.path.exists(pool.checkpoint())
parsl_pool.clear()
say("status", status)
"""

USES_OF_ANOTHERS_POOL = {
    "running": "pool.submit(triple, 1)",
    "app": "app(1)",
    "join": "joined(1)",
    "step": "pool.options(cache=True).submit(triple, 1)",
    "map": "list(pool.map(triple, [1]))",
    "waits": "waiting.result(5)",
    "joining": "joining.result(5)",
    "held": "held.result(5)",
    "checkpoint": "pool.checkpoint()",
    "dfk": "parsl_pool.dfk()",
}


INSIDE_ALONE = pytest.mark.parametrize("manager_inside", [True], ids=["inside"])  # it makes no difference here


@INSIDE_ALONE
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_forked_child_has_no_workflow_of_its_parents_and_is_told_so(run: Runner, kind: str) -> None:
    """Whatever it calls or waits for. The parent's tasks, those that wait for others too, and its checkpoint go on."""
    child = "; ".join(f"tell({what!r}, lambda: {call})" for what, call in USES_OF_ANOTHERS_POOL.items())
    script = run(WORKFLOW.format(kind=kind, child=child), **SILENT)
    for what in USES_OF_ANOTHERS_POOL:
        error, *text = script.until(what, within=30)
        kinds = {"dfk": "NoDataFlowKernelError", "app": "NoDataFlowKernelError", "join": "NoDataFlowKernelError"}
        assert error == kinds.get(what, "PoolBroken"), (what, error, text)
        assert f"belongs to process {script.process.pid}" in " ".join(text), (what, text)
    script.until("end")
    assert script.until("status", within=40) == ["5"]
    assert script.ends() == 0, script
    script.check_nothing_is_left()


@INSIDE_ALONE
@pytest.mark.parametrize("end", ["parsl_pool.clear()", "pool.shutdown()", "pool.kill_workers()"])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_forked_child_can_end_its_parents_workflow_only_for_itself(run: Runner, kind: str, end: str) -> None:
    script = run(WORKFLOW.format(kind=kind, child=end), **SILENT)
    assert script.until("status", within=40) == ["5"]
    assert script.ends() == 0, script
    script.check_nothing_is_left()


@INSIDE_ALONE
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_forked_child_can_load_a_pool_of_its_own(run: Runner, kind: str) -> None:
    child = "own = parsl_pool.load(Config([made('own')])); say('own', app(2).result(20)); parsl_pool.clear()"
    script = run(WORKFLOW.format(kind=kind, child=child), **SILENT)
    assert script.until("own", within=30) == ["6"]
    assert script.until("status", within=40) == ["5"]
    assert script.ends() == 0, script
    script.check_nothing_is_left()


@INSIDE_ALONE
def test_a_loaded_pool_that_was_not_used_can_be_used_by_both(run: Runner) -> None:
    script = run("""
import parsl_pool
parsl_pool.load()
app = parsl_pool.python_app(triple)
pid = os.fork()
say("parent" if pid else "child", app(1).result(20))
parsl_pool.clear()
if pid:
    os.waitpid(pid, 0)
""", **SILENT)
    lines = {tuple(words) for _, words in zip(range(2), script.lines(20))}
    assert lines == {("parent", "3"), ("child", "3")}
    assert script.ends() == 0, script
    script.check_nothing_is_left()
