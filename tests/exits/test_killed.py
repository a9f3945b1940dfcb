"""The client is killed while tasks run: nothing of it is left within ten seconds."""

import os
import signal
import time

import psutil
import pytest

from tests.eventually import eventually
from tests.exits.conftest import Runner
from tests.exits.scripts import left_in

BUSY = """
path = ready_file()
pool = make(2)
held = [pool.submit(hold, path) for _ in range(2)]
many = [pool.submit(triple, i) for i in range(10_000)]
wait_for(path)
say("ready")
{then}
"""


@pytest.mark.parametrize("whom", ["it", "its group"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_client_that_gets_a_signal_leaves_nothing(run: Runner, number: signal.Signals, whom: str) -> None:
    script = run(BUSY.format(then="cf.wait(held)"))
    script.until("ready")
    (os.kill if whom == "it" else os.killpg)(script.process.pid, number)
    code = script.ends(within=15)
    assert code == -number
    script.check_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_client_that_is_killed_while_its_pool_starts_leaves_nothing(run: Runner, number: signal.Signals) -> None:
    script = run("pool = make(2)\nsay('ready')\nfuture = pool.submit(triple, 1)\nsay('submitted')\nfuture.result()")
    script.until("submitted")
    script.process.send_signal(number)
    script.ends(within=15)
    script.check_nothing_is_left()


def test_a_client_that_is_killed_before_its_thread_has_done_anything_leaves_nothing(run: Runner) -> None:
    script = run("""
from parsl_pool.executors.high_throughput.link import Link
Link._run = lambda link: time.sleep(1000)
pool = make(2)
pool.submit(triple, 1)
say("submitted")
time.sleep(1000)
""")
    script.until("submitted")
    script.process.kill()
    script.ends(within=15)
    script.check_nothing_is_left()


@pytest.mark.parametrize(
    "leave, code",
    [("os._exit(3)", 3), ("os.abort()", -signal.SIGABRT), ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV)],
)
def test_a_client_that_leaves_at_once_leaves_nothing(run: Runner, leave: str, code: int) -> None:
    script = run(BUSY.format(then=leave))
    assert script.ends(within=15) == code
    script.check_nothing_is_left()


def test_a_second_interrupt_ends_a_program_that_waits_for_a_task(run: Runner) -> None:
    script = run("""
path = ready_file()
pool = make(2)
held = [pool.submit(hold, path) for _ in range(2)]
wait_for(path)
try:
    say("ready")  # the signal may come before this has returned
    cf.wait(held)
finally:
    say("interrupted")
    pool.shutdown()
""")
    script.until("ready")
    script.process.send_signal(signal.SIGINT)
    script.until("interrupted")
    script.process.send_signal(signal.SIGINT)
    script.ends(within=15)
    script.check_nothing_is_left()


def test_an_interrupt_in_a_with_block_ends_it_soon(run: Runner) -> None:
    script = run("""
path = ready_file()
with make(2) as pool:
    held = [pool.submit(hold, path) for _ in range(2)]
    wait_for(path)
    say("ready")
    cf.wait(held)
""")
    script.until("ready")
    script.process.send_signal(signal.SIGINT)
    assert script.ends(within=15) == -signal.SIGINT
    assert "KeyboardInterrupt" in script.stderr
    script.check_nothing_is_left()


def test_a_client_that_was_stopped_for_long_goes_on_where_it_was(run: Runner) -> None:
    """With 10,000 tasks under way. It takes nobody else for absent, and no task is lost or runs twice."""
    script = run("""
from parsl_pool.executors.high_throughput import watchdog
watchdog.PING_S, watchdog.HANG_S = 0.5, 4.0
pool = make(2)
ledger = ready_file()
futures = [pool.submit(append, ledger, task) for task in range(10_000)]
cf.wait(futures[:100])
interchange = pool._backend.link._process.pid
say("ready")
assert [future.result() for future in futures] == list(range(10_000))
assert sorted(map(int, open(ledger))) == list(range(10_000))
assert pool._backend.link._process.pid == interchange
assert pool.submit(triple, 1).result() == 3
""")
    script.until("ready")
    client = psutil.Process(script.process.pid)
    client.suspend()
    time.sleep(6)  # longer than its patience, which is the test's input
    client.resume()
    assert script.ends() == 0, script
    script.check_nothing_is_left()


def test_a_stopped_client_that_is_killed_leaves_nothing(run: Runner) -> None:
    script = run(BUSY.format(then="os.kill(os.getpid(), signal.SIGSTOP)"))
    script.until("ready")
    script.process.kill()
    script.ends(within=15)
    script.check_nothing_is_left()


MODULES = {"interchange": "interchange", "manager": "manager_program", "fork server": "fork_server"}


@pytest.mark.parametrize("others", [["interchange"], ["interchange", "manager"], ["interchange", "fork server"]])
def test_a_client_that_is_killed_together_with_others_leaves_no_process(
    run: Runner, manager_inside: bool, others: list[str]
) -> None:
    """Whoever is left sees that. A directory may stay: the next pool of the same user removes it."""
    script = run(BUSY.format(then="cf.wait(held)"))
    script.until("ready")
    victims = [
        process
        for process in script.alive()
        if any(f"parsl_pool.interchange.{MODULES[name]} import" in " ".join(process.cmdline()) for name in others)
    ]
    assert victims
    for process in [*victims, psutil.Process(script.process.pid)]:
        process.kill()
    script.ends(within=15)
    eventually(lambda: not script.alive())
    after = run("with make(2) as pool:\n    pool.submit(triple, 1).result()", TMPDIR=str(script.temporary))
    assert after.ends() == 0
    assert not left_in(script.temporary)

