"""Globus, as far as the tests go: the paths of its Transfer and Auth APIs that are used, with answers as it gives them.

Endpoints are folders. A transfer is done when it is looked at for the last time that was planned: nothing here knows
of time. What goes wrong is planned, too, for one request each.
"""

import base64
import hashlib
import json
import shutil
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
HERE, THERE, NOWHERE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
CLIENT = str(uuid.UUID(int=9))


class Answer(NamedTuple):
    """Of a server in trouble. status 0: the connection is cut, without one."""

    status: int
    body: Mapping[str, Any] | str = ""
    headers: Mapping[str, str] = {}


CUT = Answer(0)
BUSY = Answer(503, {"code": "ServiceUnavailable", "message": "come back later", "request_id": "x"})


def refusal(status: int, code: str, message: str, **more: Any) -> Answer:
    return Answer(status, {"code": code, "message": message, "request_id": "abc", "resource": "/transfer", **more})


class Globus:
    """It. A context manager.

    Attributes:
        folders: what an endpoint has, by its UUID.
        planned: answers to the next requests of a kind, in place of the usual ones.
        stages: how a transfer is found, by the path of its source: the task's fields, look by look; None: as it is.
        asked: how many requests of each kind there were.
        submitted, cancelled: the documents of transfers, and the numbers of those that were cancelled.
    """

    def __init__(self, here: Path, there: Path) -> None:
        self.folders = {HERE: here, THERE: there}
        self.planned: dict[str, list[Answer]] = defaultdict(list)
        self.stages: dict[str, list[Mapping[str, Any] | None]] = {}
        self.events: list[dict[str, str]] = []
        self.asked: Counter[str] = Counter()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.by_number: dict[str, str] = {}
        self.submitted: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.access = {"first-access-token"}
        self.refresh = "first-refresh-token"
        self.challenge = ""
        self.scope = ""
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()  # guards all of it: requests come one by one
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="globus")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def variables(self) -> dict[str, str]:
        """What leads the SDK here."""
        return {"GLOBUS_SDK_SERVICE_URL_TRANSFER": self.url, "GLOBUS_SDK_SERVICE_URL_AUTH": self.url}

    def __enter__(self) -> "Globus":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # -- answers

    def answer(self, method: str, url: str, authorization: str, body: bytes) -> Answer:
        path = urlsplit(url).path
        kind = _kind(method, path)
        with self.lock:
            self.asked[kind] += 1
            if self.planned[kind]:
                return self.planned[kind].pop(0)
            if path.startswith("/v2/"):
                return self._auth(kind, parse_qs(urlsplit(url).query if kind == "authorize" else body.decode()))
            if authorization.removeprefix("Bearer ") not in self.access:
                return refusal(401, "AuthenticationFailed", "Token is not active")
            return self._transfer(kind, path, json.loads(body) if body else {})

    def _transfer(self, kind: str, path: str, document: dict[str, Any]) -> Answer:
        if kind == "number":
            return Answer(200, {"DATA_TYPE": "submission_id", "value": str(uuid.uuid4())})
        if kind == "submit":
            return self._submit(document)
        task = path.split("/")[3]
        if task not in self.tasks:
            return refusal(404, "ClientError.NotFound", f"No task {task}")
        if kind == "events":
            return Answer(200, {"DATA_TYPE": "event_list", "DATA": self.events})
        if kind == "cancel":
            self.cancelled.append(task)
            self.tasks[task].update(status="FAILED", nice_status="CANCELED")
            return Answer(200, {"DATA_TYPE": "result", "code": "Canceled", "message": "cancelled"})
        return self._look(self.tasks[task])

    def _submit(self, document: dict[str, Any]) -> Answer:
        for side in ("source_endpoint", "destination_endpoint"):
            if document[side] not in self.folders:
                return refusal(404, "EndpointNotFound", f"No such endpoint {document[side]}")
        number = document["submission_id"]
        is_new = number not in self.by_number
        if is_new:
            self.submitted.append(document)
            self.by_number[number] = task = str(uuid.uuid4())
            item = document["DATA"][0]
            self.tasks[task] = {
                "DATA_TYPE": "task", "task_id": task, "type": "TRANSFER", "status": "ACTIVE", "nice_status": "Queued",
                "nice_status_details": None, "nice_status_short_description": "Queued", "fatal_error": None,
                "is_ok": True, "stages": list(self.stages.get(item["source_path"], [])), "document": document,
            }  # fmt: skip
        return Answer(202, {
            "DATA_TYPE": "transfer_result", "code": "Accepted" if is_new else "Duplicate", "message": "accepted",
            "submission_id": number, "task_id": self.by_number[number],
        })  # fmt: skip

    def _look(self, task: dict[str, Any]) -> Answer:
        if task["status"] == "ACTIVE" and task["stages"]:
            task.update(task["stages"][0] or {})
            if len(task["stages"]) > 1 or task["stages"][0] is None:  # the last one stays, unless it is "as it is"
                task["stages"].pop(0)
        elif task["status"] == "ACTIVE":
            task.update(self._done(task["document"]))
        return Answer(200, {name: value for name, value in task.items() if name not in ("stages", "document")})

    def _done(self, document: dict[str, Any]) -> dict[str, Any]:
        item = document["DATA"][0]
        source = self.folders[document["source_endpoint"]] / item["source_path"].lstrip("/")
        target = self.folders[document["destination_endpoint"]] / item["destination_path"].lstrip("/")
        if not source.is_file():
            return failed("FILE_NOT_FOUND", f"No such file: {item['source_path']}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return {"status": "SUCCEEDED", "nice_status": None, "is_ok": None, "nice_status_short_description": None}

    def _auth(self, kind: str, form: dict[str, list[str]]) -> Answer:
        said = {name: values[0] for name, values in form.items()}
        if kind == "authorize":  # the page in the browser: it shows the code
            self.challenge, self.scope = said["code_challenge"], said["scope"]
            return Answer(200, "the-code")
        if said["grant_type"] == "refresh_token":
            is_right = said["refresh_token"] == self.refresh
        else:
            digest = hashlib.sha256(said["code_verifier"].encode()).digest()
            verified = base64.urlsafe_b64encode(digest).decode().rstrip("=") == self.challenge
            is_right = verified and said["code"] == "the-code"
        if not is_right or said["client_id"] != CLIENT:
            return Answer(400, {"error": "invalid_grant"})
        token = f"access-token-{len(self.access) + 1}"
        self.access.add(token)
        answer = {
            "access_token": token, "scope": SCOPE, "expires_in": 172800, "token_type": "Bearer",
            "resource_server": "transfer.api.globus.org", "other_tokens": [],
        }  # fmt: skip
        if said["grant_type"] != "refresh_token":
            self.refresh = f"refresh-token-{uuid.uuid4().hex}"
            answer |= {"refresh_token": self.refresh, "state": "_default"}
        return Answer(200, answer)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        globus = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    answer = globus.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
                except BaseException as error:
                    globus.errors.append(error)
                    raise
                if answer.status == 0:
                    self.close_connection = True
                    return
                text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "text/html" if isinstance(answer.body, str) else "application/json")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _kind(method: str, path: str) -> str:
    last = path.rstrip("/").split("/")[-1]
    known = {"submission_id": "number", "transfer": "submit", "cancel": "cancel", "event_list": "events"}
    return known.get(last, last if path.startswith("/v2/") else "look")


def failed(code: str, description: str, nice_status: str | None = None) -> dict[str, Any]:
    """The fields of a transfer that has failed."""
    return {
        "status": "FAILED", "nice_status": nice_status or code, "is_ok": None, "nice_status_details": None,
        "nice_status_short_description": None, "fatal_error": {"code": code, "description": description},
    }  # fmt: skip


def troubled(code: str, details: str) -> dict[str, Any]:
    """Those of one that goes on in spite of a fault."""
    return {"status": "ACTIVE", "nice_status": code, "is_ok": False, "nice_status_details": details}


def stored_login(home: Path, expires_at: float | None = None, refresh: str = "first-refresh-token") -> Path:
    """A login, as it is kept; the file."""
    folder = home / ".parsl_pool" / "globus"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "login.json"
    until = time.time() + 86400 if expires_at is None else expires_at
    file.write_text(json.dumps({
        "format": 1, "client_id": CLIENT, "scopes": [SCOPE], "refresh_token": refresh,
        "access_token": "first-access-token", "expires_at": int(until),
    }))  # fmt: skip
    file.chmod(0o600)
    return file


def url_of(path: str, endpoint: str = THERE) -> str:
    return f"globus://{endpoint}{path}"
