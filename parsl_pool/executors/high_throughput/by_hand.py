"""Pools that start no blocks: whoever wants workers starts them, by a command that is told once."""

from __future__ import annotations

import sys
from contextlib import suppress

from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

_IPC = "ipc://"


class ByHand:
    """Belongs to the thread that writes the ticket; its text may be read by any.

    Attributes:
        text: what is to be said of it; "" if the pool starts blocks itself, or managers can't connect yet.
    """

    def __init__(self, label: str, *, is_wanted: bool) -> None:
        self._label, self._is_wanted = label, is_wanted
        self.text = ""

    def tell(self, command: str, addresses: list[str]) -> None:
        """Managers can connect there: print and log the command, the first time."""
        if not self._is_wanted or self.text:
            return
        is_local = all(address.startswith(_IPC) for address in addresses)
        where = "this machine (with address= on others, too)" if is_local else "any machine that sees the same files"
        self.text = f"pool {self._label} starts no blocks (max_blocks=0). To start workers, on {where}, run:\n{command}"
        log.info("%s", self.text)
        with suppress(OSError, ValueError):  # nobody reads it, or it is closed
            if sys.stderr is not None:
                print(self.text, file=sys.stderr, flush=True)
