"""`.ci/install` installs what tests need where it is missing, and says what it cannot install."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import BROWSERS

SCRIPT = Path(__file__).parents[1] / ".ci/install"
TOOLS = ("bash", "chmod", "dirname", "env", "id")
# and the packages of them
PROGRAMS = {BROWSERS[0]: "chromium", "promtool": "prometheus"}
# Stands for Debian's: notes what is asked, fails as often as it is told to, and "installs".
APT = """#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$*" >> asked
if [ -e "fail-$2" ]; then
  /bin/rm "fail-$2"
  echo "the network failed" >&2
  exit 100
fi
if [ "$2" = install ]; then
  for package in "${@:5}"; do
    if [ "$package" = prometheus ]; then package=promtool; fi
    : > "$package"
    chmod +x "$package"
  done
fi
"""
# Stands for npm: notes what is asked, and "installs" the one program.
NPM = """#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$*" >> npm-asked
: > azurite-blob
chmod +x azurite-blob
"""
Install = Callable[..., tuple[int, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The only directory on the PATH of a bare machine that has kubectl and the definitions."""
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in TOOLS:
        (bare / name).symlink_to(shutil.which(name) or name)
    for name, text in (("apt-get", APT), ("sudo", '#!/usr/bin/env bash\nexec "$@"\n')):
        add_program(bare / name, text)
    add_program(bare / "sleep")
    add_program(bare / "kubectl")
    add_program(bare / "azurite-blob")
    (tmp_path / "shared/k8s-crds").mkdir(parents=True)
    (tmp_path / "project/.ci").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "project/.ci/install")
    return bare


def add_program(path: Path, text: str = "#!/usr/bin/env bash\n") -> None:
    path.write_text(text)
    path.chmod(0o755)


def asked(path: Path) -> list[str]:
    """What apt-get was asked to do."""
    return (path / "asked").read_text().splitlines() if (path / "asked").exists() else []


@pytest.fixture
def install(path: Path) -> Install:
    def install(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [path / "bash", path.parent / "project/.ci/install", *options],
            env={**os.environ, "PATH": str(path)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return install


INSTALLS = "-qq install --yes --no-install-recommends"


def test_what_is_missing_is_installed(path: Path, install: Install) -> None:
    code, output = install()
    assert (code, output.splitlines()[-1]) == (0, "all that tests need is installed"), output
    assert asked(path) == ["-qq update", f"{INSTALLS} chromium prometheus"]
    assert shutil.which("promtool", path=str(path))


def test_what_is_there_is_not_installed_again(path: Path, install: Install) -> None:
    add_program(path / "chromium")
    assert install()[0] == 0
    assert asked(path) == ["-qq update", f"{INSTALLS} prometheus"]
    assert install()[0] == 0
    assert len(asked(path)) == 2


@pytest.mark.parametrize("step", ["update", "install"])
def test_a_step_that_fails_is_tried_once_more(path: Path, install: Install, step: str) -> None:
    (path / f"fail-{step}").touch()
    code, output = install()
    assert (code, "the network failed" in output) == (0, True), output
    assert len(asked(path)) == 3


def test_a_check_installs_nothing_and_names_what_is_missing(path: Path, install: Install) -> None:
    (path / "kubectl").unlink()
    (path.parent / "shared/k8s-crds").rmdir()
    code, output = install("--check")
    assert code == 1
    for name in (*PROGRAMS, "kubectl", "../shared/k8s-crds"):
        assert f"\n{name} (" in output
    assert asked(path) == []


def test_what_cannot_be_installed_is_named_and_ends_it(path: Path, install: Install) -> None:
    (path / "apt-get").unlink()
    (path / "kubectl").unlink()
    code, output = install()
    assert code == 1
    for name, package in PROGRAMS.items():
        assert f"{name} (Debian's package {package})" in output
    assert "kubectl (" in output


def test_a_program_of_node_is_installed_in_its_pinned_version(path: Path, install: Install) -> None:
    (path / "azurite-blob").unlink()
    code, output = install()
    assert (code, "azurite-blob (npm's package azurite@" in output) == (1, True), output
    add_program(path / "npm", NPM)
    assert install()[0] == 0
    asked_npm = (path / "npm-asked").read_text()
    assert "install --global --ignore-scripts" in asked_npm
    assert asked_npm.split()[-1].startswith("azurite@")
