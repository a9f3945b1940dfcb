"""A user's program, for strange places: it uses a pool in each arrangement, and reports what came of it.

It is run as a file, from a zip, by `-c` and so on. CASE, in the environment, is JSON: `say` is the descriptor for the
report, `path` makes the project importable (as if it were installed), `before` is code that runs first, `arrangements`
says which ("inside", "apart", or "by a port", apart and linked by TCP), `extra` is an expression about `pool` that has
to be true.
"""

import json
import os
import sys
from typing import Any

CASE = json.loads(os.environ["CASE"])
sys.path[:0] = CASE["path"]


def fails() -> None:
    raise ValueError("its own")


def settings() -> list[object]:
    """What tasks should find as the program has it."""
    names = "optimize dev_mode utf8_mode isolated ignore_environment no_site dont_write_bytecode bytes_warning".split()
    return [*(getattr(sys.flags, name) for name in names), sorted(set(sys.warnoptions))]


def around() -> list[object]:
    """What a task finds that the program may not have: no signal blocked, an empty stdin, a place to write to."""
    import signal

    print("a task")
    print("an error", file=sys.stderr)
    blocked = len(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    return [blocked, sys.stdin.read(), sys.stdout is not None, sys.stderr is not None]


def use(pool: Any) -> str:
    """What is not as it should be; "" if all is well."""
    problems = []

    def check(what: str, found: object, right: object) -> None:
        if found != right:
            problems.append(f"{what}: {found!r} instead of {right!r}")

    data = bytes(range(256)) * 4096
    check("map", list(pool.map(lambda x: 2 * x, range(5), timeout=40)), [0, 2, 4, 6, 8])
    check("1 MB", pool.submit(lambda given: given[::-1], data).result(40) == data[::-1], True)
    check("an error", repr(pool.submit(fails).exception(40)), "ValueError('its own')")
    check("settings", pool.submit(settings).result(40), settings())
    check("around", pool.submit(around).result(40), [0, "", True, True])
    check("a death", type(pool.submit(os._exit, 3).exception(40)).__name__, "WorkerLost")
    check("after it", pool.submit(abs, -1).result(40), 1)
    if CASE["extra"]:
        check(CASE["extra"], eval(CASE["extra"], {**globals(), "pool": pool}), True)
    return "; ".join(problems)


def left() -> list[str]:
    """What pools have left in the temporary directory."""
    import tempfile

    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        return []
    if folder != os.environ.get("TMPDIR") and not os.getuid():
        return []  # other programs' things are there as well
    paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("parsl-pool-")]
    return [path for path in paths if os.stat(path).st_uid == os.getuid()]


def new_pool(arrangement: str) -> Any:
    from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor

    if arrangement != "by a port":
        return ParslPoolExecutor(2, manager_inside=arrangement == "inside")
    executor = HighThroughputExecutor(max_workers_per_node=2, manager_inside=False, address="127.0.0.1")
    return ParslPoolExecutor(Config([executor], run_dir=None))  # where it stands there may be nothing to write to


def main() -> None:
    for arrangement in CASE["arrangements"]:
        try:
            with new_pool(arrangement) as pool:
                outcome = use(pool)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        report = json.dumps([arrangement, outcome or "works", left()])
        os.write(CASE["say"], report.encode() + b"\n")


if __name__ == "__main__":
    exec(CASE["before"])
    main()
    exec(CASE["after"])
