"""What a pool needs when its managers are processes of their own: keys, a ticket for them, blocks to hold them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from parsl_pool import portable
from parsl_pool.errors import ExecutionProviderException
from parsl_pool.executors.high_throughput import arrangement
from parsl_pool.executors.high_throughput.arrangement import Wishes
from parsl_pool.executors.high_throughput.by_hand import ByHand
from parsl_pool.executors.high_throughput.courier import Courier
from parsl_pool.executors.high_throughput.launch_command import ManagerCommand
from parsl_pool.executors.high_throughput.meeting_place import MeetingPlace
from parsl_pool.executors.high_throughput.site import ExecutorSite
from parsl_pool.executors.high_throughput.tunnel import Tunnel
from parsl_pool.executors.high_throughput.where import TUNNEL
from parsl_pool.interchange import wire
from parsl_pool.interchange.page import CLAIMS_NAME
from parsl_pool.loggers import careful_logger
from parsl_pool.run_directory import RunDirectory
from parsl_pool.scaling.poller import JobStatusPoller
from parsl_pool.scaling.site import Rules

log = careful_logger("parsl_pool.interchange")


class Apart:
    """The distributed side of one executor. Its methods are called by the I/O thread, in the order of a life."""

    def __init__(
        self, executor: Any, provider: Any, directory: RunDirectory, wishes: Wishes, rules: Rules,
        command: ManagerCommand,
    ) -> None:  # fmt: skip
        """Raises OSError."""
        from parsl_pool.interchange import curve  # zmq only where it is needed

        self._curve = curve
        self.directory = directory
        self._keys = curve.make_keys()
        self._ticket = os.path.join(directory.path, directory.own_name("ticket"))
        provider.script_dir = os.path.join(self.directory.path, "blocks")
        os.makedirs(provider.script_dir, exist_ok=True)
        os.chmod(provider.script_dir, 0o700)  # whatever the umask is
        self._opened = self._started = False
        self._provider = provider
        self._patience_s = wishes.where.patience_s
        self.by_hand = ByHand(executor.label, is_wanted=not provider.limits.max_blocks)
        self._command, self._address = command, ""
        site = ExecutorSite(executor, self.manager_command)
        self.keeper = JobStatusPoller(executor.label, provider, site, rules, directory.path)
        self._courier = self._make_courier(executor.label, wishes, site.give_up)
        # Last: it makes what has to be closed.
        self._place = MeetingPlace(
            directory, wishes.where, arrangement.is_on_this_host(provider), arrangement.is_elsewhere(provider)
        )

    def _make_courier(self, label: str, wishes: Wishes, give_up: Callable[[str], None]) -> Courier | None:
        """None if managers see the ticket where it is, and there is no tunnel."""
        is_tunnel = wishes.where.address == TUNNEL
        if self._provider.sees_our_files and not is_tunnel:
            return None
        channels = self._provider.channels() if is_tunnel else []
        tunnel = Tunnel(channels, arrangement.is_cluster(self._provider)) if is_tunnel else None
        return Courier(label, self._provider, self._ticket, tunnel, self._write_ticket, self.keeper.begin, give_up)

    def claims_path(self) -> str:
        """Where the claims table has to be for managers on this host to find it; "" if they find it by /proc."""
        return "" if portable.has_proc() else os.path.join(self.directory.path, CLAIMS_NAME)

    def hello(self) -> wire.Hello:
        """What the interchange has to know. A second one gets the first one's address: managers come back to it."""
        own = self.directory.path if self.directory.is_temporary else self._ticket
        return wire.Hello(
            wire.PROTOCOL, os.getpid(), 0, self._place.choices(), self._keys.server_secret, self._keys.server_public,
            self._keys.manager_public, [own, *self._place.left_behind()],
        )  # fmt: skip

    def open(self) -> None:
        """Called by the user's thread: Python 3.12 starts no thread any more once the main one has ended."""
        self.keeper.start()
        if self._courier is not None:
            self._courier.start()
        self._opened = True

    def interchange_ready(self, address: str) -> None:
        """Managers can connect now."""
        self._place.settled(address)
        self._address = address
        if self._courier is not None:
            self._courier.deliver(self._place.port, self._place.addresses())
            return
        self._write_ticket(self._place.addresses())
        if not self._started:
            self.keeper.begin()
            self._started = True

    def _write_ticket(self, addresses: list[str]) -> None:
        """Called by the courier's thread, if there is one."""
        keys = self._keys
        ticket = self._curve.Ticket(
            addresses, keys.server_public, keys.manager_public, keys.manager_secret, self._patience_s
        )
        try:
            self._curve.write_ticket(self._ticket, ticket)
        except OSError as problem:
            raise OSError(problem.errno, f"{problem.strerror}; give another place by run_dir=", self._ticket) from None
        self.by_hand.tell(self.manager_command(wire.BY_HAND), addresses)

    def manager_command(self, block: str) -> str:
        """The shell command of a block's manager."""
        path = self._ticket if self._courier is None else self._courier.path
        return self._command.text(path, block, self._address, self._provider.sees_our_files)

    def close(self) -> None:
        """End the blocks."""
        try:
            if self._opened:
                self.keeper.stop()
                if self._courier is not None:
                    self._courier.stop()
                self._close_provider()
                if self._courier is not None:
                    self._courier.join()
                with suppress(FileNotFoundError):  # there was no room for it
                    os.unlink(self._ticket)  # its keys open nothing any more, but need not lie about
        finally:
            self._place.close()

    def _close_provider(self) -> None:
        try:
            self._provider.close()
        except ExecutionProviderException as problem:
            log.warning("provider %s: something may be left on other machines: %s", self._provider.label, problem)
