"""Tests of an engine on a machine without a C++ compiler: the README requires none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine.config import EngineConfig, set_environment
from pipelines.models.resolve import Model

_COMPILERS = re.compile(
    r"(.*-)?(g?cc|[cg]\+\+|clang(\+\+)?|cpp|as|ld(\..+)?|c[89]9|icpx?)(-[\d.]+)?"
)
# Requests a label with log-probabilities. The process and its engine have the given PATH.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.models.resolve import resolve
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import load_tokenizer

async def ask(engine, tokenizer):
    prompt = tokenizer.encode("Is it a statement?")
    sampling = Sampling(max_tokens=8, choices=("statement", "expression"))
    print("logprob", (await engine.generate(prompt, sampling)).logprob)

if __name__ == "__main__":
    model = resolve("tiny-random")
    tokenizer = load_tokenizer(model.path)
    engine = VllmEngine(EngineConfig(model, 512, gpu=False), tokenizer)
    asyncio.run(ask(engine, tokenizer))
    engine.shutdown()
"""


@pytest.fixture
def without_compiler(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return an environment whose PATH has all programs except compilers and linkers."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for directory in os.environ["PATH"].split(os.pathsep):
        for program in Path(directory).glob("*"):
            link = programs / program.name
            if not _COMPILERS.fullmatch(program.name) and not link.is_symlink():
                link.symlink_to(program)
    assert not any(shutil.which(name, path=str(programs)) for name in ("g++", "cc", "gcc", "clang"))
    dropped = ("CC", "CXX", "TORCHDYNAMO_DISABLE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    yield {
        **kept,
        "PATH": str(programs),
        # an empty cache, so that no earlier compilation is reused
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }


def test_a_request_with_log_probabilities_needs_no_compiler(
    without_compiler: dict[str, str], tiny_model: Model, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)], env=without_compiler, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"^logprob -\d", done.stdout, re.M)


@pytest.mark.parametrize(("gpu", "expected"), [(False, "1"), (True, None)])
def test_dynamo_is_disabled_on_cpus_only(
    tiny_model: Model, gpu: bool, expected: str | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", {})
        set_environment(EngineConfig(tiny_model, 512, gpu=gpu))
        assert os.environ.get("TORCHDYNAMO_DISABLE") == expected


def test_a_users_setting_of_dynamo_is_kept(tiny_model: Model) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHDYNAMO_DISABLE", "0")
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        set_environment(EngineConfig(tiny_model, 512, gpu=False))
        assert os.environ["TORCHDYNAMO_DISABLE"] == "0"
