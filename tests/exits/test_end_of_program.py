"""Programs that end without a word to their pool: what was submitted is finished, then everything ends."""

import signal
import time
from pathlib import Path

import pytest

from tests.exits.conftest import Runner

UNFINISHED = """
note = ready_file()
pool = make(2{options})
futures = [pool.submit(triple, i) for i in range(500)]
last = pool.submit(note_after, note, 0.3)
say("note", note)
{then}
"""

# Ways to leave main(), and the exit code.
WAYS = [
    ("pass", 0),
    ("sys.exit(7)", 7),
    ("raise ValueError('by the program')", 1),
    ("del pool", 0),
    ("del pool, futures, last; gc.collect()", 0),
    ("cycle = [pool]; cycle.append(cycle); del pool, cycle; gc.collect()", 0),
    ("pool.shutdown(wait=False)", 0),
    ("pool.shutdown(wait=False); del pool; sys.exit(7)", 7),
    ("threading.Thread(target=lambda: cf.wait(futures)).start()", 0),
    ("threading.Thread(target=lambda: cf.wait(futures), daemon=True).start()", 0),
]


@pytest.mark.parametrize("recycling", ["", ", max_tasks_per_child=3"], ids=["", "recycling"])
@pytest.mark.parametrize("then, code", WAYS, ids=[way for way, _ in WAYS])
def test_what_was_submitted_is_finished(run: Runner, then: str, code: int, recycling: str) -> None:
    script = run(UNFINISHED.format(then=then, options=recycling))
    (note,) = script.until("note")
    assert script.ends(within=60) == code, script
    assert Path(note).exists(), "the last task was not run"
    script.check_nothing_is_left()


QUIET = [
    "pool = make(2)",
    "pool = make(2); pool.shutdown()",
    "pool = make(2); pool.submit(triple, 1).result()",
    "pools = [make(2) for _ in range(3)]; [pool.submit(triple, 1) for pool in pools]",
    "pool = make(2); pool.submit(triple, 1); pool.shutdown(); pool.shutdown()",
    "pool = make(2); pool.shutdown(wait=False); pool.shutdown(wait=True)",
    "pool = make(2); futures = [pool.submit(triple, i) for i in range(99)]; pool.shutdown(cancel_futures=True)",
    "pool = make(2); pool.submit(time.sleep, 100); time.sleep(0.1); pool.kill_workers()",
    "pool = make(2); pool.submit(time.sleep, 100); time.sleep(0.1); pool.terminate_workers()",
    "globals()['keep'] = make(2); keep.submit(triple, 1)",
    "import atexit; pool = make(2); pool.submit(triple, 1); atexit.register(pool.shutdown)",
    "import atexit; pool = make(2); future = pool.submit(triple, 1); atexit.register(lambda: say(future.result()))",
]


@pytest.mark.parametrize("body", QUIET)
def test_a_program_ends_without_a_word_on_stderr(run: Runner, body: str) -> None:
    script = run(body)
    assert script.ends() == 0, script
    assert script.stderr == ""
    script.check_nothing_is_left()


def test_nothing_can_be_submitted_once_the_interpreter_exits(run: Runner) -> None:
    script = run("""
pool = make(2)
pool.submit(triple, 1).result()
other = make(2)
def late():
    threading.main_thread().join()
    for each in (pool, other):
        try:
            each.submit(triple, 1)
        except RuntimeError as error:
            say("refused", error)
threading.Thread(target=late).start()
""")
    assert script.ends() == 0, script
    assert [line.startswith("refused cannot schedule new futures after") for line in script.seen] == [True, True]
    script.check_nothing_is_left()


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGSTOP"])
def test_an_interchange_that_dies_while_the_interpreter_exits_holds_nobody_up(run: Runner, signal_name: str) -> None:
    """Nothing may be started then. Only the callback can still look at what became of the tasks."""
    script = run("""
from parsl_pool import exit_hook
from parsl_pool.executors.high_throughput import watchdog
watchdog.PING_S, watchdog.HANG_S = 0.2, 1.0
path = ready_file()
pool = make(2)
futures = [pool.submit(hold, path) for _ in range(2)] + [pool.submit(triple, i) for i in range(50)]
for future in futures:
    future.add_done_callback(lambda future: say("ended", type(future.exception()).__name__))
wait_for(path)
pid = pool._backend.link._process.pid
def kill():
    while not exit_hook.is_exiting():
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(pid, signal.%s)
threading.Thread(target=kill).start()
""" % signal_name)  # noqa: UP031  # braces are the script's
    assert script.ends(within=20) == 0, script
    assert script.seen == ["ended InterchangeLost"] * 52
    script.check_nothing_is_left()


def test_an_interrupt_while_the_interpreter_exits_ends_the_tasks(run: Runner) -> None:
    script = run("""
path = ready_file()
pool = make(2)
futures = [pool.submit(hold, path) for _ in range(2)]
wait_for(path)
say("ready")
""")
    script.until("ready")
    time.sleep(0.3)  # nothing tells when the exit hook waits
    script.process.send_signal(signal.SIGINT)
    script.ends(within=10)
    script.check_nothing_is_left()
