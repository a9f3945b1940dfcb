"""What tasks do with files, on hosts that have nothing of ours but these modules."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def turn(
    inputs: Sequence[os.PathLike[str]] = (), outputs: Sequence[os.PathLike[str]] = ()
) -> list[str]:
    """Write each input backwards into the output at its place; the digests of the inputs."""
    bodies = [Path(each).read_bytes() for each in inputs]
    for output, body in zip(outputs, bodies):
        Path(output).write_bytes(body[::-1])
    return [digest(body) for body in bodies]


def look(there: Mapping[str, Any]) -> tuple[str, str]:
    """The host, and the digest of the file that stands in it somewhere; it takes a moment, so that others get some."""
    time.sleep(0.05)
    return socket.gethostname(), digest(Path(there["a"][0]).read_bytes())


def where(_: object) -> str:
    """The host."""
    time.sleep(0.01)
    return socket.gethostname()


def forget(outputs: Sequence[os.PathLike[str]] = ()) -> None:
    """Write nothing."""


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
