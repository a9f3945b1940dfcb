"""A class that pickle cannot do, and the program's way to do it nevertheless: as a user's module would say it."""

import copyreg
import threading
from pickle import PickleBuffer
from typing import Any


class Grid:
    """Cells behind a lock, which can't be pickled."""

    def __init__(self, cells: Any) -> None:
        self.cells = bytes(cells)
        self.lock = threading.Lock()


def register() -> None:
    """Teach pickle how a Grid travels: its cells out of band, and a new lock at the other end."""
    copyreg.pickle(Grid, lambda grid: (Grid, (PickleBuffer(grid.cells),)))


def unregister() -> None:
    """Forget that."""
    copyreg.dispatch_table.pop(Grid, None)


def doubled(grid: Grid) -> Grid:
    with grid.lock:
        return Grid(2 * grid.cells)
