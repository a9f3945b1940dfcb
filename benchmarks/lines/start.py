"""What it costs to begin and to end: import, first result, shutdown."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from statistics import median

from benchmarks import tasks
from benchmarks.trial import Line, Metric, Trial, expect

IDLE_S = 0.2    # what a pool does right after its last result shall not count as its shutdown


def imports(trial: Trial) -> Mapping[str, float]:
    """Interpreters that import it, over interpreters that import nothing, in turns."""
    statements = ("pass", trial.peer.import_module_as, trial.peer.import_class_as)
    for statement in statements:
        _interpreter_ms(statement)    # writes the bytecode, fills the page cache
    took = [[_interpreter_ms(statement) for statement in statements] for _ in range(trial.size)]
    bare, module, klass = (median(column) for column in zip(*took, strict=True))
    return {"import": module - bare, "import_class": klass - bare}


def _interpreter_ms(statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.perf_counter() - started) * 1e3


def first_result_and_shutdown(trial: Trial) -> Mapping[str, float]:
    """From the constructor to the first result; then, idle, from shutdown to its return."""
    trial.peer.load()
    started = time.perf_counter()
    pool = trial.peer.starts(trial.workers)
    value = pool.result(pool.submit(tasks.noop, 1))
    first_ms = (time.perf_counter() - started) * 1e3
    expect(value, 1)
    trial.warm(pool)
    time.sleep(IDLE_S)
    started = time.perf_counter()
    pool.close()
    shutdown_ms = (time.perf_counter() - started) * 1e3
    trial.check_home()
    return {"first_result": first_ms, "shutdown": shutdown_ms}


LINES = (
    Line(
        name="import",
        metrics=[
            Metric("import", "ms", "import of the module, over a bare interpreter"),
            Metric("import_class", "ms", "import of the executor's class, over a bare interpreter"),
        ],
        measure=imports,
        size=10,
        least=10,
        quick_size=1,
        only=frozenset({"inside", "ppe", "mp-pool", "loky", "parsl", "dask"}),
    ),
    Line(
        name="start",
        metrics=[
            Metric("first_result", "ms", "construct to first result"),
            Metric("shutdown", "ms", "shutdown of an idle pool"),
        ],
        measure=first_result_and_shutdown,
        only=frozenset(
            {"inside", "apart", "ppe", "ppe-spawn", "mp-pool", "loky", "parsl", "parsl-encrypted", "dask"}
        ),
    ),
)
