"""One transfer: what is said of it when it fails, and how it is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

from parsl_pool.errors import InternalError, TransferFailed, bounded
from parsl_pool.loggers import careful_logger
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.urls import Url, shown

log = careful_logger(__name__)

T = TypeVar("T")

_WORDS = 2000

CLEARLY_OLDER_S = 60
"""Seconds. A file that was changed so long ago will not be changed once more in a second that its date names."""

TRICKLE = 1024
"""Bytes. When fewer come in the time that is called silence, the server has as good as stopped."""


class Passing(Exception):
    """Something went wrong that may pass: it is worth another try.

    Attributes:
        reason: what went wrong.
        wait_s: seconds to wait before that, as the server has asked; None: it has not.
    """

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait_s = reason, wait_s


class Refused(Exception):
    """Something is wrong that will not pass; the text says what."""


class Pace:
    """Notices a server that has as good as stopped: each of its bytes comes in time, and the file never."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._began, self._came = time.monotonic(), 0

    def came(self, size: int) -> None:
        """So many bytes have come. Raises Passing."""
        self._came += size
        if self._came >= TRICKLE:
            self._began, self._came = time.monotonic(), 0
        elif time.monotonic() - self._began > self._silence_s:
            raise Passing(f"next to nothing came for {self._silence_s:g} s")


class Errand:
    """A file that is to be fetched, or sent."""

    def __init__(self, what: str, url: str, options: Transfer, place: Url | None = None) -> None:
        """what: the errand in words. place: the URL's parts, which have the secrets that no text may show."""
        self._what, self._url, self._options, self._place = what, url, options, place

    @property
    def url(self) -> str:
        """As it may be seen."""
        return shown(self._url)

    def failed(self, reason: str) -> TransferFailed:
        """The error to be raised."""
        if self._place is not None:
            reason = self._place.without_secrets(reason)
        return TransferFailed(self.url, f"{self._what}: {bounded(reason, _WORDS)}")

    def persist(self, once: Callable[[], T]) -> T:
        """Call it until it gives something: again, after a while, when it has raised Passing.

        Raises:
            TransferFailed: what went wrong has not passed, or it has raised Refused.
        """
        for attempt in count():
            try:
                return once()
            except Refused as problem:
                raise self.failed(str(problem)) from None
            except Passing as problem:
                if attempt == self._options.retries:
                    tries = f" (tried {attempt + 1} times)" if attempt else ""
                    raise self.failed(f"{problem.reason}{tries}") from None
                pause_s, reason = self._pause_s(attempt, problem), problem.reason
            reason = reason if self._place is None else self._place.without_secrets(reason)
            log.info("%s: tried again in %.1f s: %s", self.url, pause_s, bounded(reason, _WORDS))
            time.sleep(pause_s)
        raise InternalError("a loop without an end has ended")

    def _pause_s(self, attempt: int, problem: Passing) -> float:
        longest_s = self._options.longest_pause
        if problem.wait_s is None:
            # Not all at once: what they wait for may be a server that has too many clients.
            return min(self._options.pause * 2.0 ** min(attempt, 30) * random.uniform(0.75, 1.25), longest_s)
        if problem.wait_s > longest_s:
            raise self.failed(
                f"{problem.reason}; it asks to be left alone for {problem.wait_s:.0f} s, and longest_pause is "
                f"{longest_s:g}"
            ) from None
        return problem.wait_s


def fetching(url: str, target: Path, options: Transfer, place: Url | None = None) -> Errand:
    return Errand(f"could not be fetched to {target}", url, options, place)


def sending(source: Path, url: str, options: Transfer, place: Url | None = None) -> Errand:
    return Errand(f"{source} could not be sent there", url, options, place)
