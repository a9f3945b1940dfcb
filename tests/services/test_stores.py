"""Files of real servers, brought by each provider, to and from wherever tasks run.

    store (nginx, pyftpdlib, OpenSSH, rsync ...)  x  place (threads, processes, hosts that share nothing)  x  style
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import File, python_app
from parsl_pool.errors import DependencyError, MissingOutputs, TransferFailed
from tests import leaks
from tests.eventually import eventually
from tests.services import places
from tests.services.errands import digest, forget, look, turn
from tests.services.hosts import Hosts
from tests.services.places import FAR, LOCAL, STYLES, Place
from tests.services.store_servers import Servers
from tests.services.stores import Store

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]

BODY = bytes(range(256)) * 2000
NAMES = {"größe #1 100%?.txt": BODY, "empty %41": b""}

STORES = ("http", "https", "redirects", "password", "ftp", "ftps", "sftp", "rsync", "s3", "another")
ANOTHER = {"in task": "rsync by ssh", "by tasks": "zip"}  # each for one style alone
# By tasks of their own they are brought where all hosts see the same files.
PLACES = [(name, style) for name in LOCAL for style in STYLES] + [(FAR, "in task")]


# -- places


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def place(
    request: pytest.FixtureRequest, servers: Servers, two_hosts: Hosts | str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:  # fmt: skip
    name, style = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        for variable in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
            patch.delenv(variable, raising=False)
            patch.delenv(variable.upper(), raising=False)
        for variable, value in servers.environment.items():
            patch.setenv(variable, value)
        if name != FAR:
            with leaks.keeping("the module's pool"), places.here(
                name, style, places.options_here(servers), tmp_path_factory.mktemp("working")
            ) as place:
                yield place
                servers.have_no_connections()
            return
        if isinstance(two_hosts, str):
            pytest.skip(two_hosts)
        with leaks.keeping("the module's pool"), places.there(
            two_hosts, style, places.options_there(servers, two_hosts), tmp_path_factory.mktemp("runs"),
            servers.environment,
        ) as place:
            yield place
            servers.have_no_connections()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, place: Place, servers: Servers) -> Iterator[Store]:
    found = servers.stores[ANOTHER.get(place.style, "") if request.param == "another" else request.param]
    if isinstance(found, str):
        pytest.skip(found)
    before = place.processes()
    yield found
    nothing_is_left(place, before)
    found.clear()


def nothing_is_left(place: Place, before: set[psutil.Process]) -> None:
    """No process on hosts that was not there before, no half file."""
    assert eventually(lambda: place.processes() <= before, within=20), place.processes() - before
    assert not place.half_files()


# -- tests


def app_of(place: Place, fn: Callable[..., Any]) -> Callable[..., Any]:
    return python_app(fn, data_flow_kernel=place.pool)


def test_files_come_and_go(store: Store, place: Place) -> None:
    for name, body in NAMES.items():
        store.put(name, body)
    targets = [f"new {name}" for name in NAMES]
    targets[0] = f"folder/{targets[0]}"
    store.put("folder/other", b"is there")
    store.put(targets[1], b"what is there already is written over")
    there = [File(store.url(name)) for name in NAMES]
    future = app_of(place, turn)(inputs=there, outputs=[File(store.url(name)) for name in targets])
    others = [app_of(place, look)({"a": [there[0]], "b": ()}) for _ in range(3)]
    assert future.result(60) == [digest(body) for body in NAMES.values()]
    assert {other.result(60)[1] for other in others} == {digest(BODY)}
    for output in future.outputs:
        output.result(60)
    assert [store.get(name) for name in targets] == [body[::-1] for body in NAMES.values()]
    assert store.names() == sorted([*NAMES, *targets, "folder/other"])


def test_what_goes_wrong_is_told_and_leaves_nothing(store: Store, place: Place) -> None:
    store.put("a", BODY)
    forgotten = app_of(place, forget)(outputs=[File(store.url("never #1"))])
    refused = app_of(place, turn)(inputs=[File(store.url("a"))], outputs=[File(store.locked)])
    missing = app_of(place, turn)(inputs=[File(store.url("not there"))])
    error = forgotten.outputs[0].exception(60)
    assert isinstance(error, MissingOutputs) and "never" in str(error)
    error = refused.outputs[0].exception(60)
    assert isinstance(error, TransferFailed) and store.refusal in str(error), error
    assert "open-sesame" not in str(error)
    error = missing.exception(60)
    assert isinstance(error, TransferFailed if place.style == "in task" else DependencyError)
    assert store.missing in str(error) and "open-sesame" not in str(error)
    assert store.names() == ["a"]
    assert place.pool.submit(pow, 2, 3).result(60) == 8


@pytest.mark.parametrize("place", [(FAR, "in task")], ids=["hosts"], indirect=True, scope="module")
def test_each_host_fetches_a_file_once(place: Place, servers: Servers) -> None:
    store = servers.stores["http"]
    if isinstance(store, str):
        pytest.skip(store)
    web = servers.web
    assert web is not None
    store.put("once", BODY)
    seen: set[str] = set()

    def both_have_seen_it() -> bool:
        futures = [app_of(place, look)({"a": [File(store.url("once"))]}) for _ in range(6)]
        seen.update(future.result(60)[0] for future in futures)
        return seen == {"one", "two"}

    try:
        eventually(both_have_seen_it, within=60)  # tasks go where they like
        assert eventually(lambda: web.requests().count("GET 200 /once") == 2)  # it writes that a moment later
    finally:
        store.clear()


def test_hosts_that_share_nothing_need_files_brought_in_the_task(
    two_hosts: Hosts | str, servers: Servers, tmp_path: Path
) -> None:
    store = servers.stores["ftp"]
    if isinstance(two_hosts, str) or isinstance(store, str):
        pytest.skip(two_hosts if isinstance(two_hosts, str) else str(store))
    options = places.options_there(servers, two_hosts)
    with places.there(two_hosts, "by tasks", options, tmp_path, servers.environment) as place:
        store.put("a", b"abc")

        def failures() -> list[BaseException]:
            futures = [
                app_of(place, turn)([File(store.url("a"))], outputs=[File(store.url(f"new {number}"))])
                for number in range(8)
            ]
            assert [future.result(60) for future in futures] == [[digest(b"abc")]] * 8
            errors = [future.outputs[0].exception(60) for future in futures]
            return [error for error in errors if error is not None]

        for error in eventually(failures, within=60):
            assert isinstance(error, TransferFailed), error
            assert "All nodes of the executor must see its working_dir" in str(error)
    store.clear()
