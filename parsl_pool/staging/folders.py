"""Folders for files that are staged: this user's alone."""

from __future__ import annotations

import errno
import os


def made(folder: str) -> None:
    """Make a folder, and those above it that are missing. Raises OSError, which names it."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if parent and parent != folder:
        made(parent)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
