"""A Globus of the tests' own, a home with a login to it, and questions to it that follow one another quickly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.staging.globus.service import Globus, stored_login

NO_SDK = "globus-sdk is not installed (extra: globus): transfers by Globus were not run"


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, module_patch: pytest.MonkeyPatch) -> Path:
    """This user's, with a login."""
    folder = tmp_path_factory.mktemp("home")
    module_patch.setenv("HOME", str(folder))
    module_patch.delenv("PARSL_POOL_GLOBUS_CLIENT", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        module_patch.delenv(name, raising=False)
        module_patch.delenv(name.upper(), raising=False)
    stored_login(folder)
    return folder


@pytest.fixture(scope="module")
def globus(home: Path, tmp_path_factory: pytest.TempPathFactory, module_patch: pytest.MonkeyPatch) -> Iterator[Globus]:
    """It, asked without pauses."""
    pytest.importorskip("globus_sdk", reason=NO_SDK)
    from parsl_pool.staging.globus.moves import PACE

    for name, quick in {"first_s": 0.001, "most_s": 0.01, "unanswered": 3, "longest_wait_s": 0.01}.items():
        module_patch.setattr(PACE, name, quick)
    folder = tmp_path_factory.mktemp("endpoints")
    for name in ("here", "there"):
        (folder / name).mkdir()
    with Globus(folder / "here", folder / "there") as globus:
        for name, value in globus.variables.items():
            module_patch.setenv(name, value)
        yield globus
    assert not globus.errors
