"""A wheel that is built from the tree has all files, and runs where no checkout is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("phifleet", "pipelines", "serve", "jobs")
# Documents for readers of the source, which programs do not need.
NOT_PACKAGED = {"pipelines/tiny/README.md"}
LIMIT_SECONDS = 600

pytestmark = pytest.mark.slow


def sources() -> list[str]:
    """Return the paths of the project's files, without build outputs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves files in the tree."""
    tree, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in sources():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps",
            "--no-build-isolation", "--wheel-dir", target, tree,
        ],
        check=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    (built,) = target.glob("phifleet-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, which finds all other packages in this one's."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin/python"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index",
            "--no-deps", wheel,
        ],
        check=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    scheme = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", vars=scheme))
    # `.pth` files in that directory are not read, so its editable phifleet is not found
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return environment


def run(environment: Path, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment in a directory outside the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=directory, env=kept, capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    packaged = {name for name in ZipFile(wheel).namelist() if name.startswith(PACKAGES)}
    packaged -= {name for name in packaged if name.partition("/")[0].startswith("phifleet-")}
    expected = {name for name in sources() if name.partition("/")[0] in PACKAGES}
    assert packaged == expected - NOT_PACKAGED


def test_the_installed_command_and_module_are_those_of_the_wheel(
    installed: Path, tmp_path: Path
) -> None:
    version = run(installed, tmp_path, "phifleet", "--version")
    assert (version.returncode, version.stdout) == (0, "phifleet 0.1.0\n"), version.stderr
    program = "import phifleet, pipelines, serve, jobs; print(phifleet.__file__, serve.__file__)"
    imported = run(installed, tmp_path, "python", "-c", program)
    assert imported.returncode == 0, imported.stderr
    assert all(path.startswith(str(installed)) for path in imported.stdout.split())
    model = run(installed, tmp_path, "phifleet", "model", "tiny", "--json")
    path = Path(json.loads(model.stdout)["path"])
    assert path.is_relative_to(installed) and any(path.glob("*.safetensors"))
    show = run(installed, tmp_path, "phifleet", "serve", "--help")
    assert show.returncode == 0 and "a serve file" in show.stdout


def test_the_installed_doctor_finds_everything_usable(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "phifleet", "doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert str(installed / "share/phifleet/requirements/cpu.txt") in checks["packages"]["detail"]
    assert checks["engine"]["status"] == checks["Ray"]["status"] == "ok"
