"""The login to Globus, as it is kept: a file that nobody else may read."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, field

from parsl_pool.errors import StagingError

COMMAND = "parsl-pool globus-auth"
_FORMAT = 1


@dataclass(frozen=True)
class Login:
    """What lets us in.

    Attributes:
        client_id: the application that the user has registered with Globus.
        scopes: what it may do.
        refresh_token: gets new access tokens.
        access_token, expires_at: the present one, and until when it is good, in seconds since 1970.
    """

    client_id: str
    scopes: tuple[str, ...]
    refresh_token: str = field(repr=False)
    access_token: str = field(repr=False)
    expires_at: int


def path() -> str:
    """Where it is kept."""
    return os.path.join(os.path.expanduser("~"), ".parsl_pool", "globus", "login.json")


def load() -> Login | None:
    """The login; None: there is none.

    Raises:
        StagingError: there is a file that can't be used; the text says what to do.
    """
    where = path()
    try:
        file = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StagingError(f"the login to Globus can't be read: {problem}: remove it, and run '{COMMAND}'") from problem
    with open(file, "rb") as opened:
        about = os.fstat(opened.fileno())
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise StagingError(
                f"the login to Globus is not used: {where} must be yours, and readable by nobody else "
                f"(mode 600): others may know it by now, so remove it, and run '{COMMAND}'"
            )
        try:
            return _from(json.loads(opened.read()))
        except (ValueError, TypeError, KeyError):  # without its words: they may have the contents
            raise StagingError(
                f"the login to Globus can't be used: {where} is damaged: remove it, and run '{COMMAND}'"
            ) from None


def _from(stored: dict[str, object]) -> Login:
    if stored.pop("format") != _FORMAT:
        raise ValueError
    scopes, expires_at = stored.pop("scopes"), stored.pop("expires_at")
    if not isinstance(scopes, list) or not isinstance(expires_at, int) or isinstance(expires_at, bool):
        raise TypeError
    texts = {name: value for name, value in stored.items() if isinstance(value, str) and value}
    return Login(scopes=tuple(map(str, scopes)), expires_at=expires_at, **{name: texts[name] for name in _TEXTS})


_TEXTS = ("client_id", "refresh_token", "access_token")


def save(login: Login) -> None:
    """Keep it: whoever reads the file has the old one, or this one. Raises OSError."""
    where = path()
    folder = os.path.dirname(where)
    os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
    os.makedirs(folder, 0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    part = f"{where}.{os.getpid()}.{os.urandom(4).hex()}"
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(file, "w", encoding="utf-8") as opened:
            json.dump({"format": _FORMAT, **asdict(login)}, opened)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(part, where)
    except BaseException:  # passed on
        os.unlink(part)
        raise
