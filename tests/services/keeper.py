"""The outside of a service: starts it in name spaces of its own, talks with it, and ends it.

    this process ──pipes──> unshare ──> inside.py, the first process of a PID name space ──> daemons, nodes, their jobs

The kernel ends all that is in a PID name space with its first process, and that one ends when its stdin does: so a
session of tests that was killed leaves no daemon, nor what a daemon has started. The service descends from nobody
here, and does not carry the session's token: what tests/leaks.py finds are processes of jobs, which do.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import leaks

ROOT = Path(__file__).parents[2]
START_S = 90.0  # until its first answer: a database has to be made, and two cores may be busy with other things

_UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc", "--mount"]


def missing(programs: Sequence[str], packages: str) -> str:
    """What this machine lacks for a service; "" if it can be started."""
    if os.geteuid() != 0:
        return "not root"
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/lib/gridengine"])
    absent = [program for program in ("unshare", "setsid", *programs) if shutil.which(program, path=path) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: apt-get install {packages})"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True)
    return f"no name spaces: {tried.stderr.strip()}" if tried.returncode else ""


class Service:
    """A service that runs, until `stop`.

    Args:
        module: the program of its inside.
        options: more of its arguments, after the directory for its configuration, state and logs.
    """

    def __init__(self, module: str, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{module.rpartition('.')[2]}-"))
        inner_in, self._to = os.pipe()
        self._from, inner_out = os.pipe()
        environment = {name: value for name, value in os.environ.items() if name != leaks.TOKEN_VARIABLE}
        try:
            with open(self.folder / "inside.log", "wb") as log:
                subprocess.run(
                    ["setsid", "--fork", *_UNSHARE, sys.executable, "-m", module, str(self.folder), *options],
                    stdin=inner_in, stdout=inner_out, stderr=log, env=environment, cwd=ROOT, check=True,
                )  # fmt: skip
        finally:
            os.close(inner_in)
            os.close(inner_out)
        self._answers = os.fdopen(self._from)
        try:
            self.environment: dict[str, str] = self._answer()
        except BaseException:
            self.stop()
            raise

    def ask(self, *words: str) -> Any:
        """Have it do something; what it gave.

        Raises:
            RuntimeError: it could not.
        """
        os.write(self._to, json.dumps(words).encode() + b"\n")
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"the service has ended: {self.logs()}")
        kind, answer = json.loads(line)
        if kind != "ok":
            raise RuntimeError(f"{answer}\n{self.logs()}")
        return answer

    def logs(self) -> str:
        """The ends of all logs."""
        texts = {path: path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.rglob("*.log"))}
        return "\n".join(f"--- {path}\n{text}" for path, text in texts.items() if text.strip())

    def stop(self) -> None:
        """End it, and all that it has started. Nothing of it is left when this returns."""
        os.close(self._to)
        self._answers.read()  # its end: the last process that could write there is gone
        self._answers.close()
        shutil.rmtree(self.folder, ignore_errors=True)
