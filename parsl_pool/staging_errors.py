"""What goes wrong when files are brought from one place to another. Import these from `parsl_pool.errors`.

They stand apart because a worker seldom needs them, and loads as little as it can.
"""

from __future__ import annotations

from parsl_pool.errors import ConfigurationError, ParslPoolError


class TransferFailed(ParslPoolError):
    """A file could not be fetched from its URL, or sent there; no half file is left under the final name.

    Attributes:
        url: the URL, without a password.
        reason: what was attempted, and what went wrong, with the server's own words.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class GlobusTransferFailed(TransferFailed):
    """Globus could not bring a file.

    Attributes:
        nice_status: the fault, by Globus' name, such as "PERMISSION_DENIED"; "" if it has not told one.
        fatal_error: what ended the transfer, in Globus' words; "" if it has not told that.
        task_id: the transfer, by Globus' number; "" if it was never begun.
    """

    def __init__(
        self, url: str, reason: str, nice_status: str = "", fatal_error: str = "", task_id: str = ""
    ) -> None:
        super().__init__(url, reason)
        self.args = (url, reason, nice_status, fatal_error, task_id)  # what rebuilds it after pickling
        self.nice_status, self.fatal_error, self.task_id = nice_status, fatal_error, task_id


class StagingError(ConfigurationError):
    """A file of a call can't be brought to where it is needed, or from there: nobody does that, or another task writes
    it. Raised by the call."""
