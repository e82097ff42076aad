"""Imports point downwards between packages, and pure packages stay pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path for top in ("pipelines", "serve", "jobs") for path in (ROOT / top).rglob("*.py")
)
# Top to bottom: a package imports only those of lower lines, never another of its own line.
LAYERS = """
serve.app serve.local serve.startup serve.announcement serve.cli
serve.routes
serve.access serve.engines
serve.wire serve.errors serve.events serve.spec serve.metrics serve.environment serve.haproxy
jobs
pipelines.tiny
pipelines.reporting pipelines.doctor
pipelines.run
pipelines.ledger pipelines.engine
pipelines.corpus pipelines.answering
pipelines.tasks pipelines.models
pipelines.text
pipelines.job pipelines.storage
pipelines.stores
pipelines.documents
pipelines.errors
"""
IMPORTING_VLLM = (
    "pipelines.engine.probe",
    "pipelines.engine.startup",
    "pipelines.engine.vllm_engine",
    "serve.engines.completions",
)
PURE = ("errors", "documents", "job", "text", "tasks", "answering")


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _layer(name: str) -> tuple[int, str]:
    """Return the line that a module belongs to, and its package: `serve` for modules of serve."""
    for line, names in enumerate(LAYERS.strip().splitlines()):
        for listed in names.split():
            if f"{name}.".startswith(f"{listed}."):
                package = (ROOT / listed.replace(".", "/")).is_dir()
                return line, listed if package else listed.partition(".")[0]
    raise AssertionError(f"{name} has no layer")


@pytest.mark.parametrize("path", [p for p in MODULES if "." in _name(p)], ids=_name)
def test_a_package_imports_only_packages_below_it(path: Path) -> None:
    line, package = _layer(_name(path))
    for name in _imported(path):
        if name.split(".")[0] in ("pipelines", "serve", "jobs"):
            imported_line, imported_package = _layer(name)
            same = (imported_line, imported_package) == (line, package)
            assert same or imported_line > line, f"{_name(path)} imports {name}"
            assert imported_package != "jobs" or package == "jobs"


def test_pipelines_has_no_module_outside_a_package_but_four() -> None:
    flat = {path.stem for path in (ROOT / "pipelines").glob("*.py")}
    assert flat == {"__init__", "errors", "documents", "storage"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_the_engine_and_its_openai_routes_import_vllm(path: Path) -> None:
    if _name(path) not in IMPORTING_VLLM:
        assert not {name for name in _imported(path) if name.split(".")[0] == "vllm"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_the_check_of_grammars_imports_xgrammar(path: Path) -> None:
    if _name(path) != "pipelines.engine.grammars":
        assert not {name for name in _imported(path) if name.split(".")[0] == "xgrammar"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_package_re_exports_nothing(path: Path) -> None:
    if path.name == "__init__.py":
        assert ast.get_docstring(ast.parse(path.read_text()))
        assert not _imported(path)


def _loaded(modules: str, watched: tuple[str, ...]) -> str:
    """Import modules in a fresh interpreter; return which of the watched packages that loaded."""
    program = f"import sys; import {modules}; print([n for n in {watched} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip()


def test_pure_packages_import_no_ray_no_vllm_no_torch_and_no_filesystem() -> None:
    names = [name for name in map(_name, MODULES) if name.split(".")[1:2] in [[p] for p in PURE]]
    assert len(names) > len(PURE)
    assert _loaded(", ".join(names), ("ray", "vllm", "torch", "fsspec", "s3fs")) == "[]"


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    assert _loaded("jobs.cli", ("ray", "vllm", "torch", "pyarrow")) == "[]"
