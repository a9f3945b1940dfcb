"""What a process says before it can say anything in an orderly way, and when it ends for an error."""

from __future__ import annotations

import os
import sys
from typing import Any

from parsl_pool.interchange import shortage


class Words:
    """Where our last words go: to the client's stderr, and to a file for the client's error.

    At first that file is our stderr: an interpreter that cannot start us says why, and so does libzmq when it ends
    the process because it got no thread.
    """

    def __init__(self, file: int, stderr: int) -> None:
        self._file, self._stderr = file, stderr
        self._is_taken = False
        os.set_inheritable(file, False)
        sys.excepthook = self._keep

    def take_stderr(self) -> None:
        """Have the client's stderr as ours."""
        if self._is_taken:
            return
        self._is_taken = True
        said = os.pread(self._file, os.fstat(self._file).st_size, 0)
        os.ftruncate(self._file, 0)
        os.dup2(self._stderr if self._stderr >= 0 else os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), 2)
        if self._stderr >= 0:
            os.close(self._stderr)
        try:
            while said:  # such as `python -v` says
                said = said[os.write(2, said) :]
        except OSError:
            return  # nobody reads it

    def close(self) -> None:
        """They are another process's."""
        sys.excepthook = sys.__excepthook__
        os.close(self._file)

    def _keep(self, kind: type[BaseException], problem: BaseException, trace: Any) -> None:
        self.take_stderr()
        os.pwrite(self._file, f"{kind.__name__}: {shortage.describe(problem)}".encode(errors="replace"), 0)
        sys.__excepthook__(kind, problem, trace)
