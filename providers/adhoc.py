"""Blocks on a list of hosts without a scheduler: by SSH, one block a host."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import (
    AuthException,
    BadHostKeyException,
    ChannelError,
    ConfigurationError,
    ExecutionProviderException,
    ScaleOutFailed,
    SSHException,
)
from parsl_pool.loggers import careful_logger
from parsl_pool.providers import remote_group
from parsl_pool.providers.adhoc_host import Block, Host
from parsl_pool.providers.base import BlockLimits, ExecutionProvider, Preview, check_job
from parsl_pool.providers.channels.base import TIMED_OUT, Channel
from parsl_pool.providers.remote_directory import RemoteDirectory, write
from parsl_pool.providers.remote_group import Seen
from parsl_pool.providers.scripts import script_text, write_script
from parsl_pool.providers.states import JobState, JobStatus

log = careful_logger(__name__)

_OUTPUT_BYTES = 1 << 20  # of what a block has written, its end is brought here
_PLACE = "@parsl_pool/{}@"  # stands in a command for a file of ours, until the host is known
_PERMANENT = (AuthException, BadHostKeyException)  # somebody has to do something about it
_JOB_IDS = checks.list_of(checks.any_text, "a list of job ids")
_CHANNELS = checks.list_of(
    checks.instance_of(Channel, "a Channel"), "a list of Channels"  # type: ignore[type-abstract]  # only asked about
)


class AdHocProvider(ExecutionProvider):
    """Starts blocks on hosts that one can log in to, one on each.

    A block there is a process group that stands on its own: it outlives the connection. A host that can't be reached
    keeps its block: what runs there goes on, what was to be started waits for it, and the other hosts work meanwhile.

    Args:
        channels: one for each host, such as `SSHChannel("node1")`.
        worker_init: shell text that runs first in each block (bash, where there is one).
        cmd_timeout: seconds that a command there may take.
        parallelism: see `BlockLimits`.
        move_files: whether files are copied to the hosts; False: they see this machine's. None: it is found out.

    A copy, pickled or not, has the options and none of the blocks.
    """

    status_polling_interval = 5.0

    def __init__(
        self,
        channels: Sequence[Channel] = (),
        worker_init: str = "",
        cmd_timeout: float = 30,
        parallelism: float = 1,
        move_files: bool | None = None,
    ) -> None:
        self._channels = _CHANNELS("channels", channels)
        if len(set(map(id, self._channels))) < len(self._channels):
            raise ConfigurationError(f"channels must be different ones, one a host, got {channels!r}")
        count = len(self._channels)
        self.limits = BlockLimits(init_blocks=count, min_blocks=0, max_blocks=count, parallelism=parallelism)
        self.worker_init = checks.any_text("worker_init", worker_init)
        self.cmd_timeout = checks.seconds("cmd_timeout", cmd_timeout)
        self.move_files = checks.optional(checks.flag)("move_files", move_files)
        self._begin()

    def _begin(self) -> None:
        unless_moved = None if self.move_files is None else not self.move_files
        self._lock = threading.Lock()  # guards _hosts and what they hold, _blocks, _files and _was_reached
        self._hosts = [
            Host(channel, RemoteDirectory(channel), True if channel.is_shared else unless_moved)
            for channel in self._channels
        ]
        self._blocks: dict[str, Block] = {}
        self._files: dict[str, str] = {}  # paths here of what blocks need, by name
        self._was_reached = False  # a host at least was of use once

    @property
    def label(self) -> str:
        return "adhoc"

    def channels(self) -> list[Channel]:
        return list(self._channels)

    @property
    def sees_our_files(self) -> bool:
        """As far as the options say; of a single host more may be found out later."""
        return self.move_files is False or all(channel.is_shared for channel in self._channels)

    def bring(self, path: str) -> str:
        """A text that stands for the file's path in a command: it is another one on each host."""
        if self.sees_our_files:
            return path
        name = os.path.basename(path)
        with self._lock:
            self._files[name] = path
            busy = [host for host in self._hosts if host.block is not None and host.block.group is not None]
        self._visit(busy, self._bring_files)
        return _PLACE.format(name)

    # -- blocks

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl_pool.auto") -> str | None:
        """Starts it on a host that has none; None if each has one. If no such host can be reached, it waits for one of
        them; unless no host has ever been of use: then that is an error."""
        if self.script_dir is None:
            raise ConfigurationError(
                "the provider has no script_dir: an executor sets it; who uses the provider alone must set "
                "provider.script_dir to a private directory"
            )
        check_job(command, tasks_per_node, job_name)
        name = f"{_plain(job_name)}.{secrets.token_hex(3)}"
        with self._lock:
            awaited = {block.host for block in self._blocks.values() if block.is_alive and block.group is None}
            free = [
                host for host in self._hosts
                if host not in awaited and not host.is_bad
                and (host.block is None or not host.block.is_alive or host.block.is_cancelled)
            ]  # fmt: skip
            free.sort(key=lambda host: (host.trouble is not None, host.block is not None and host.block.is_alive))
        if not free:
            return None
        troubles = []
        for host in free:
            block = Block(name, command, host)
            try:
                self._start(block)
            except ChannelError as problem:
                troubles.append(problem)
                continue
            return self._submitted(block)
        if not self._was_reached:
            raise ScaleOutFailed(self, "; ".join(map(str, troubles))) from troubles[0]
        log.error("no host is there for block %s, it waits for one: %s", name, "; ".join(map(str, troubles)))
        return self._submitted(Block(name, command, free[0]))

    def _submitted(self, block: Block) -> str:
        job_id = f"{block.host.channel.label}/{block.name}"
        with self._lock:
            self._blocks[job_id] = block
            if block.group is None and (block.host.block is None or not block.host.block.is_alive):
                block.host.block = block
        log.info("job %s: process group %s", job_id, block.group)
        return job_id

    def _start(self, block: Block) -> None:
        """Start it on its host. Raises ChannelError."""
        host = block.host
        try:
            with self._lock:
                old = host.block
            if old is not None and old is not block and old.is_alive and not self._end(old):
                raise SSHException("the block before it can't be ended", "", host.channel.label)
            self._look_for_our_files(host)
            base = self._write(block)
            self._bring_files(host)
            command = remote_group.start_command(base)
            result = host.channel.execute_wait(command, self.cmd_timeout)
            if result.code or not result.stdout.strip().isdigit():
                what = "took too long" if result.code == TIMED_OUT else f"exit code {result.code}"
                raise ChannelError(f"cannot start {base}.sh: {what}", result.stderr.strip(), host.channel.label)
        except ChannelError as problem:
            with self._lock:
                host.trouble = problem
            raise
        with self._lock:
            block.group, block.last = int(result.stdout), JobStatus(JobState.RUNNING, f"on {host.channel.label}")
            host.block, host.trouble, self._was_reached = block, None, True

    def _look_for_our_files(self, host: Host) -> None:
        """Find out whether it sees them."""
        if host.sees_our_files is not None:
            return
        mark = secrets.token_hex(8)
        path = write_script(self.script_dir or ".", f"look.{mark}", mark, suffix=".txt")
        try:
            result = host.channel.execute_wait(f"cat {shlex.quote(str(path))} 2>/dev/null", self.cmd_timeout)
        finally:
            path.unlink()
        if result.code == TIMED_OUT:
            raise SSHException("it does not answer", "", host.channel.label)
        with self._lock:
            host.sees_our_files = result.stdout == mark

    def _write(self, block: Block) -> str:
        """Its script, there: gives the path without the suffix."""
        with suppress(FileNotFoundError):  # it was to run on another host, where paths are others
            os.unlink(self._local(block, ".sh"))
        base = self._base(block.host, block.name)
        text = self._text(block, os.path.dirname(base))
        path = write_script(self._local_directory(), block.name, text, suffix=".sh")
        if not block.host.sees_our_files:
            block.host.directory.push(path)
        return base

    def _text(self, block: Block, directory: str) -> str:
        body = block.command
        with self._lock:
            names = list(self._files)
        for name in names:
            path = self._files[name] if block.host.sees_our_files else os.path.join(directory, name)
            body = body.replace(_PLACE.format(name), shlex.quote(path))
        return script_text(shell="/bin/sh", job_name=block.name, worker_init=self.worker_init, body=body)

    def _base(self, host: Host, name: str) -> str:
        return os.path.join(self._local_directory() if host.sees_our_files else host.directory.path(), name)

    def _local_directory(self) -> str:
        return os.path.abspath(self.script_dir or ".")

    def _local(self, block: Block, suffix: str) -> str:
        return os.path.join(self._local_directory(), block.name + suffix)

    def _bring_files(self, host: Host) -> None:
        """Copy what blocks need, if it is not there, or was changed."""
        if host.sees_our_files:
            return
        with self._lock:
            files = list(self._files.items())
        for name, path in files:
            facts = os.stat(path)
            now = facts.st_mtime, facts.st_ino
            if host.brought.get(name) != now:
                host.directory.push(path)
                host.brought[name] = now

    def exclude(self, host: str) -> bool:
        """By the name that hosts give themselves, as managers tell it. The last one is kept."""
        with self._lock:
            hosts = [each for each in self._hosts if not each.is_bad]
        self._visit([each for each in hosts if not each.name], self._ask_name)
        with self._lock:
            bad = [each for each in hosts if each.name == host]
            if len(bad) == len(hosts):
                return False
            for each in bad:
                each.is_bad = True
        return bool(bad)

    def _ask_name(self, host: Host) -> None:
        result = host.channel.execute_wait("uname -n", self.cmd_timeout)
        with self._lock:
            host.name = result.stdout.strip() if not result.code else ""

    # -- states

    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        job_ids = _JOB_IDS("job_ids", job_ids)
        with self._lock:
            known = [self._blocks[job_id] for job_id in job_ids if job_id in self._blocks]
            live = [block for block in known if block.is_alive]
        self._visit({block.host for block in live}, lambda host: self._look(host, live))
        with self._lock:
            return [
                self._blocks[job_id].last if job_id in self._blocks
                else JobStatus(JobState.UNKNOWN, f"this provider has not started {shlex.quote(job_id)}")
                for job_id in job_ids
            ]  # fmt: skip

    def _look(self, host: Host, live: list[Block]) -> None:
        for block in [block for block in live if block.host is host]:
            if block.group is None:
                self._start(block)
                continue
            if not block.group and not self._is_found(block):
                continue
            seen = self._seen(block)
            status = self._status(block, seen)
            if status.terminal:
                self._fetch(block)
                log.info("job %s/%s: %s, %s", host.channel.label, block.name, status.status_name, status.message)
            with self._lock:
                block.last = status
        self._bring_files(host)
        with self._lock:
            host.trouble = None

    def _seen(self, block: Block) -> Seen:
        assert block.group is not None
        base = block.base or self._base(block.host, block.name)
        result = block.host.channel.execute_wait(remote_group.look_command(block.group, base), self.cmd_timeout)
        if result.code:
            what = "it does not answer" if result.code == TIMED_OUT else "its processes can't be looked at"
            raise SSHException(what, result.stderr.strip(), block.host.channel.label)
        seen = remote_group.seen(result.stdout)
        if not (block.host.sees_our_files or block.base):
            write(self._local(block, ".err"), seen.stderr)
        return seen

    def _status(self, block: Block, seen: Seen) -> JobStatus:
        out, err = self._local(block, ".out"), self._local(block, ".err")
        where = f"on {block.host.channel.label}"
        if seen.is_alive:
            return JobStatus(JobState.RUNNING, where, None, out, err)
        if block.is_cancelled:
            return JobStatus(JobState.CANCELLED, f"{where}: cancelled", seen.exit_code, out, err)
        if seen.exit_code is None:
            text = f"{where}: its processes are gone, and left no exit code; was the host started anew?"
            return JobStatus(JobState.FAILED, text, None, out, err)
        state = JobState.FAILED if seen.exit_code else JobState.COMPLETED
        return JobStatus(state, f"{where}: exit code {seen.exit_code}", seen.exit_code, out, err)

    def _fetch(self, block: Block) -> None:
        if block.base:
            self._clear(block)
        elif not block.host.sees_our_files:
            for suffix in ".out", ".err":
                block.host.directory.fetch(block.name + suffix, self._local(block, suffix), _OUTPUT_BYTES)

    # -- blocks of a process that is gone

    def adopt(self, job_ids: Sequence[str]) -> None:
        with self._lock:
            for job_id in _JOB_IDS("job_ids", job_ids):
                label, _, name = job_id.rpartition("/")
                host = next((host for host in self._hosts if host.channel.label == label), None)
                if host is not None and job_id not in self._blocks:
                    last = JobStatus(JobState.UNKNOWN, "started by a process that is gone")
                    self._blocks[job_id] = Block(name, "", host, group=0, last=last)

    def find(self, job_name: str) -> list[str]:
        found: list[str] = []

        def look(host: Host) -> None:
            result = host.channel.execute_wait(remote_group.find_command(f"{_plain(job_name)}."), self.cmd_timeout)
            found.extend(f"{host.channel.label}/{os.path.basename(base)}" for base in remote_group.found(result.stdout))

        self._visit(self._hosts, look)
        return sorted(found)

    def _is_found(self, block: Block) -> bool:
        """Look for a block that was adopted. One that is not there has ended. Raises ChannelError."""
        result = block.host.channel.execute_wait(remote_group.find_command(block.name), self.cmd_timeout)
        if result.code == TIMED_OUT:
            raise SSHException("it does not answer", "", block.host.channel.label)
        groups = remote_group.found(result.stdout)
        with self._lock:
            if groups:
                block.base, block.group = next(iter(groups.items()))
                return True
            text = f"on {block.host.channel.label}: nothing of it is there any more"
            block.last = JobStatus(JobState.CANCELLED if block.is_cancelled else JobState.FAILED, text)
        return False

    def _clear(self, block: Block) -> None:
        """Remove the directory of the run that has ended, if it was made for that."""
        directory = os.path.dirname(block.base)
        if os.path.basename(directory).startswith("run-"):
            block.host.channel.execute_wait(f"rm -rf -- {shlex.quote(directory)}", self.cmd_timeout)

    # -- the end

    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        """Ends the jobs' process groups: by SIGTERM, and by SIGKILL what does not heed it.

        False: an id that is not known, or a host that can't be reached now. It is done once that is back, before
        anything else is started there.
        """
        job_ids = _JOB_IDS("job_ids", job_ids)
        with self._lock:
            blocks = [self._blocks[job_id] for job_id in job_ids if job_id in self._blocks]
            for block in blocks:
                block.is_cancelled = block.is_cancelled or block.is_alive
                if block.group is None and block.is_alive:
                    block.last = JobStatus(JobState.CANCELLED, "before it was started")
        live = [block for block in blocks if block.is_alive]
        self._visit({block.host for block in live}, lambda host: self._end_all(host, live))
        with self._lock:
            return [job_id in self._blocks and not self._blocks[job_id].is_alive for job_id in job_ids]

    def _end_all(self, host: Host, live: list[Block]) -> None:
        for block in live:
            if block.host is host:
                self._end(block)

    def _end(self, block: Block) -> bool:
        """End its processes; False if they don't end. Raises ChannelError."""
        assert block.group is not None
        if not block.group and not self._is_found(block):
            return True
        base = block.base or self._base(block.host, block.name)
        result = block.host.channel.execute_wait(remote_group.end_command(block.group, base), self.cmd_timeout)
        if result.code:
            return False
        seen = self._seen(block)
        if seen.is_alive:
            return False
        self._fetch(block)
        with self._lock:
            block.last = self._status(block, seen)
        return True

    def close(self) -> None:
        problems: list[ChannelError] = []

        def leave(host: Host) -> None:
            try:
                if host.block is None or not host.block.is_alive:
                    host.directory.remove()
            except ChannelError as problem:
                problems.append(problem)
            finally:
                host.channel.close()

        with self._lock:
            left = [block for block in self._blocks.values() if block.is_alive]
        self._visit(self._hosts, leave)
        if problems or left:
            names = ", ".join(f"{block.host.channel.label}/{block.name}" for block in left)
            running = f"still running, as far as is known: {names}; " if left else ""
            raise ExecutionProviderException(running + "; ".join(map(str, problems)))

    def preview(self, command: str, tasks_per_node: int, job_name: str) -> Preview:
        text = script_text(shell="/bin/sh", job_name=job_name, worker_init=self.worker_init, body=command)
        return Preview(text, programs=("setsid", "ps", "tail"))

    # -- several hosts at once

    def _visit(self, hosts: Iterable[Host], what: Callable[[Host], None]) -> None:
        """Do something with each, side by side: one that does not answer must not keep the others waiting. What can't
        be reached stays as it was."""
        threads = [
            threading.Thread(
                target=self._visit_one, args=(host, what), name=f"parsl-pool-adhoc-{host.channel.label}", daemon=True
            )
            for host in hosts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visit_one(self, host: Host, what: Callable[[Host], None]) -> None:
        try:
            what(host)
        except (ChannelError, OSError) as problem:
            trouble = problem if isinstance(problem, ChannelError) else ChannelError("", problem, host.channel.label)
            with self._lock:
                is_new, host.trouble = host.trouble is None, trouble
                block = host.block
                if block is not None and block.is_alive:
                    state = JobState.PENDING if block.group is None else JobState.UNKNOWN
                    block.last = JobStatus(state, str(trouble), None, None, self._local(block, ".err"))
            if is_new or isinstance(trouble, _PERMANENT):
                log.warning("host %s can't be used now: %s", host.channel.label, trouble)

    # -- copies

    def __getstate__(self) -> dict[str, Any]:
        left = {"_lock", "_hosts", "_blocks", "_files", "_was_reached"}
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


def _plain(job_name: str) -> str:
    """For a file's name."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "_", job_name)[:80].lstrip(".-") or "job"
