"""`NoOpFileStaging`: files of a file system that the tasks see as well as this process."""

from __future__ import annotations

from parsl_pool.files import File
from parsl_pool.staging.base import Staging


class NoOpFileStaging(Staging):
    """Leaves `file:` files where they are."""

    moves_nothing = True

    def can_stage_in(self, file: File) -> bool:
        """True for paths."""
        return file.scheme == "file"

    def can_stage_out(self, file: File) -> bool:
        """True for paths."""
        return file.scheme == "file"
