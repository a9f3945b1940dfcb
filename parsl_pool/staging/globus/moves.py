"""One file's way from one endpoint to another, until it is there: what is asked of Globus next, and when."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from parsl_pool.errors import GlobusTransferFailed
from parsl_pool.loggers import careful_logger
from parsl_pool.staging.globus.answers import LASTING, Look
from parsl_pool.staging.globus.service import NotNow, Place, Refused, Service

log = careful_logger("parsl_pool.staging.globus")


@dataclass
class Pace:
    """How often Globus is asked.

    Attributes:
        first_s, most_s: pauses between two questions about a file: the first, and the longest; each is half as long
            again as the one before.
        unanswered: so many questions in a row may have no answer.
        farewells: how often a transfer that nobody wants any more is cancelled, until Globus answers that.
        at_once: so many transfers are under way at most: Globus takes a hundred or so of a user. The others wait.
        longest_wait_s: if Globus wants to be left alone for longer, it is asked after this.
    """

    first_s: float = 1.0
    most_s: float = 30.0
    unanswered: int = 20
    farewells: int = 4
    at_once: int = 50
    longest_wait_s: float = 300.0


PACE = Pace()


class Move:
    """A file that is to go from one place to another. Who makes it has its future; the rest is the Mover's.

    Args:
        url: the file, for people.
        retries: how often it is begun anew, if it has failed from what may pass.
        deadline_s: seconds in which it must be done; None: as long as Globus goes on.

    Attributes:
        target: what is written.
        future: done when the file is there. Who cancels it ends the transfer.
        due: when it is to be looked after next.
        is_over: nothing is to be done for it any more.
    """

    def __init__(self, url: str, source: Place, target: Place, retries: int, deadline_s: float | None) -> None:
        self.future: Future[None] = Future()
        self.url, self._source, self.target = url, source, target
        self._retries, self._deadline_s = retries, deadline_s
        self.due = 0.0
        self.is_over = False
        self._ends_at: float | None = None
        self._request: Any = None
        self._task: str | None = None
        self._pause = PACE.first_s
        self._unanswered = self._lasting = 0
        self._is_leaving = False  # it has been cancelled, and we are about to tell Globus
        self._last = Look("")

    @property
    def has_begun(self) -> bool:
        """Whether Globus has something to do for it."""
        return self._task is not None and not self.is_over

    def wait_for(self, other: Move) -> None:
        """Nothing is to be done for it before that is looked after again."""
        self.due = max(self.due, other.due)

    def is_due(self, now: float) -> bool:
        """Whether there is something to be done for it."""
        return self.due <= now or (self.future.cancelled() and not self._is_leaving)

    def step(self, service: Callable[[], Service], now: float) -> None:
        """Ask Globus what is to be asked now. service: gives it, and raises Refused or NotNow if that can't be."""
        if self._deadline_s is not None and self._ends_at is None:
            self._ends_at = now + self._deadline_s
        try:
            if self.future.cancelled():
                self._end(service)
            elif self._ends_at is not None and now >= self._ends_at:
                self._too_late(service)
            elif self._task is None:
                self._begin(service(), now)
            else:
                self._look(service(), self._task)
        except Refused as problem:
            self._fail(str(problem))
        except NotNow as problem:
            self._not_answered(problem)
        self._wait(now)

    def _begin(self, service: Service, now: float) -> None:
        if self._request is None:
            left_s = None if self._ends_at is None else self._ends_at - now
            self._request = service.request(self._source, self.target, left_s)
        self._task = service.submit(self._request)
        self._unanswered, self._pause = 0, PACE.first_s
        log.info("%s: Globus has begun the transfer %s", self.url, self._task)

    def _look(self, service: Service, task: str) -> None:
        look, before = service.look(task), self._last
        if look.fault and not look.details:
            is_known = look.status == before.status and look.fault == before.fault
            look = look._replace(details=before.details if is_known else service.last_fault(task))
        self._unanswered, self._last = 0, look
        if look.status == "SUCCEEDED":
            self._finish(None)
        elif look.status == "FAILED":
            self._has_failed(look)
        elif look.status == "INACTIVE":  # it would stay so until somebody logs in to the endpoint
            self._farewell(service, task)
            self._fail(look.words or "it is suspended")
        else:
            if look.fault and look.fault != before.fault:
                log.warning("%s: Globus has trouble with the transfer %s: %s", self.url, task, look.words)
            self._lasting = self._lasting + 1 if look.fault in LASTING else 0
            if self._lasting > 1:  # once may be a directory that comes a moment later
                self._farewell(service, task)
                self._fail(look.words)

    def _has_failed(self, look: Look) -> None:
        if self._retries > 0 and look.can_pass:
            log.warning("%s: the transfer %s has failed, and is begun anew: %s", self.url, self._task, look.words)
            self._retries -= 1
            self._request = self._task = None
            self._lasting = 0
        else:
            self._fail(look.words)

    def _not_answered(self, problem: NotNow) -> None:
        self._unanswered += 1
        self._pause = max(self._pause, min(problem.wait_s, PACE.longest_wait_s))
        if self._unanswered >= PACE.unanswered:
            self._fail(f"Globus does not answer: {problem}")

    def _too_late(self, service: Callable[[], Service]) -> None:
        if self._task is not None:
            with suppress(Refused, NotNow):  # it ends at that time by itself: Globus has been told
                service().cancel(self._task)
        self._fail(f"not done within {self._deadline_s:g} seconds: {self._last.words or 'nothing is known of it'}")

    def _end(self, service: Callable[[], Service]) -> None:
        """Nobody wants it any more."""
        if not self._is_leaving:
            self._is_leaving = True
            has_begun = self._task is not None or (self._request is not None and self._unanswered > 0)
            self._unanswered, self._pause, self.is_over = 0, PACE.first_s, not has_begun
            if self.is_over:
                return
        try:
            if self._task is None:  # what was submitted had no answer: it has no other name yet than its number
                self._task = service().submit(self._request)
            service().cancel(self._task)
            self.is_over = True
        except Refused:  # it has ended by itself
            self.is_over = True
        except NotNow as problem:
            self._unanswered += 1
            if self._unanswered >= PACE.farewells:
                self.is_over = True
                log.warning("%s: the transfer %s could not be cancelled: %s", self.url, self._task, problem)

    def _farewell(self, service: Service, task: str) -> None:
        try:
            service.cancel(task)
        except (Refused, NotNow) as problem:
            log.warning("%s: the transfer %s could not be cancelled: %s", self.url, task, problem)

    def _wait(self, now: float) -> None:
        self.due = now + self._pause
        if self._ends_at is not None and not self.future.cancelled():
            self.due = min(self.due, max(self._ends_at, now))
        self._pause = min(self._pause * 1.5, PACE.most_s)

    def _fail(self, words: str) -> None:
        which = f"Globus' transfer {self._task}" if self._task is not None else "Globus"
        look = self._last
        self._finish(
            GlobusTransferFailed(self.url, f"{which}: {words}", look.nice_status, look.fatal_error, self._task or "")
        )

    def fail_by(self, error: BaseException) -> None:
        """Something of ours has failed."""
        failure = GlobusTransferFailed(self.url, f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        self._finish(failure)

    def _finish(self, failure: BaseException | None) -> None:
        self.is_over = True
        with suppress(InvalidStateError):  # it has been cancelled this moment
            if failure is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(failure)
