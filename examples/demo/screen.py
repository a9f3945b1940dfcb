"""The terminal: one line that moves, or, where there is none, a line now and then."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from time import monotonic

_EVERY_S = 0.1
_WIDTH = 30


class Screen:
    """Shows how far a run is. Events stay, the line below them moves."""

    def __init__(self) -> None:
        self._moves = sys.stdout.isatty()
        self._shown = 0.0
        self._quarter = 0
        self._began = monotonic()

    def progress(self, done: int, total: int, workers: Iterable[int]) -> None:
        """So many tasks are done, and these processes work."""
        now = monotonic()
        if self._moves:
            if now - self._shown >= _EVERY_S or done == total:
                self._shown = now
                self._write(f"\r{self._line(done, total, workers)}\x1b[K")
        elif done * 4 // max(1, total) > self._quarter:
            self._quarter = done * 4 // total
            self._write(f"{self._line(done, total, workers)}\n")

    def _line(self, done: int, total: int, workers: Iterable[int]) -> str:
        filled = _WIDTH * done // max(1, total)
        rate = done / max(0.001, monotonic() - self._began)
        text = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {done:>5}/{total} tasks  {rate:5.0f}/s  workers"
        for pid in workers:
            text += f" {pid}"
        return text[: shutil.get_terminal_size().columns - 1] if self._moves else text

    def event(self, text: str) -> None:
        """Something happened."""
        self._write(f"\r{text}\x1b[K\n" if self._moves else f"{text}\n")

    def end(self) -> None:
        """Leave the line as it is, and go on below it."""
        if self._moves:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
