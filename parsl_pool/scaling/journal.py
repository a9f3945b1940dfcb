"""The blocks of a run, written down beside its logs: what a client that was killed has left can be ended by that.

    blocks/journal-LABEL.jsonl     {"event": "provider", ...}, then {"event": "submitting" | "submitted" | "ended", ...}

A line is on the disk before what it tells is relied on: that a job is about to be submitted before the scheduler is
asked, its id before anybody else learns it. A last line that is broken off counts as not written.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from parsl_pool.errors import ParslPoolError, described
from parsl_pool.loggers import careful_logger
from parsl_pool.run_directory import JOBS_LEFT

log = careful_logger("parsl_pool.blocks")

FOLDER = "blocks"
"""In a run's directory: there the scripts of jobs are, too."""
_NAME = re.compile(r"journal-.*\.jsonl")


class Journal:
    """Writes the journal of one executor. Belongs to the thread that keeps its blocks."""

    def __init__(self, directory: str, label: str, provider: Any) -> None:
        plain = re.sub(r"[^\w.-]", "_", label, flags=re.ASCII)
        self.path = os.path.join(directory, FOLDER, f"journal-{plain}.jsonl")
        self._label, self._provider = label, provider
        self._mark = os.path.join(directory, JOBS_LEFT)
        self._live: set[str] = set()
        self._is_begun = self._is_broken = False

    def submitting(self, block: str, name: str) -> None:
        """A job of this name is about to be submitted."""
        if not self._is_begun:
            self._begin()
        self._live.add(block)
        self._write("submitting", block=block, name=name)

    def submitted(self, block: str, job: str) -> None:
        """The provider calls it so."""
        self._write("submitted", block=block, job=job)

    def ended(self, block: str, state: str) -> None:
        """Nothing of it is left."""
        if block in self._live:
            self._live.discard(block)
            self._write("ended", block=block, state=state)

    def close(self) -> None:
        """No more blocks will be."""
        if not self._live:
            with suppress(OSError):
                os.unlink(self._mark)

    def _begin(self) -> None:
        self._is_begun = True
        if not self._provider.ends_with_client:
            try:
                os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as problem:
                self._fail(problem)
        name, data = self._provider.label, _pickled(self._provider)
        self._write("provider", label=self._label, provider=name, pid=os.getpid(), pickle=data)

    def _write(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, "time": time.time(), **facts}) + "\n"
        try:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as problem:
            self._fail(problem)

    def _fail(self, problem: OSError) -> None:
        if not self._is_broken:
            self._is_broken = True
            log.warning("pool %s: its blocks can't be written down in %s: %s", self._label, self.path, problem)


def _pickled(provider: Any) -> str:
    try:
        try:
            data = pickle.dumps(provider)
        except Exception:  # what a user's provider holds may be of __main__: cloudpickle takes that
            import cloudpickle  # rarely needed

            data = cloudpickle.dumps(provider)
    except Exception as problem:  # or a connection that can't be
        log.info("provider %s can't be pickled: %s", provider.label, described(problem))
        return ""
    return base64.b64encode(data).decode("ascii")


class JobRecord(NamedTuple):
    """A block as a journal tells of it."""

    block: str
    name: str  # of its job, or how that begins
    job: str  # "": it was about to be submitted
    state: str  # "": it has not ended, as far as the journal knows
    submitted: float  # seconds since 1970


class JournalRead:
    """What a journal says.

    Attributes:
        path, label: the journal's, and its executor's.
        provider_name: what kind of provider it had.
        jobs: the blocks, the oldest first.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self.path, self.label, self.provider_name, self._pickle = path, "", "", ""
        jobs: dict[str, JobRecord] = {}
        for line in _lines(path):
            event, block = line.get("event"), str(line.get("block", ""))
            if event == "provider":
                self.label, self.provider_name = str(line.get("label")), str(line.get("provider"))
                self._pickle = str(line.get("pickle", ""))
            elif event == "submitting":
                jobs[block] = JobRecord(block, str(line.get("name")), "", "", float(line.get("time", 0.0)))
            elif event == "submitted" and block in jobs:
                jobs[block] = jobs[block]._replace(job=str(line.get("job")))
            elif event == "ended" and block in jobs:
                jobs[block] = jobs[block]._replace(state=str(line.get("state")))
        self.jobs = list(jobs.values())

    @property
    def left(self) -> list[JobRecord]:
        """Those that have not ended, as far as it knows."""
        return [job for job in self.jobs if not job.state]

    def provider(self) -> Any:
        """A copy of the provider. Opening it runs its code, so the file must be one's own.

        Raises:
            ParslPoolError: it can't be had.
        """
        state = os.stat(self.path)
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise ParslPoolError(f"{self.path} is not yours alone: others may have written what is in it")
        if not self._pickle:
            raise ParslPoolError(f"{self.path} has no copy of its provider: cancel the jobs by hand")
        try:
            provider = pickle.loads(base64.b64decode(self._pickle))
            provider.script_dir = os.path.dirname(os.path.abspath(self.path))  # it may have been moved
            return provider
        except Exception as problem:  # whatever its classes raise; the user sees it
            raise ParslPoolError(f"the provider in {self.path} can't be opened: {described(problem)}") from problem

    def ended(self, block: str, state: str) -> None:
        """Write down that nothing of it is left."""
        line = json.dumps({"event": "ended", "time": time.time(), "block": block, "state": state}) + "\n"
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"\n{line}")  # the last one may have been broken off


def _lines(path: str) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record


def journals_in(directory: str) -> list[JournalRead]:
    """Those in a run's directory. Raises OSError."""
    folder = os.path.join(directory, FOLDER)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [JournalRead(os.path.join(folder, name)) for name in names if _NAME.fullmatch(name)]
