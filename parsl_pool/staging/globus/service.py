"""Globus, as far as transfers go: each call is one request, or two, and its errors say whether to ask again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple, TypeVar

from parsl_pool.errors import StagingError
from parsl_pool.staging.globus import login as logins
from parsl_pool.staging.globus import tokens
from parsl_pool.staging.globus.answers import Look, looked_at
from parsl_pool.staging.globus.login import said_by, sdk
from parsl_pool.staging.globus.tokens import COMMAND

T = TypeVar("T")


class Place(NamedTuple):
    """A file of an endpoint."""

    endpoint: str
    path: str


class Refused(Exception):
    """Globus says no, and would say it again."""


class NotNow(Exception):
    """Globus has not answered, or has too much to do.

    Attributes:
        wait_s: so long it wants to be left alone.
    """

    def __init__(self, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


class Service:
    """The Transfer API, with the user's login. For one thread.

    Attributes:
        has_ended: the login is not enough any more: the next one may be, if the user has got another in the meantime.

    Raises:
        StagingError: there is no login.
    """

    def __init__(self) -> None:
        login = tokens.load()
        if login is None:
            raise StagingError(f"there is no login to Globus on this machine: run '{COMMAND}' in a terminal, once")
        self.has_ended = False
        self._silence: NotNow | None = None
        self._auth = logins.client_of(login.client_id)
        self._client = sdk().TransferClient(
            authorizer=logins.authorizer_of(login, self._auth), transport=logins.transport(),
            retry_config=logins.patience(),
        )  # fmt: skip

    def close(self) -> None:
        """Let go of its connections."""
        self._client.transport.close()
        self._auth.transport.close()

    def new_round(self) -> None:
        """Ask again, if there was no answer."""
        self._silence = None

    def request(self, source: Place, target: Place, deadline_s: float | None) -> Any:
        """What `submit` takes; it has a number of Globus', so that it counts once, however often it is submitted."""
        wanted = sdk().TransferData(
            source.endpoint, target.endpoint, label="parsl_pool", verify_checksum=True,
            submission_id=self._ask(lambda client: client.get_submission_id()["value"]),
            notify_on_succeeded=False, notify_on_failed=False,  # mails: there may be thousands
        )  # fmt: skip
        if deadline_s is not None:
            wanted["deadline"] = (datetime.now(timezone.utc) + timedelta(seconds=deadline_s)).isoformat(" ", "seconds")
        wanted.add_item(source.path, target.path)
        return wanted

    def submit(self, request: Any) -> str:
        """Have it begun: the transfer's id."""
        return str(self._ask(lambda client: client.submit_transfer(request)["task_id"]))

    def look(self, task: str) -> Look:
        """What has become of it."""
        return self._ask(lambda client: looked_at(dict(client.get_task(task).data)))

    def last_fault(self, task: str) -> str:
        """What went wrong with it last, in Globus' words; "" if that is not to be had."""
        query = {"filter": "is_error:1"}
        with suppress(Refused, NotNow):  # it is for the words only
            for event in self._ask(lambda client: client.task_event_list(task, limit=1, query_params=query)["DATA"]):
                return ": ".join(str(event[name]) for name in ("description", "details") if event.get(name))
        return ""

    def cancel(self, task: str) -> None:
        """Have it ended."""
        self._ask(lambda client: client.cancel_task(task))

    def _ask(self, call: Callable[[Any], T]) -> T:
        """What the SDK's client gives. Its errors are no causes of ours: they have the request, and so the tokens."""
        if self._silence is not None:  # one time-out is enough: there may be thousands of files to ask about
            raise self._silence
        try:
            return call(self._client)
        except sdk().AuthAPIError as error:  # of a renewal, while it signed the request
            problem = _of_login(error)
            self.has_ended = isinstance(problem, Refused)
            raise problem from None
        except sdk().GlobusAPIError as error:
            self.has_ended = _wants_login(error)
            raise _of_answer(error) from None
        except sdk().GlobusError as error:
            self._silence = NotNow(said_by(error))
            raise self._silence from None
        except (KeyError, TypeError, ValueError) as problem:  # something between us answers in its place
            raise NotNow(f"an answer that is none of Globus': {type(problem).__name__}") from None


def _of_login(error: Any) -> Exception:
    if 400 <= error.http_status < 500 and error.http_status != 429:
        return Refused(f"the login has ended, {said_by(error)}: run '{COMMAND} --force'")
    return NotNow(said_by(error), _asked_to_wait(error))


def _of_answer(error: Any) -> Exception:
    words = said_by(error)
    consent = error.info.consent_required
    if consent:
        scopes = " ".join(f"--scope '{scope}'" for scope in consent.required_scopes)
        return Refused(f"{words}: allow it by '{COMMAND} {scopes}'")
    if _wants_login(error):
        return Refused(f"{words}: log in again, by '{COMMAND} --force'")
    if error.http_status == 429 or error.http_status >= 500 or "TooMany" in (error.code or ""):
        return NotNow(words, _asked_to_wait(error))
    return Refused(words)


def _wants_login(error: Any) -> bool:
    info = error.info
    return error.http_status == 401 or bool(info.consent_required) or bool(info.authorization_parameters)


def _asked_to_wait(error: Any) -> float:
    try:
        return max(0.0, float(error.headers.get("Retry-After", 0)))
    except ValueError:  # a date
        return 0.0
