"""Jobs of a real scheduler, by a provider."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from parsl_pool.providers import JobStatus, SimpleLauncher
from parsl_pool.providers.cluster import ClusterProvider
from tests.eventually import eventually

NewProvider = Callable[..., Any]
ODD = "it's \"one\" $HOME `x` \\ é; 100% <>"


def makes_providers(kind: type[ClusterProvider], script_dir: Path, **defaults: Any) -> Iterator[NewProvider]:
    """For a fixture: it makes providers, and what a test has left of their jobs is cancelled."""
    made: list[ClusterProvider] = []

    def new(**options: Any) -> ClusterProvider:
        provider = kind(**{"cmd_timeout": 30, "launcher": SimpleLauncher(), **defaults, **options})
        provider.script_dir = script_dir
        made.append(provider)
        return provider

    yield new
    for provider in made:
        provider.cancel(list(provider._jobs))


def status_of(provider: ClusterProvider, job: str) -> JobStatus:
    (status,) = provider.status([job])
    return status


def ends(provider: ClusterProvider, job: str, within: float = 40) -> JobStatus:
    """The job's last status, which comes soon."""
    assert eventually(lambda: status_of(provider, job).terminal, within)
    return status_of(provider, job)
