"""What goes wrong with providers, launchers and channels. Import these from `parsl_pool.errors`.

They stand apart because a worker never needs them, and loads as little as it can.
"""

from __future__ import annotations

from parsl_pool.errors import ParslPoolError, bounded, described, shown


class ExecutionProviderException(ParslPoolError):
    """Base of providers' errors."""


class ScaleOutFailed(ExecutionProviderException):
    """A provider could not start a block."""

    def __init__(self, provider: object, reason: str) -> None:
        label = getattr(provider, "label", provider)
        super().__init__(label, reason)
        self.provider, self.reason = label, reason

    def __str__(self) -> str:
        return f"provider {self.provider} could not start a block: {self.reason}"


class SubmitException(ExecutionProviderException):
    """A scheduler's submit command failed, or has not told of a job.

    Attributes:
        job_name, command, script_path: what was submitted, and how. The script is kept.
        exit_code, stdout, stderr: what the command did; no exit code: it was ended, since it took too long.
        reason: what is known beside that.
    """

    def __init__(
        self,
        job_name: str,
        command: str,
        exit_code: int | None = None,
        stdout: str = "",
        stderr: str = "",
        script_path: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(job_name, command, exit_code, stdout, stderr, script_path, reason)
        self.job_name, self.command, self.script_path = job_name, command, script_path
        self.exit_code, self.stdout, self.stderr = exit_code, stdout, stderr
        self.reason = reason

    def __str__(self) -> str:
        code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
        said = "; ".join(
            f"its {name}: {bounded(text.strip(), 4000)}"
            for name, text in (("stderr", self.stderr), ("stdout", self.stdout))
            if text.strip()
        )
        what = ": ".join(filter(None, [self.reason, said])) or "it said nothing"
        script = f"; the script: {self.script_path}" if self.script_path else ""
        return f"could not submit {self.job_name} by {self.command!r}{code}: {what}{script}"


class SchedulerMissingArgs(ExecutionProviderException):
    """A provider's directives need a value that is not there."""

    def __init__(self, missing: str, label: str = "") -> None:
        super().__init__(missing, label)
        self.missing, self.label = missing, label

    def __str__(self) -> str:
        return (
            f"the directives of provider {self.label or 'of yours'} need {self.missing!r}, and there is no such value: "
            "give it as an option, or take it out of `directives`"
        )


class ScriptPathError(ExecutionProviderException):
    """A submit script could not be written."""

    def __init__(self, script_path: str, reason: str) -> None:
        super().__init__(script_path, reason)
        self.script_path, self.reason = script_path, reason

    def __str__(self) -> str:
        return f"cannot write the submit script {self.script_path}: {self.reason}"


class BadLauncher(ExecutionProviderException, TypeError):
    """What was given as a launcher is none."""

    def __init__(self, launcher: object, reason: str = "") -> None:
        text = launcher if isinstance(launcher, str) else shown(launcher)
        super().__init__(text, reason)
        self.launcher, self.reason = text, reason

    def __str__(self) -> str:
        return f"{self.launcher} is no launcher" + (f": {self.reason}" if self.reason else "")


# ---- channels


class ChannelError(ExecutionProviderException):
    """Base of what goes wrong on the way to another machine.

    Attributes:
        reason: what could not be done, and what to do about it.
        e: the error below it, as text; the error itself is the `__cause__`, as far as it travels.
        hostname: which machine it was about.
    """

    def __init__(self, reason: str, e: BaseException | str = "", hostname: str = "") -> None:
        text = e if isinstance(e, str) else described(e)
        super().__init__(reason, text, hostname)
        self.reason, self.e, self.hostname = reason, text, hostname

    def __str__(self) -> str:
        where = f"{self.hostname}: " if self.hostname else ""
        return f"{where}{self.reason}" + (f" ({self.e})" if self.e else "")


class AuthException(ChannelError):
    """A machine does not let us in; the text says what was tried."""


class SSHException(ChannelError):
    """There is no connection to a machine, or it was cut; nobody knows what became of a command under way."""


class BadHostKeyException(ChannelError):
    """A machine's key is not known, or not the one that is known; the text says how to accept it."""


class BadScriptPath(ChannelError):
    """A directory for scripts or files is not there, and can't be made."""


class BadPermsScriptPath(ChannelError):
    """A directory or file may not be used."""


class FileExists(ChannelError):
    """A file or directory is there already, and is not written over."""


class FileCopyException(ChannelError):
    """A file could not be copied whole; no half file is left."""
