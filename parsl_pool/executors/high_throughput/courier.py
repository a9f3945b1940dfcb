"""Brings managers on other machines what they need to find the interchange: the ticket, and a tunnel if there is one.

One thread, for all that is asked of other machines takes its time. Where nodes see this machine's files, and connect to
it, there is none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from parsl_pool.errors import ExecutionProviderException, described
from parsl_pool.executors.high_throughput.tunnel import Tunnel
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

_LOOK_S = 5.0
_AGAIN_S = 1.0
_TRIES = 3  # to begin with; later it never gives up


class Courier:
    """Its thread asks; the other methods are called by the thread that has the executor's blocks.

    Args:
        write: writes the ticket with these addresses. Raises OSError.
        begin: called when managers can find the interchange, for the first time.
        give_up: called with a text if that is not to be had.
    """

    def __init__(
        self, label: str, provider: Any, ticket: str, tunnel: Tunnel | None, write: Callable[[list[str]], None],
        begin: Callable[[], None], give_up: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._provider, self._ticket, self._tunnel = provider, ticket, tunnel
        self._write, self._begin, self._give_up = write, begin, give_up
        self._lock = threading.Lock()  # guards _port and _addresses
        self._port, self._addresses = 0, list[str]()
        self.path = ""
        """What nodes know the ticket by; set before `begin` is called."""
        self._brought: list[str] = []
        self._failures = 0
        self._wake, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name=f"parsl-pool-courier-{label}", daemon=True)

    def start(self) -> None:
        """Start the thread, which waits for `deliver`."""
        self._thread.start()

    def deliver(self, port: int, addresses: list[str]) -> None:
        """The interchange listens at this port, and these addresses of this machine."""
        with self._lock:
            self._port, self._addresses = port, addresses
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def join(self) -> None:
        """After the provider was closed."""
        if self._tunnel is not None:
            self._tunnel.join()

    # -- the thread

    def _run(self) -> None:
        pause_s: float | None = None
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._bring()
            except Exception as problem:  # a provider may raise anything; whoever waits for the blocks is told
                if self._is_hopeless(problem):
                    return
                pause_s = _LOOK_S if self.path else _AGAIN_S
            else:
                self._failures = 0
                pause_s = _LOOK_S if self._tunnel is not None else None

    def _bring(self) -> None:
        with self._lock:
            port, addresses = self._port, self._addresses
        if self._tunnel is not None:
            addresses = self._tunnel.addresses(port)
        if addresses != self._brought:
            self._write(addresses)
            path = self._provider.bring(self._ticket)
            self._brought = addresses
            if not self.path:
                self.path = path
                self._begin()

    def _is_hopeless(self, problem: Exception) -> bool:
        self._failures += 1
        text = described(problem)
        if self._failures == 1:
            label = self._provider.label
            log.warning("provider %s: managers can't be told how to find the interchange: %s", label, text)
        is_known = isinstance(problem, (ExecutionProviderException, OSError))
        if self.path and is_known:
            return False
        if is_known and self._failures < _TRIES:
            return False
        self._give_up(f"managers can't be told how to find the interchange: {text}")
        return True
