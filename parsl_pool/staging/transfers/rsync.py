"""Files by rsync: of its own servers (rsync://), and of whoever lets us in by ssh (user@host:path).

rsync verifies a checksum of each file, and a copy that was cut goes on where it was. It must be installed on both
sides. Passwords are handed to it by its environment, and those of ssh are ssh's own matter: nobody is asked.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parsl_pool.errors import ConfigurationError, described
from parsl_pool.staging.transfers.errand import Passing, Refused, fetching, sending
from parsl_pool.staging.transfers.local_files import Landing, Source
from parsl_pool.staging.transfers.options import USUAL, Transfer
from parsl_pool.staging.transfers.urls import Url, parsed, shown

# rsync(1), EXIT VALUES: what may pass. 255 is ssh's own.
_PASSING = {10, 12, 20, 30, 35, 255}
_PATTERN = re.compile(r"[*?\[]")
_FOR_GOOD = re.compile(r"Permission denied|Host key verification failed|Could not resolve|auth failed", re.IGNORECASE)


def fetch(url: str, target: Path, options: Transfer = USUAL) -> None:
    """Bring the file of a URL, or of HOST:PATH, to a path. Raises TransferFailed, ConfigurationError."""
    end = _End(url, options)
    errand = fetching(url, target, options, end.place)
    with Landing(target, errand, is_compared=True) as landing:
        # Into the file that is there already, and so another try goes on with what has come.
        command = [*end.command, "--inplace", "--copy-links", "--", end.name_for_reading, os.path.abspath(landing.part)]
        errand.persist(lambda: _run(command, end.environment, landing.descriptor))
        landing.settle()


def send(source: Path, url: str, options: Transfer = USUAL) -> None:
    """Send a file to a URL, or to HOST:PATH. The rsync there writes it under another name until it is whole.

    Raises:
        TransferFailed: it can't be sent.
        ConfigurationError: that is no place for rsync.
    """
    end = _End(url, options)
    errand = sending(source, url, options, end.place)
    with Source(source, errand) as file, end.for_writing(os.path.abspath(source)) as names:
        command = [*end.command, "--copy-links", "--", *names]
        errand.persist(lambda: _run(command, end.environment))
        file.check()


class _End:
    """The other end: how rsync is told of it."""

    def __init__(self, url: str, options: Transfer) -> None:
        self.url = url
        silence_s, connect_s = math.ceil(options.silence), math.ceil(options.connect_timeout)
        # Sizes and dates that are equal are no proof: each file is compared.
        self.command = ["rsync", "--ignore-times", "--times", f"--timeout={silence_s}"]
        self.environment = dict(os.environ)
        self.place: Url | None = None
        if url.startswith("rsync:"):
            self.place = place = parsed(url, "rsync")
            if "/" not in place.name.strip("/"):
                raise ConfigurationError(f"{shown(url)} must be rsync://HOST/MODULE/PATH")
            self.command += ["--no-motd", f"--contimeout={connect_s}"]
            user = f"{place.user}@" if place.user else ""
            # The daemon would take a name that begins with a hyphen for an option.
            module, _, path = place.name.strip("/").partition("/")
            self.name = f"rsync://{user}{place.host_port}/{module}/./{path}"
            if place.password is not None:
                self.environment["RSYNC_PASSWORD"] = place.password
        else:
            host, colon, path = url.partition(":")
            if not colon or not host or not path or host.startswith("-") or "/" in host:
                raise ConfigurationError(f"{shown(url)} must be rsync://HOST/MODULE/PATH, or HOST:PATH")
            self.name = url
            self.command += ["--protect-args", *self._shell(options, connect_s)]

    def _shell(self, options: Transfer, connect_s: int) -> list[str]:
        if "RSYNC_RSH" in self.environment and options.ssh_config is None:
            return []
        config = ["-F", options.ssh_config] if options.ssh_config is not None else []
        patience = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={connect_s}", "-o", "ServerAliveInterval=15"]
        return ["-e", shlex.join(["ssh", *config, *patience])]

    @contextmanager
    def for_writing(self, source: str) -> Iterator[tuple[str, str]]:
        """What is sent, and its place there: the other side would write over whatever looks like that, if it has marks.

        In a directory it gives the file the name that it has here; and makes the directory, if that is missing.

        Raises:
            ConfigurationError: the directory's has such marks.
        """
        above, _, name = self.name.rpartition("/")
        if not _PATTERN.search(self.name):
            yield source, self.name
            return
        if not above or _PATTERN.search(above):
            raise ConfigurationError(
                f"{shown(self.url)} can't be written by rsync: it takes *, ? and [ in names of folders for patterns"
            )
        import tempfile  # late: few names have them

        with tempfile.TemporaryDirectory(prefix="parsl-pool-") as folder:
            os.symlink(source, os.path.join(folder, name))
            yield os.path.join(folder, name), f"{above}/."

    @property
    def name_for_reading(self) -> str:
        """The other side takes *, ? and [ for patterns; and only then a backslash for a mark before them."""
        if not _PATTERN.search(self.name):
            return self.name
        return re.sub(r"([*?\[\\])", r"\\\1", self.name)


def _run(command: list[str], environment: dict[str, str], *kept: int) -> None:
    """Run rsync, to its end. Raises Passing, Refused.

    Args:
        kept: descriptors that it has as long as it runs, also when this process is killed.
    """
    try:
        # In a session of its own it has no terminal at which to ask for a password.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
            start_new_session=True, pass_fds=kept,
        )  # fmt: skip
    except OSError as problem:
        raise Refused(f"rsync can't be started: {described(problem)}; is it installed?") from None
    try:
        _, errors = process.communicate()
    except BaseException:  # passed on
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode == 0:
        return
    said = "; ".join(line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip())
    text = f"rsync ended with exit code {process.returncode}: {said or 'it said nothing'}"
    raise Passing(text) if process.returncode in _PASSING and not _FOR_GOOD.search(said) else Refused(text)
