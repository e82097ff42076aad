"""Runs one measurement of one side of the comparison: `sides.py SIDE DIRECTORY`.

throughput.py starts it as a separate process for each measurement. Prints one JSON line; output of
vLLM and Ray goes to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from workloads import Case, read_case

OFFLINE_LIMITS = {"max_num_batched_tokens": 4096, "max_num_seqs": 256}
"""Limits that vLLM's LLM class has by default on a CPU. Other engines are started with the same, so
that the sides are comparable."""
RAY_CPUS = 8
"""Number of CPUs with which Ray is started, whatever the machine has. With two, the Parquet source
and the actors of the stages would wait for each other's CPUs for ever."""


NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}
"""The speculative decoding of the side `ngram`, as vLLM's `speculative_config`."""


def run_chat(case: Case, **engine: Any) -> dict[str, Any]:
    """Measure vLLM's LLM.chat: one call with all conversations. `engine` are further arguments of
    the engine. Returns the seconds of the call, without the start of the engine, and numbers of
    tokens."""
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    rows = pq.read_table(case.prompts).to_pylist()
    conversations = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    parameters = [
        SamplingParams(
            temperature=0.0,
            max_tokens=row["max_tokens"],
            structured_outputs=StructuredOutputsParams(json=row["schema"])
            if row["schema"]
            else None,
        )
        for row in rows
    ]
    llm = LLM(**case.engine, **_structured_outputs(), **engine)
    started_at = time.monotonic()
    outputs = llm.chat(conversations, parameters, use_tqdm=False)
    seconds = time.monotonic() - started_at
    scheduler = llm.llm_engine.vllm_config.scheduler_config
    limits = {name: getattr(scheduler, name) for name in OFFLINE_LIMITS}
    if limits != OFFLINE_LIMITS:
        raise SystemExit(
            f"vLLM's LLM class has the limits {limits}, but OFFLINE_LIMITS in {__file__} has "
            f"{OFFLINE_LIMITS}: set it to the same, so that the sides are comparable"
        )
    return {
        "steady_seconds": seconds,
        "prompt_tokens": sum(len(output.prompt_token_ids) for output in outputs),
        "cached_prompt_tokens": sum(output.num_cached_tokens or 0 for output in outputs),
        "output_tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
    }


def run_ngram(case: Case) -> dict[str, Any]:
    """Measure vLLM's LLM.chat with n-gram speculative decoding; returns what `run_chat` does."""
    return run_chat(case, speculative_config=NGRAM)


def _structured_outputs() -> dict[str, Any]:
    """Return the engine arguments with which phifleet decodes by a schema."""
    from vllm.config import StructuredOutputsConfig

    config = StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True)
    return {"structured_outputs_config": config}


def run_ray(case: Case) -> dict[str, Any]:
    """Run Ray Data LLM with its default stages, from Parquet to Parquet. Returns numbers of tokens;
    the caller measures the time of the process."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    ray.init(num_cpus=RAY_CPUS)
    output = Path(case.directory, "ray-output")
    shutil.rmtree(output, ignore_errors=True)
    arguments = {**case.engine, **OFFLINE_LIMITS, **_structured_outputs()}
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=arguments.pop("model"),
            engine_kwargs=arguments,
            concurrency=1,
            # without this the engine waits for a GPU
            placement_group_config={"bundles": [{"CPU": 1}]},
        ),
        preprocess=_conversation,
        postprocess=_result,
    )
    processor(ray.data.read_parquet(str(case.prompts))).write_parquet(str(output))
    table = pq.read_table(output)
    ray.shutdown()
    return {
        "prompt_tokens": sum(table["prompt_tokens"].to_pylist()),
        "output_tokens": sum(table["output_tokens"].to_pylist()),
    }


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    structured = {"structured_outputs": {"json": row["schema"]}} if row["schema"] else {}
    return {
        "doc_id": row["doc_id"],
        "task": row["task"],
        "messages": [{"role": "user", "content": row["prompt"]}],
        "sampling_params": {
            "temperature": 0.0,
            "max_tokens": int(row["max_tokens"]),
            "detokenize": False,
            **structured,
        },
    }


def _result(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "doc_id": row["doc_id"],
        "task": row["task"],
        "answer": row["generated_text"],
        "prompt_tokens": int(row["num_input_tokens"]),
        "output_tokens": int(row["num_generated_tokens"]),
    }


def run_start(case: Case) -> dict[str, Any]:
    """Measure the start of an AsyncLLM, the engine that phifleet's worker starts, including the
    import of vLLM. Returns the seconds."""
    started_at = time.monotonic()
    from vllm import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    arguments = AsyncEngineArgs(**case.engine, disable_log_stats=True)
    engine = AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
    seconds = time.monotonic() - started_at
    engine.shutdown()
    return {"engine_start_seconds": seconds}


SIDES: Mapping[str, Callable[[Case], dict[str, Any]]] = {
    "chat": run_chat,
    "ngram": run_ngram,
    "ray": run_ray,
    "start": run_start,
}
"""The sides of the comparison with phifleet, which this module can run."""


def command(side: str, case: Case) -> Sequence[str]:
    """Return the command that runs a side. For phifleet this is its own command line; its OUTPUT is
    deleted first."""
    if side != "phifleet":
        return [sys.executable, str(Path(__file__)), side, case.directory]
    shutil.rmtree(Path(case.directory, "output"), ignore_errors=True)
    return [sys.executable, "-m", "jobs.cli", "run", str(case.job_file), "--json"]


def environment(case: Case) -> Mapping[str, str]:
    """Return the environment variables of a run, the same for every side."""
    return {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": str(case.kv_cache_gib),
        "VLLM_NO_USAGE_STATS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def main() -> None:
    """Run the side and the case that the command line names, and print the result as JSON."""
    side, directory = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as results:
        os.dup2(2, 1)
        print(json.dumps(SIDES[side](read_case(Path(directory)))), file=results)


if __name__ == "__main__":
    main()
