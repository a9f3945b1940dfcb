"""Which versions of Python and of this package go together: the same ones, on both sides."""

from __future__ import annotations

from parsl_pool._version import __version__
from parsl_pool.interchange import wire
from parsl_pool.interchange.launch import python_version

_WHY = {
    "Python": "functions that are sent by value need the same Python",
    "parsl_pool": "its processes have to understand each other",
}
_REMEDY = (
    "Use one environment for both, activated where the manager starts (worker_init), or install the same versions there"
)


def mismatch(record: wire.Register) -> str:
    """Why a manager of these versions can't join; "" if it can."""
    theirs = {"Python": record.python, "parsl_pool": record.version}
    ours = {"Python": python_version(), "parsl_pool": __version__}
    if record.protocol != wire.PROTOCOL:  # which may differ between two copies of what is being written
        theirs["parsl_pool"] += f" (protocol {record.protocol})"
        ours["parsl_pool"] += f" (protocol {wire.PROTOCOL})"
    different = [part for part in _WHY if theirs[part] != ours[part]]
    if not different:
        return ""
    return (
        f"version mismatch: it runs {_named(theirs)}, the program {_named(ours)}, and {_WHY[different[0]]}. {_REMEDY}"
    )


def _named(versions: dict[str, str]) -> str:
    return " with ".join(f"{part} {version}" for part, version in versions.items())
