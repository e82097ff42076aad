"""Compares phifleet with vLLM's LLM.chat on one GPU, with a model of Phi-3-mini's full shape.

The weights are dummies: the answers are noise of a fixed length, and only the time counts. Each
document of 4k to 32k tokens gets four questions: three short answers with quotes, and one as long
as a form. phifleet drafts eight tokens a step; since noise cannot be guessed, vLLM's rejection
sampler accepts each with the probability `--acceptance` if all before it were accepted. The KV
cache is measured in bf16 and in fp8. Prints a table with tokens/s, and with the share of the GPU's
peak that the model's own FLOPs make up (MFU).

`PYTHONPATH=. python benchmarks/gpu.py` takes less than 8 minutes on an H100 or H200. It needs vLLM
and phifleet's packages, but no model, network or Ray. It has not run on a GPU yet: its whole path
is tested on a CPU with `--shape small`, where vLLM can neither simulate acceptance nor keep the KV
cache in fp8, so that drafts are verified as usual there, and the fp8 runs are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from shaped import (
    SIZES,
    Chat,
    Phifleet,
    Side,
    model_flops,
    tasks_about,
    texts_of_length,
    write_model,
)

from pipelines.engine.config import EngineConfig, set_environment
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import TaskSet

GOAL = 1.4
"""The goal for phifleet's throughput at 8k to 16k tokens, in multiples of LLM.chat's."""
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bf16 FLOP/s of the data sheets, by a part of the GPU's name; the first that fits counts."""
ANSWER_TOKENS = (48, 48, 48, 192)
"""The lengths of the answers to the four questions about a document, in tokens."""
_MARGIN_TOKENS = 1024
# The side and the data type of the KV cache of each process.
_RUNS = (("chat", "auto"), ("phifleet", "auto"), ("chat", "fp8"), ("phifleet", "fp8"))


@dataclass(frozen=True)
class Row:
    """A measurement: `documents` documents of `length` tokens. `side` is chat, phifleet or prefill,
    which is chat with one question and one token of answer. `flops` are those of the model."""

    side: str
    kv_cache: str
    length: int
    documents: int
    seconds: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    flops: float


def main() -> int:
    """Run one side if the arguments name it, else all sides, each as a process of its own."""
    options = _options()
    if options.side:
        with os.fdopen(os.dup(1), "w") as results:
            os.dup2(2, 1)
            for row in _measure(options):
                print(json.dumps(asdict(row)), file=results, flush=True)
        return 0
    began, gpu = time.monotonic(), _gpu_name()
    rows: list[Row] = []
    failures: list[str] = []
    for side, kv_cache in _RUNS:
        if kv_cache == "auto" or gpu:
            left = options.limit_seconds - (time.monotonic() - began)
            measured, failure = _run(["--side", side, "--kv-cache", kv_cache], left)
            rows += measured
            failures += [f"{side}, KV cache {kv_cache}: {failure}"] if failure else []
    options.output.parent.mkdir(parents=True, exist_ok=True)
    document = {"gpu": gpu, "options": vars(options), "rows": [asdict(row) for row in rows]}
    options.output.write_text(json.dumps(document, indent=2, default=str) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(make_table(rows, gpu))
    for line in [_conditions(options, gpu), *_ratio_lines(rows), *failures]:
        console.print(line, soft_wrap=True)
    console.print(f"{time.monotonic() - began:.0f} s; all rows: {options.output}", soft_wrap=True)
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SIZES, default="full")
    parser.add_argument("--acceptance", type=float, default=0.7, help="default: 0.7")
    parser.add_argument("--drafts", type=int, default=8, help="drafted tokens a step (default: 8)")
    parser.add_argument("--limit-seconds", type=float, default=470, help="default: 470")
    parser.add_argument("--output", type=Path, default=Path("build/gpu.json"))
    parser.add_argument("--side", choices=("chat", "phifleet"), help="run one side only")
    parser.add_argument("--kv-cache", choices=("auto", "fp8"), default="auto")
    return parser.parse_args()


def _gpu_name() -> str | None:
    # in a process of its own: CUDA must not be initialized before an engine's processes start
    program = "import torch as t; print(t.cuda.get_device_name() if t.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip() or None


