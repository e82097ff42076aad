"""Imports go one way, and the pure modules stay pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipelines", "serve", "jobs")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# may be imported anywhere
FREE = {"pipelines.spec", "pipelines.errors", "pipelines.jobfile"}
# lower may not import higher
LAYERS = [
    {"serve.cli"},
    {"serve.local"},
    {"serve.app"},
    {"serve.endpoint", "serve.metrics", "serve.routing", "serve.scaling"},
    {"serve.answering", "serve.described", "serve.openai"},
    {"serve.pools"},
    {"serve.replica"},
    {"serve.offer", "serve.completions", "serve.feedback", "serve.gate", "serve.load"},
    {"serve.chat", "serve.keys", "serve.quota", "serve.wire", "serve.events"},
    {"serve.spec", "serve"},
    {"jobs"},
    {"pipelines.batch"},
    {"pipelines.planner"},
    {"pipelines.cluster", "pipelines.worker", "pipelines.verify", "pipelines.manifest"},
    {"pipelines.index", "pipelines.ids", "pipelines.progress"},
    {"pipelines.tiny.exam"},
    {
        "pipelines.prepared",
        "pipelines.exclusive",
        "pipelines.ledger",
        "pipelines.records",
        "pipelines.lease",
        "pipelines.attempts",
        "pipelines.corpus",
        "pipelines.metrics",
    },
    {"pipelines.layout", "pipelines.jsonl", "pipelines.units"},
    {"pipelines.screen", "pipelines.signals"},
    {"pipelines.engine", "pipelines.storage", "pipelines.cost", "pipelines.models"},
    {"pipelines.stores", "pipelines.disk"},
    {"pipelines.keeper"},
    {"pipelines.answer", "pipelines.admission"},
    {"pipelines.tiny.train"},
    {"pipelines.tiny.batches"},
    {"pipelines.tiny.lessons", "pipelines.tiny.digest"},
    {"pipelines.combining", "pipelines.passages", "pipelines.tiny.author"},
    {"pipelines.tiny.rules"},
    {"pipelines.tasks"},
    {"pipelines.merging", "pipelines.prompts", "pipelines.reading"},
    {"pipelines.extraction", "pipelines.chunking"},
    {
        "pipelines.tokens",
        "pipelines.grounding",
        "pipelines.confidence",
        "pipelines.outline",
    },
    {"pipelines.columns", "pipelines.confidence", "pipelines.tiny.noise", "pipelines.tiny.network"},
    {"pipelines.tiny.muon"},
    {"pipelines.lifeline"},
    {"pipelines.documents", "pipelines.schema", "pipelines.tiny", "pipelines.tiny.phi3"},
    {"pipelines.ports"},
    {"pipelines.validation"},
    {"pipelines.subschemas"},
    {"pipelines.patterns"},
]
PURE = ["answer", "tasks", "tokens", "grounding", "documents", "errors", "spec", "admission"]
PURE += [
    "chunking",
    "outline",
    "patterns",
    "subschemas",
    "validation",
    "schema",
    "extraction",
    "merging",
    "combining",
    "prompts",
    "passages",
]
PURE += ["reading", "columns", "confidence"]


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _layer(name: str) -> int | None:
    for number, layer in enumerate(LAYERS):
        if name in layer or name.split(".")[0] in layer:
            return number
    return None


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_imports_one_above_it(path: Path) -> None:
    own = _layer(_name(path))
    for name in _imported(path) - FREE:
        other = _layer(name)
        if own is not None and other is not None:
            assert other >= own, f"{_name(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_packages_do_not_import_each_other(path: Path) -> None:
    package = _name(path).split(".")[0]
    forbidden = {"pipelines": {"serve", "jobs"}, "serve": {"jobs"}, "jobs": {"serve"}}[package]
    assert not {name.split(".")[0] for name in _imported(path)} & forbidden


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_the_engine_and_its_openai_routes_import_vllm(path: Path) -> None:
    if _name(path) not in ("pipelines.engine", "serve.completions"):
        assert not {name for name in _imported(path) if name.split(".")[0] == "vllm"}


def test_every_module_has_its_layer() -> None:
    names = {_name(path) for path in MODULES} - {"pipelines"} - FREE
    assert {name for name in names if _layer(name) is None} == set()


def test_the_pure_modules_import_no_ray_no_vllm_and_no_filesystem() -> None:
    wanted = ", ".join(f"pipelines.{name}" for name in PURE)
    program = (
        f"import sys; import {wanted}; "
        "print([n for n in ('ray', 'vllm', 'torch', 'fsspec', 's3fs') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    program = (
        "import sys; import jobs.cli; "
        "print([n for n in ('ray', 'vllm', 'torch', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
