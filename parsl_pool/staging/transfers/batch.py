"""Many files at once, over few connections, which are used again."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parsl_pool.staging.transfers import by_scheme, web
from parsl_pool.staging.transfers.options import USUAL, Transfer
from parsl_pool.staging.transfers.web_connections import Connections


def fetch_all(files: Iterable[tuple[str, Path]], options: Transfer = USUAL, at_a_time: int = 8) -> None:
    """Bring files of URLs to their paths.

    Args:
        files: URLs and paths.
        at_a_time: how many are on their way at any time.

    Raises:
        TransferFailed, ConfigurationError: one of them can't be brought. Those that had not begun by then do not; the
            others are here, whole, or not.
    """
    with Connections(options) as connections, ThreadPoolExecutor(at_a_time, "parsl-pool-transfer") as threads:

        def fetch(url: str, target: Path) -> None:
            if url.lower().startswith(("http:", "https:")):
                web.fetch(url, target, options, connections)
            else:
                by_scheme.fetch(url, target, options)

        begun = [threads.submit(fetch, url, target) for url, target in files]
        try:
            for future in begun:
                future.result()
        except BaseException:  # passed on
            for future in begun:
                future.cancel()
            raise
