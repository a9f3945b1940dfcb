"""A directory of a run's own on another machine: its scripts, what blocks need, what they write."""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import shlex
import threading

from parsl_pool.errors import BadScriptPath, ChannelError
from parsl_pool.providers.channels.base import Channel

_PLACE = "~/.parsl_pool"
_PLAIN = re.compile(r"/[\w./+,@=-]+", re.ASCII)
_COMMAND_S = 60.0


class RemoteDirectory:
    """Below the channel's script_dir, or ~/.parsl_pool: made when it is first needed, only the user may enter it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._lock = threading.Lock()  # guards _path
        self._path = ""
        self._name = f"run-{secrets.token_hex(4)}"

    def path(self) -> str:
        """Where it is.

        Raises:
            ChannelError: it is not there; BadScriptPath: its name would have to be quoted, which not all that it is
                handed to can do.
        """
        with self._lock:
            path = self._path
        if path:
            return path
        path = posixpath.join(self.channel.abspath(self.channel.script_dir or _PLACE), self._name)
        if not _PLAIN.fullmatch(path):
            raise BadScriptPath(
                f"the directory {path!r} has characters that not every scheduler takes; give the channel another "
                "script_dir=", "", self.channel.label,
            )  # fmt: skip
        self.channel.makedirs(path, 0o700, exist_ok=True)
        with self._lock:
            self._path = path
        return path

    def push(self, source: str | os.PathLike[str]) -> str:
        """Copies a file into it; gives its path there. Raises ChannelError."""
        return self.channel.push_file(source, self.path())

    def fetch(self, name: str, target: str, limit_bytes: int) -> None:
        """Copies the end of a file in it to a path here; none if there is no such file there. Raises ChannelError."""
        source = shlex.quote(posixpath.join(self.path(), name))
        result = self.channel.execute_wait(f"[ -f {source} ] && tail -c {limit_bytes} {source}", _COMMAND_S)
        if result.code == 0:
            write(target, result.stdout)

    def remove(self) -> None:
        """Removes it with all that is in it, if it was made. Raises ChannelError."""
        with self._lock:
            path, self._path = self._path, ""
        if not path:
            return
        result = self.channel.execute_wait(f"rm -rf -- {shlex.quote(path)}", _COMMAND_S)
        if result.code:
            raise ChannelError(f"cannot remove {path}", result.stderr.strip(), self.channel.label)


def write(path: str, text: str) -> None:
    """What came from there, for people to read here. A disk that is full here must not end a block there."""
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:  # whoever misses it looks there
        return