def _run(arguments: Sequence[str], seconds: float) -> tuple[list[Row], str]:
    """Run one side for at most `seconds`; return its rows, and why it failed, or "" if it did
    not."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), *sys.argv[1:], *arguments],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    failure = ""
    try:
        output, _ = process.communicate(timeout=max(1, seconds))
        failure = f"exit code {process.returncode}" if process.returncode else ""
    except subprocess.TimeoutExpired:
        failure = "out of time (--limit-seconds)"
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    finally:
        # the engine's processes can outlive their parent
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return [Row(**json.loads(line)) for line in output.splitlines()], failure


def _measure(options: argparse.Namespace) -> Iterator[Row]:
    """Start the engine of one side, and yield its measurements."""
    size = SIZES[options.shape]
    with tempfile.TemporaryDirectory() as directory:
        config = _engine_config(options, write_model(Path(directory), size.shape))
        set_environment(config)
        tasks = tasks_about(config, ANSWER_TOKENS)
        side: Side = Chat(config) if options.side == "chat" else Phifleet(config)
        side.read(texts_of_length(tasks, "warm-up", size.lengths[0], 4), tasks)
        for length in size.lengths:
            count = max(1, size.tokens // length)
            if options.side == "chat":
                yield _row("prefill", length, count, side, tasks_about(config, (1,)), config)
            yield _row(options.side, length, count, side, tasks, config)
        side.end()


def _row(
    name: str, length: int, count: int, side: Side, tasks: TaskSet, config: EngineConfig
) -> Row:
    texts = texts_of_length(tasks, name, length, count)
    began = time.monotonic()
    used = side.read(texts, tasks)
    return Row(
        side=name,
        kv_cache="bf16" if config.kv_cache_dtype == "auto" else config.kv_cache_dtype,
        length=length,
        documents=count,
        seconds=time.monotonic() - began,
        prompt_tokens=used.prompt_tokens,
        cached_tokens=used.cached_prompt_tokens,
        output_tokens=used.output_tokens,
        flops=count * model_flops(length, tasks, config.model),
    )


def _engine_config(options: argparse.Namespace, model: Model) -> EngineConfig:
    gpu = _gpu_name() is not None
    engine: dict[str, Any] = {"load_format": "dummy"}
    if options.side == "phifleet":
        engine["speculative_config"] = {
            "method": "custom_class",
            "model": "shaped.ConstantProposer",
            "num_speculative_tokens": options.drafts,
        }
        if gpu:
            rates = [options.acceptance ** (position + 1) for position in range(options.drafts)]
            simulated = {
                "rejection_sample_method": "synthetic",
                "synthetic_acceptance_rates": rates,
            }
            engine["speculative_config"] |= simulated
    longest = max(SIZES[options.shape].lengths) + max(ANSWER_TOKENS) + _MARGIN_TOKENS
    return EngineConfig(
        model,
        longest,
        gpu=gpu,
        kv_cache_dtype=options.kv_cache,
        # phifleet's own drafter would find nothing to guess in noise
        drafting=False,
        options=engine,
    )


def make_table(rows: Sequence[Row], gpu: str | None) -> Table:
    """Return the table of all rows. Tokens of prompts count for each question, reused or not."""
    peak = next((flops for name, flops in PEAK_FLOPS.items() if name in (gpu or "")), None)
    table = Table(title=f"Phi-3-mini's shape on {gpu or 'a CPU'}")
    for name in ("side", "KV cache"):
        table.add_column(name)
    for name in ("tokens", "documents", "s", "k prompt tok/s", "answer tok/s", "reused", "MFU"):
        table.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: (row.kv_cache, row.length, row.side)):
        table.add_row(
            row.side,
            row.kv_cache,
            f"{row.length:,}",
            str(row.documents),
            f"{row.seconds:.1f}",
            f"{row.prompt_tokens / row.seconds / 1000:.1f}",
            f"{row.output_tokens / row.seconds:.0f}",
            f"{row.cached_tokens / row.prompt_tokens:.3f}",
            f"{row.flops / row.seconds / peak:.2f}" if peak else "-",
        )
    return table


def _conditions(options: argparse.Namespace, gpu: str | None) -> str:
    tokens = sum(options.acceptance**position for position in range(options.drafts + 1))
    simulated = f"acceptance simulated at {options.acceptance}: {tokens:.2f} tokens a step"
    drafts = simulated if gpu else "acceptance not simulated, which vLLM cannot on a CPU"
    answers = ", ".join(map(str, ANSWER_TOKENS))
    return f"answers of {answers} tokens; {options.drafts} drafted tokens a step, {drafts}"


def _ratio_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each length and KV cache: how many times as fast as LLM.chat phifleet is."""
    seconds = {(row.side, row.kv_cache, row.length): row.seconds for row in rows}
    for (side, kv_cache, length), chat in seconds.items():
        own = seconds.get(("phifleet", kv_cache, length))
        if side == "chat" and own:
            goal = f" (goal: {GOAL})" if 8192 <= length <= 16_384 else ""
            yield f"{length:,} tokens, {kv_cache}: {chat / own:.2f} times LLM.chat{goal}"


if __name__ == "__main__":
    sys.exit(main())
