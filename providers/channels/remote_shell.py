"""A command as a text for the shell of another machine, and what it answers.

    script(...)  --standard input-->  /bin/sh there  --standard output, standard error-->  two `Answer`s

The text goes through standard input: its length has no limit, no login shell (csh, fish) has to understand it, and
nobody on that machine can read it in the list of processes. What a login shell's start-up files print comes before
the first mark, and is dropped. The last mark says that nothing more comes: what the command has left in the background
may hold the streams open for ever.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

SHELL = "/bin/sh -c 'eval \"$(cat)\"'"
"""What an SSH server is asked to run. Every shell that people log in with takes it for the same."""

_NOISE_BYTES = 1 << 20  # of what start-up files print, the end is kept: the mark is there

_SCRIPT = """\
parsl_pool_group=$(ps -o pgid= -p $$ 2>/dev/null || echo $$)
echo "{mark} "$parsl_pool_group
echo "{mark} " >&2
{envs}{shell} <<'{mark}'
{command}
{mark}
parsl_pool_code=$?
printf '\\n%s %s\\n' {mark} "$parsl_pool_code"
printf '\\n%s \\n' {mark} >&2
"""

# Without `--`, which dash's own kill does not know.
_END_GROUP = """\
kill -TERM -{group} || exit 0
for _ in 1 2 3 4 5; do sleep 0.2; kill -0 -{group} || exit 0; done
kill -KILL -{group}
"""


def script(command: str, envs: Mapping[str, str], mark: str) -> str:
    """What the shell there is to read: its process group, the command, its exit code."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in envs.items())
    return _SCRIPT.format(mark=mark, envs=exports, shell=SHELL, command=command)


def end_group(group: int) -> str:
    """A command that ends a process group: gently, then by force."""
    return f"( {_END_GROUP.format(group=group)}) 2>/dev/null"


class Answer:
    """One stream of a command, as it comes."""

    def __init__(self, mark: str, limit_bytes: int) -> None:
        self._mark, self._limit = mark.encode() + b" ", limit_bytes
        self._pending, self._body = bytearray(), bytearray()
        self.first: str | None = None  # what the first mark's line says
        self.last: str | None = None  # what the last one's does; None: more may come

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._pending += data
        if self.first is None:
            self.first = self._line(self._mark)
            if self.first is None:
                del self._pending[:-_NOISE_BYTES]
                return
        if self.last is None:
            end = self._pending.find(b"\n" + self._mark)
            if end < 0:
                self._keep(len(self._pending) - len(self._mark) - 1)
            elif b"\n" in self._pending[end + 1 :]:
                self._keep(end)
                self.last = self._line(self._mark)

    def text(self) -> str:
        """What the command itself has written."""
        rest = b"" if self.last is not None else bytes(self._pending)  # it never came to its end
        return (self._body + rest)[: self._limit].decode(errors="replace")

    def _keep(self, count: int) -> None:
        if count > 0:
            self._body += self._pending[: min(count, max(0, self._limit - len(self._body)))]
            del self._pending[:count]

    def _line(self, mark: bytes) -> str | None:
        """The rest of the line that begins with the mark; it and all before it are dropped."""
        start = self._pending.find(mark)
        end = self._pending.find(b"\n", start)
        if start < 0 or end < 0:
            return None
        text = self._pending[start + len(mark) : end].decode(errors="replace").strip()
        del self._pending[: end + 1]
        return text
