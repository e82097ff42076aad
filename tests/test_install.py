"""`.ci/install` installs missing programs that tests need, and lists those that it cannot."""

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
# Programs and their Debian packages.
PROGRAMS = {BROWSERS[0]: "chromium", "promtool": "prometheus"}
# A fake apt-get: logs its arguments, fails once if a file `fail-COMMAND` exists, else creates the
# programs.
APT = """#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$*" >> apt-calls
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
# A fake npm: logs its arguments and creates the one program.
NPM = """#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$*" >> npm-calls
: > azurite-blob
chmod +x azurite-blob
"""
Install = Callable[..., tuple[int, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The only directory on the PATH of a machine that has kubectl, azurite and KubeRay's custom
    resource definitions, but no program of PROGRAMS."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in TOOLS:
        (directory / name).symlink_to(shutil.which(name) or name)
    for name, text in (("apt-get", APT), ("sudo", '#!/usr/bin/env bash\nexec "$@"\n')):
        add_program(directory / name, text)
    add_program(directory / "sleep")
    add_program(directory / "kubectl")
    add_program(directory / "azurite-blob")
    (tmp_path / "shared/k8s-crds").mkdir(parents=True)
    (tmp_path / "project/.ci").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "project/.ci/install")
    return directory


def add_program(path: Path, text: str = "#!/usr/bin/env bash\n") -> None:
    """Write an executable script, by default one that does nothing."""
    path.write_text(text)
    path.chmod(0o755)


def apt_calls(path: Path) -> list[str]:
    """Return the arguments of each call of apt-get."""
    calls = path / "apt-calls"
    return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def install(path: Path) -> Install:
    """A function that runs the script with options and returns its exit code and output."""

    def install(*options: str) -> tuple[int, str]:
        result = subprocess.run(
            [path / "bash", path.parent / "project/.ci/install", *options],
            env={**os.environ, "PATH": str(path)},
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stdout + result.stderr

    return install


INSTALLS = "-qq install --yes --no-install-recommends"


def test_missing_programs_are_installed(path: Path, install: Install) -> None:
    code, output = install()
    assert (code, output.splitlines()[-1]) == (0, "everything that tests need is installed"), output
    assert apt_calls(path) == ["-qq update", f"{INSTALLS} chromium prometheus"]
    assert shutil.which("promtool", path=str(path))


def test_existing_programs_are_not_installed_again(path: Path, install: Install) -> None:
    add_program(path / "chromium")
    assert install()[0] == 0
    assert apt_calls(path) == ["-qq update", f"{INSTALLS} prometheus"]
    assert install()[0] == 0
    assert len(apt_calls(path)) == 2


@pytest.mark.parametrize("step", ["update", "install"])
def test_a_step_that_fails_is_retried_once(path: Path, install: Install, step: str) -> None:
    (path / f"fail-{step}").touch()
    code, output = install()
    assert (code, "the network failed" in output) == (0, True), output
    assert len(apt_calls(path)) == 3


def test_a_check_installs_nothing_and_lists_what_is_missing(path: Path, install: Install) -> None:
    (path / "kubectl").unlink()
    (path.parent / "shared/k8s-crds").rmdir()
    code, output = install("--check")
    assert code == 1
    for name in (*PROGRAMS, "kubectl", "../shared/k8s-crds"):
        assert f"\n{name} (" in output
    assert apt_calls(path) == []


def test_programs_that_cannot_be_installed_are_listed(path: Path, install: Install) -> None:
    (path / "apt-get").unlink()
    (path / "kubectl").unlink()
    code, output = install()
    assert code == 1
    for name, package in PROGRAMS.items():
        assert f"{name} (Debian package {package})" in output
    assert "kubectl (" in output


def test_node_programs_are_installed_in_their_pinned_version(path: Path, install: Install) -> None:
    (path / "azurite-blob").unlink()
    code, output = install()
    assert (code, "azurite-blob (npm package azurite@" in output) == (1, True), output
    add_program(path / "npm", NPM)
    assert install()[0] == 0
    npm_calls = (path / "npm-calls").read_text()
    assert "install --global --ignore-scripts" in npm_calls
    assert npm_calls.split()[-1].startswith("azurite@")
