"""How files are brought from and to other machines: the options of all protocols."""

from __future__ import annotations

from dataclasses import dataclass

from parsl_pool import checks

_TIMES = checks.whole(least=0, most=1000)
_FILE = checks.optional(checks.path)
_PAUSE = checks.number(least=0, most=86_400, kind="a number of seconds")


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How a file is fetched or sent.

    Args:
        connect_timeout: seconds that it may take to connect.
        silence: seconds in which next to nothing comes; then the connection is given up.
        retries: how often a transfer is tried again after what may pass: a cut, a time-out, a server in trouble.
        pause: seconds before the first of these tries; twice as long before each further one.
        longest_pause: seconds that are waited at most. A server that asks for more is not waited for.
        redirects: how often a web server may send us on.
        ca_file: certificates (PEM) to trust, instead of the system's.
        ssh_config: another file than ~/.ssh/config, for sftp and rsync.
    """

    connect_timeout: float = 30.0
    silence: float = 60.0
    retries: int = 4
    pause: float = 0.5
    longest_pause: float = 60.0
    redirects: int = 10
    ca_file: str | None = None
    ssh_config: str | None = None

    def __post_init__(self) -> None:
        rules = {
            "connect_timeout": checks.seconds, "silence": checks.seconds, "retries": _TIMES, "pause": _PAUSE,
            "longest_pause": _PAUSE, "redirects": _TIMES, "ca_file": _FILE, "ssh_config": _FILE,
        }  # fmt: skip
        for name, rule in rules.items():
            object.__setattr__(self, name, rule(name, getattr(self, name)))  # type: ignore[operator]  # each a rule


USUAL = Transfer()
