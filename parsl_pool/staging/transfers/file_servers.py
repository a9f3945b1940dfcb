"""What FTP and SFTP have in common: servers that know files by paths, have sessions, and rename what is whole."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from parsl_pool.staging.transfers.errand import fetching, sending
from parsl_pool.staging.transfers.local_files import Landing, Source
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.urls import Url


class Download:
    """One file on its way here, over several tries.

    Attributes:
        is_sure: that no other version of the file looks like this one.
    """

    def __init__(self, landing: Landing, place: Url, path: str, options: Transfer) -> None:
        self._landing, self._place, self._path, self._options = landing, place, path, options
        self.is_sure = False

    def go_on(self) -> None:
        """Get what is missing. Raises Passing, Refused; what has come by then stays, if it is of use."""
        raise NotImplementedError


class FileServers(NamedTuple):
    """A kind of them.

    Attributes:
        parts: a URL's parts, and the path as these servers know it. Raises ConfigurationError.
        download: of one file.
        put: sends a file to the first path, and renames it to the second one. Raises Passing, Refused.
    """

    parts: Callable[[str], tuple[Url, str]]
    download: type[Download]
    put: Callable[[Url, Transfer, Source, str, str], None]

    def fetch(self, url: str, target: Path, options: Transfer) -> None:
        """Bring the file of a URL to a path. Raises TransferFailed, ConfigurationError."""
        place, path = self.parts(url)
        errand = fetching(url, target, options, place)
        with Landing(target, errand) as landing:
            download = self.download(landing, place, path, options)
            errand.persist(download.go_on)
            landing.settle(is_sure=download.is_sure)

    def send(self, source: Path, url: str, options: Transfer) -> None:
        """Send a file to a URL. Raises TransferFailed, ConfigurationError."""
        place, path = self.parts(url)
        errand = sending(source, url, options, place)
        # The same name in each try: what one leaves the next one writes over.
        part = f"{path}.{secrets.token_hex(4)}.part"
        with Source(source, errand) as file:
            errand.persist(lambda: self.put(place, options, file, part, path))
