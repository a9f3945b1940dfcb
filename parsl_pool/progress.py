"""A progress bar, on request: tqdm's, in terminals and notebooks."""

from __future__ import annotations

import threading
from typing import Any

from parsl_pool.errors import OptionalModuleMissing

_PERIOD_S = 0.2


class ProgressBar:
    """Shows how many tasks are done, of how many submitted. One thread, which ends with the pool."""

    def __init__(self, backends: list[Any], label: str) -> None:
        """Raises OptionalModuleMissing without tqdm."""
        try:
            from tqdm.auto import tqdm  # an extra
        except ImportError as problem:
            raise OptionalModuleMissing(["tqdm"], "progress=True") from problem
        self._backends = backends
        self._bar = tqdm(desc=label, unit="task", total=0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"parsl-pool-progress-{label}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self._show()
        self._show()
        self._bar.close()

    def _show(self) -> None:
        numbers: dict[str, float] = {}
        for backend in self._backends:
            for name, value in backend.counts().items():
                numbers[name] = numbers.get(name, 0) + value
        done = numbers["done"] - numbers["retried"]
        self._bar.total = done + numbers["waiting"] + numbers["queued"] + numbers["running"]
        self._bar.n = done
        if numbers["failed"]:
            self._bar.set_postfix(failed=numbers["failed"], refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        """Show the last state, and leave it on the screen."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
