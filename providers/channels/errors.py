"""What goes wrong with channels."""

from __future__ import annotations

from parsl_pool.errors import ParslPoolError, described


class ChannelError(ParslPoolError):
    """Base of channels' errors.

    Attributes:
        reason: what was tried, in words.
        e: what went wrong, or None.
        hostname: where.
    """

    def __init__(self, reason: str, e: BaseException | str | None = None, hostname: str = "") -> None:
        super().__init__(reason, e, hostname)
        self.reason, self.e, self.hostname = reason, e, hostname

    def __str__(self) -> str:
        where = f" ({self.hostname})" if self.hostname else ""
        why = described(self.e) if isinstance(self.e, BaseException) else self.e
        return f"{self.reason}{where}" + (f": {why}" if why else "")


class _Because(ChannelError):
    """One whose reason is its class's."""

    what = ""

    def __init__(self, e: BaseException | str | None = None, hostname: str = "", about: str = "") -> None:
        super().__init__(f"{self.what}{about and f': {about}'}", e, hostname)
        self.args = (e, hostname, about)


class AuthException(_Because):
    """The host did not let this user in."""

    what = "authentication failed"


class SSHException(_Because):
    """The connection could not be made, or broke."""

    what = "no SSH connection"


class BadHostKeyException(_Because):
    """The host's key is not known, or not the one that is known."""

    what = "the host's key can't be trusted"


class BadScriptPath(_Because):
    """A directory for scripts could not be made."""

    what = "the directory can't be made"


class BadPermsScriptPath(BadScriptPath):
    """A directory for scripts may not be used."""

    what = "no permission for the directory"


class FileExists(_Because, FileExistsError):
    """A file would be written over."""

    what = "the file is there already"


class FileCopyException(_Because):
    """A file did not arrive."""

    what = "the file could not be copied"
