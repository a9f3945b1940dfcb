"""A script on another machine as a process group that stands on its own: the commands that start it, look, and end it.

    setsid --> guard (sh, leader of the session) --> the script and what it starts

The guard leaves the script's exit code in a file, then ends what the script has left behind, itself included. By its
arguments it can be told from a stranger's process that got the same number.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

_TAIL_BYTES = 4096

# As in `process_group`: it handles SIGTERM by doing nothing, so that the script ends first, in its own time.
_GUARD = """\
trap : HUP INT TERM
"$1" "$2.sh"
code=$?
echo "$code" >"$2.exit.part" && mv "$2.exit.part" "$2.exit"
kill -KILL 0
"""
_NAME = "parsl_pool_guard"

_START = """\
shell=$(command -v bash || echo /bin/sh)
command -v setsid >/dev/null || { echo "there is no setsid" >&2; exit 127; }
setsid /bin/sh -c @guard@ @name@ "$shell" @base@ </dev/null >@base@.out 2>@base@.err &
echo $!
"""

_IS_THERE = "is_there() { ps -ww -o args= -p @group@ | grep -qF -- @base@; }\n"

_LOOK = _IS_THERE + """\
state=gone
[ -s @base@.exit ] || ! is_there || state=alive
[ ! -s @base@.exit ] || state=$(cat @base@.exit)
echo "$state"
tail -c @tail@ @base@.err 2>/dev/null
exit 0
"""

_END = _IS_THERE + """\
is_there || exit 0
kill -TERM -@group@
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do is_there || exit 0; sleep 0.2; done
kill -KILL -@group@
for _ in 1 2 3 4 5; do is_there || exit 0; sleep 0.2; done
exit 1
"""


class Seen(NamedTuple):
    """What a look has shown. Not alive, and no exit code: it was killed from outside, or the machine was."""

    is_alive: bool
    exit_code: int | None
    stderr: str  # its end


def start_command(base: str) -> str:
    """Starts `base`.sh; prints the number of its process group."""
    return _filled(_START, base, 0)


def look_command(group: int, base: str) -> str:
    """Prints what `seen` reads."""
    return _filled(_LOOK, base, group)


def seen(stdout: str) -> Seen:
    """What a look has shown."""
    state, _, stderr = stdout.partition("\n")
    return Seen(state == "alive", int(state) if state.isdigit() else None, stderr)


def find_command(name: str) -> str:
    """Prints what `found` reads: of guards whose script's name begins so."""
    return f"ps -ww -eo pid=,args= | grep -F {_NAME} | grep -F -- {shlex.quote('/' + name)}"


def found(stdout: str) -> dict[str, int]:
    """Process groups by their `base`."""
    groups = {}
    for line in stdout.splitlines():
        number, _, arguments = line.strip().partition(" ")
        _, is_guard, rest = arguments.partition(f"{_NAME} ")
        base = rest.partition(" ")[2]
        if is_guard and number.isdigit() and "grep" not in rest and "/" in base:
            groups[base] = int(number)
    return groups


def end_command(group: int, base: str) -> str:
    """Ends it: by SIGTERM, and after five seconds by SIGKILL. Fails if even that does not."""
    return _filled(_END, base, group)


def _filled(text: str, base: str, group: int) -> str:
    values = {"guard": shlex.quote(_GUARD), "name": _NAME, "base": shlex.quote(base), "group": str(group),
              "tail": str(_TAIL_BYTES)}  # fmt: skip
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
