"""Files of web servers: http and https.

A download that was cut goes on where it was, if the server says by which version of the file it would (If-Range). What
it says of length and checksums is verified. Proxies are those of the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from parsl_pool.staging.transfers import web_answers, web_kept
from parsl_pool.staging.transfers.errand import Errand, Passing, fetching, sending
from parsl_pool.staging.transfers.local_files import Landing, Source
from parsl_pool.staging.transfers.options import USUAL, Transfer
from parsl_pool.staging.transfers.urls import Url, parsed
from parsl_pool.staging.transfers.web_heads import Headers
from parsl_pool.staging.transfers.web_requests import Answer, Requests


def fetch(url: str, target: Path, options: Transfer = USUAL) -> None:
    """Bring the file of a URL to a path. Raises TransferFailed, ConfigurationError."""
    place = parsed(url, "http", "https")
    fetch_from(place, target, Requests(web_kept.connections(options), options), fetching(url, target, options, place))


def send(source: Path, url: str, options: Transfer = USUAL) -> None:
    """Send a file to a URL, by PUT. Raises TransferFailed, ConfigurationError."""
    place = parsed(url, "http", "https")
    errand = sending(source, url, options, place)
    with Source(source, errand) as file:
        send_to(place, file, Requests(web_kept.connections(options), options), errand)


def fetch_from(
    place: Url, target: Path, requests: Requests, errand: Errand,
    list_checksums: Callable[[Headers], list[web_answers.Checksum]] = web_answers.checksums,
) -> None:  # fmt: skip
    """Bring a file by these requests; what they say of checksums is verified. Raises TransferFailed."""
    with Landing(target, errand) as landing:
        errand.persist(_Download(landing, requests, place, list_checksums).go_on)
        landing.settle()


def send_to(place: Url, file: Source, requests: Requests, errand: Errand) -> None:
    """Send a file by these requests. Raises TransferFailed."""
    errand.persist(lambda: _put(requests, place, file))


def _put(requests: Requests, place: Url, file: Source) -> None:
    """Send a file once. Raises Passing, Refused."""
    with requests.ask("PUT", place, {"Content-Type": "application/octet-stream"}, file) as answer:
        if answer.status >= 400 or answer.status < 200:
            raise answer.refusal()
        if not answer.is_sent:
            raise Passing("the connection was cut in the middle")
        answer.words()  # to its end, and so the connection can be kept


class _Download:
    """One file on its way here, over several tries."""

    def __init__(
        self, landing: Landing, requests: Requests, url: Url,
        list_checksums: Callable[[Headers], list[web_answers.Checksum]],
    ) -> None:  # fmt: skip
        self._list_checksums = list_checksums
        self._landing, self._requests, self._url = landing, requests, url
        self._checksums: list[web_answers.Checksum] = []  # of this version

    def go_on(self) -> None:
        """Get what is missing. Raises Passing, Refused; what has come by then stays, if it is of use."""
        if self._landing.size and not self._landing.version:
            self._landing.restart()
        headers, is_continued = {}, self._landing.size > 0
        if is_continued:
            headers = {"Range": f"bytes={self._landing.size}-", "If-Range": self._landing.version}
        elif self._landing.known:
            is_date = not self._landing.known.startswith('"')
            headers = {"If-Modified-Since" if is_date else "If-None-Match": self._landing.known}
        with self._requests.ask("GET", self._url, headers) as answer:
            if answer.status == 304 and headers and not is_continued:
                answer.has_no_body()
                self._landing.unchanged()
                return
            if answer.status == 206 and is_continued:
                self._check_part(answer)
            elif answer.status in (200, 203):
                if self._landing.size:
                    self._landing.restart()
                self._landing.began(web_answers.version(answer.headers), answer.length)
            elif answer.status == 416 and is_continued:
                raise self._anew("the file has become shorter while it was fetched")
            else:
                raise answer.refusal()
            self._take(answer)

    def _check_part(self, answer: Answer) -> None:
        part = web_answers.content_range(answer.headers)
        version = web_answers.version(answer.headers)
        if part is None or part.first != self._landing.size:
            raise self._anew("the server sends another part of the file than it was asked for")
        expected = self._landing.version
        if version.startswith('"') and expected.startswith('"') and version != expected:
            raise self._anew("the file has changed while it was fetched")
        if part.total is not None and part.last + 1 != part.total:
            raise self._anew("the server sends less of the file than it was asked for")

    def _anew(self, reason: str) -> Passing:
        """The next try begins at the file's start."""
        self._landing.restart()
        return Passing(reason)

    def _take(self, answer: Answer) -> None:
        listed, part = self._list_checksums(answer.headers), None
        if answer.status == 206:
            part = web_answers.content_range(answer.headers)
            listed = self._checksums + listed
        else:  # its body is the file
            self._checksums = listed = [one._replace(of_file=True) for one in listed]
        digests = [self._landing.digest_so_far(one.kind) if one.of_file else one.new() for one in listed]
        for piece in answer.pieces():
            self._landing.write(piece)
            for digest in digests:
                digest.update(piece)
        if part is not None and part.total not in (None, self._landing.size):
            raise self._anew(f"{self._landing.size} bytes have come, and the file has {part.total}")
        for checksum, digest in zip(listed, digests):
            if digest.digest() != checksum.wanted:
                raise self._anew(
                    f"the {checksum.kind} of what came is {digest.hexdigest()}, and the server says "
                    f"{checksum.wanted.hex()}"
                )
