"""What is built from this tree, and that it works where there is no tree.

Nothing here asks a package index: the builds use the setuptools that is installed (extra `test`), and fresh
virtual environments borrow the dependencies of the one that runs the tests.
"""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = {"parsl_pool/interchange": "../interchange", "parsl_pool/providers": "../providers"}
BUILT_FROM = ["parsl_pool", "interchange", "providers", "docs", "tests", "benchmarks", "examples"]
BUILT_FROM_FILES = ["setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CONTRIBUTING.md"]

OLDEST_SETUPTOOLS = 68


def has_setuptools() -> bool:
    try:
        return int(metadata.version("setuptools").split(".")[0]) >= OLDEST_SETUPTOOLS
    except metadata.PackageNotFoundError:  # Python 3.12 and newer put none into a virtual environment
        return False


needs_setuptools = pytest.mark.skipif(
    not has_setuptools(),
    reason=f"builds need setuptools {OLDEST_SETUPTOOLS} or newer: pip install -e '.[test]'",
)
needs_checkout = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an sdist has neither links nor CI")


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def lines_of(option: str) -> list[str]:
    return setup_cfg()["options"][option].split("\n")[1:]


def package_folders() -> dict[str, Path]:
    """Each folder of the tree that is a package, by its name, as the mapping in setup.cfg puts it."""
    roots = dict(line.split(" = ") for line in lines_of("package_dir"))
    folders = {}
    for package, root in roots.items():
        for where, below, files in os.walk(ROOT / root):  # which does not follow the links
            below[:] = [name for name in below if name != "__pycache__"]
            if "__init__.py" in files:
                path = Path(where)
                folders[".".join([package, *path.relative_to(ROOT / root).parts])] = path
    return folders


def test_every_package_of_the_tree_is_installed_and_no_other() -> None:
    assert sorted(package_folders()) == lines_of("packages")


def test_no_module_stands_in_a_folder_that_is_no_package() -> None:
    """It would be importable from the checkout, and missing from what is installed."""
    packages = set(package_folders().values())
    for room in ("parsl_pool", "interchange", "providers"):
        modules = [path for path in (ROOT / room).rglob("*.py") if not linked(path)]
        assert modules
        assert not [path for path in modules if path.parent not in packages]


def linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents)


@needs_checkout
@pytest.mark.parametrize("link, target", LINKS.items())
def test_a_checkout_shows_the_rooms_where_they_are_installed(link: str, target: str) -> None:
    assert os.readlink(ROOT / link) == target
    assert (ROOT / link / "__init__.py").exists()
    mode = subprocess.check_output(["git", "ls-files", "--stage", link], cwd=ROOT, text=True)
    assert mode.startswith("120000 ")


@needs_checkout
def test_the_readme_s_second_command_is_the_one_that_ci_runs() -> None:
    ci = (ROOT / ".ci/run").read_text().splitlines()
    (command,) = [line for line in ci if line.startswith("python3 -m venv .venv ")]
    assert command in (ROOT / "README.md").read_text().splitlines()
    assert command == ci[-1], "pytest's summary has to be the last thing that the run says"


class Fresh:
    """A virtual environment that has our dependencies and not our package."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        site = self.run("import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        # A folder named in a .pth file is searched, but its own .pth files are not read: so the editable
        # install of this checkout, which is such a file, stays out.
        borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        Path(site, "borrowed.pth").write_text("\n".join(sorted(borrowed)))

    def pip_install(self, *what: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        call([*pip, "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", *what])

    def run(self, script: str, cwd: Path | None = None) -> str:
        """What the script prints; it runs in `cwd`, or else outside all trees."""
        return call([str(self.python), "-c", script], cwd=cwd or self.python.parent)

    def command(self, name: str, *arguments: str) -> str:
        return call([str(self.python.with_name(name)), *arguments], cwd=self.python.parent)


def call(command: list[str], cwd: Path | None = None) -> str:
    """The command's output; what it said on its way to a failure is in the failure."""
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, so that no build leaves anything in the checkout."""
    copy = tmp_path_factory.mktemp("tree")
    unwanted = shutil.ignore_patterns("__pycache__", "_build", "*.egg-info")
    for name in BUILT_FROM:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=unwanted)
    for name in BUILT_FROM_FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(kind: str, tree: Path, into: Path) -> Path:
    """Builds by the standard hook, in the tree; gives the file."""
    script = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    call([sys.executable, "-c", script, str(into)], cwd=tree)
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tree, tmp_path_factory.mktemp("wheel"))


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@needs_setuptools
def test_a_wheel_holds_the_package_and_no_second_top_level_name(wheel: Path) -> None:
    names = {name for name in names_in(wheel) if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"parsl_pool"}
    in_tree = {
        f"{package.replace('.', '/')}/{path.name}"
        for package, folder in package_folders().items()
        for path in folder.glob("*.py")
    }
    assert names == in_tree | {"parsl_pool/py.typed"}


@needs_setuptools
def test_a_wheel_works_where_there_is_no_tree(wheel: Path, tmp_path: Path) -> None:
    fresh = Fresh(tmp_path / "fresh")
    fresh.pip_install(str(wheel))
    assert_it_works(fresh)
    for script in setup_cfg().get("options.entry_points", "console_scripts", fallback="").split("\n")[1:]:
        assert fresh.command(script.split(" = ")[0], "--help")
    home = fresh.run("import parsl_pool.interchange; print(parsl_pool.interchange.__file__)")
    assert Path(home).is_relative_to(tmp_path)


@needs_setuptools
def test_an_editable_install_works_outside_and_inside_the_tree(tree: Path, tmp_path: Path) -> None:
    fresh = Fresh(tmp_path / "fresh")
    fresh.pip_install("--editable", str(tree))
    assert_it_works(fresh)
    assert_it_works(fresh, cwd=tree)
    (tree / "interchange" / "brand_new.py").write_text("here = True\n")
    assert fresh.run("from parsl_pool.interchange.brand_new import here; print(here)") == "True\n"
    (tree / "interchange" / "brand_new.py").unlink()


@needs_setuptools
def test_an_sdist_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    for name in ("sdist", "unpacked", "wheel"):
        (tmp_path / name).mkdir()
    call(["tar", "-xf", str(build("sdist", tree, tmp_path / "sdist")), "-C", str(tmp_path / "unpacked")])
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "LICENSE").exists() and (unpacked / "tests" / "test_packaging.py").exists()
    assert names_in(build("wheel", unpacked, tmp_path / "wheel")) == names_in(wheel)


@needs_setuptools
def test_a_tree_that_lost_its_links_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    """As a tree does that was unpacked from a zip file."""
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    for link in LINKS:
        (copy / link).unlink()
    (tmp_path / "wheel").mkdir()
    assert names_in(build("wheel", copy, tmp_path / "wheel")) == names_in(wheel)


def assert_it_works(fresh: Fresh, cwd: Path | None = None) -> None:
    """All rooms are there, and a task is run by a worker process."""
    fresh.run("import parsl_pool.errors, parsl_pool.interchange.worker, parsl_pool.providers", cwd)
    script = "import os, parsl_pool\nwith parsl_pool.ParslPoolExecutor(1) as pool:\n"
    assert fresh.run(script + "    print(pool.submit(os.getpid).result() != os.getpid())", cwd) == "True\n"
