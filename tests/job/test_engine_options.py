"""Tests of `model.engine`: the options of vLLM's engine in a job or serve file."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from pathlib import Path
from typing import Any, Literal

import pytest

from pipelines.errors import SpecError
from pipelines.job.engine_options import EngineOption, engine_options, refused_arguments
from pipelines.job.fingerprint import answer_digests, differing_keys
from pipelines.job.jobfile import parse_yaml
from pipelines.job.spec import JobSpec, load_job, parse_job
from serve.spec import parse_serve

# torch and vLLM warn when they are imported
pytestmark = pytest.mark.filterwarnings("ignore")
DOCS = (Path(__file__).parents[2] / "docs" / "engine.md").read_text()
JOB = """
input: {path: in}
output: {path: out}
tasks: [{name: summary, kind: summarize}]
"""


def job(engine: object, **sections: Any) -> JobSpec:
    data = parse_yaml(JOB, "test")
    assert isinstance(data, dict)
    return parse_job({**data, "model": {"engine": engine}, **sections})


FAULTS = """
{max_num_seq: 64}
    max_num_seq: got 64, must be absent: vLLM's engine has no such option; did you mean \
'max_num_seqs'? docs/engine.md lists the options
{quarks: 3}
    quarks: got 3, must be absent: vLLM's engine has no such option; docs/engine.md lists the \
options
{max_model_len: 8192}
    max_model_len: got 8192, must be absent: phifleet computes it from the documents and the \
tasks; use long_documents.single_pass_tokens, or limits.long_model_len in a serve file
{tensor_parallel_size: 2}
    tensor_parallel_size: got 2, must be absent: use compute.tensor_parallel
{enable_log_requests: true}
    enable_log_requests: got true, must be absent: vLLM would write the documents into its log
{max_num_seqs: "64"}
    max_num_seqs: got '64', must be a whole number of at least 0, or null
{max_num_seqs: true}
    max_num_seqs: got true, must be a whole number of at least 0, or null
{max_num_seqs: -1}
    max_num_seqs: got -1, must be a whole number of at least 0, or null
{gpu_memory_utilization: null}
    gpu_memory_utilization: got null, must be a number of at least 0
{enforce_eager: 1}
    enforce_eager: got 1, must be true or false
{dtype: bf16}
    dtype: got 'bf16', must be one of auto, half, float16, bfloat16, float, float32
{load_format: ""}
    load_format: got '', must be a non-empty string
{cudagraph_capture_sizes: [1, two]}
    cudagraph_capture_sizes: got [1, 'two'], must be a list of whole numbers of at least 0, or null
{kv_cache_dtype_skip_layers: 1}
    kv_cache_dtype_skip_layers: got 1, must be a list of non-empty strings
{compilation_config: 3}
    compilation_config: got 3, must be a mapping, such as {key: value}
""".strip().splitlines()


@pytest.mark.parametrize(
    ("engine", "message"), [*zip(FAULTS[::2], FAULTS[1::2], strict=True)], ids=str.strip
)
def test_a_wrong_option_is_refused_with_its_path_value_and_remedy(
    engine: str, message: str
) -> None:
    for refuse in (job, lambda given: parse_serve({"model": {"engine": given}})):
        with pytest.raises(SpecError) as caught:
            refuse(parse_yaml(engine, "test"))
        assert caught.value.message == f"model.engine.{message.strip()}"


@pytest.mark.parametrize("engine", [None, [], "dtype", 1])
def test_options_that_are_no_mapping_are_refused(engine: object) -> None:
    with pytest.raises(SpecError, match=r"model\.engine: got .* must be a mapping of vLLM"):
        job(engine)


@pytest.mark.parametrize(
    "engine",
    [
        "{}",
        "{max_num_seqs: 64, gpu_memory_utilization: 0.95}",
        "{gpu_memory_utilization: 1, block_size: null, enforce_eager: true, dtype: float16}",
        "{compilation_config: {cudagraph_mode: PIECEWISE}, cudagraph_capture_sizes: [1, 2]}",
    ],
)
def test_options_are_kept_as_written(engine: str) -> None:
    options = parse_yaml(engine, "test")
    assert job(options).model.engine == options
    assert parse_serve({"model": {"engine": options}}).model.engine == options


def test_an_option_can_be_set_on_the_command_line_and_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    loaded = load_job(tmp_path / "job.yaml", ["model.engine.max_num_seqs=64"])
    assert loaded.spec.model.engine == {"max_num_seqs": 64}
    assert loaded.source["model"] == {"engine": {"max_num_seqs": 64}}


def test_engines_that_share_a_gpu_may_not_take_more_than_their_share_of_memory() -> None:
    half = {"compute": {"gpus_per_replica": 0.5}}
    assert job({"gpu_memory_utilization": 0.45}, **half)
    message = r"model\.engine\.gpu_memory_utilization: got 0\.9, must be at most .* which is 0\.5"
    with pytest.raises(SpecError, match=message):
        job({"gpu_memory_utilization": 0.9}, **half)
    with pytest.raises(SpecError, match=message):
        parse_serve({"model": {"engine": {"gpu_memory_utilization": 0.9}}, **half})


def test_only_options_that_may_change_answers_are_in_the_fingerprint() -> None:
    absent = answer_digests(job({}), "r", 1)
    assert not [key for key in absent if "engine" in key]

    def changed(engine: object) -> list[str]:
        return differing_keys(absent, answer_digests(job(engine), "r", 1))

    same = {"max_num_seqs": 64, "gpu_memory_utilization": 0.9, "block_size": 16, "watermark": 0.1}
    assert changed(same) == []
    assert changed({"dtype": "float16", **same}) == ["model.engine.dtype"]
    old, new = (answer_digests(job({"dtype": dtype}), "r", 1) for dtype in ("half", "float32"))
    assert differing_keys(old, new) == ["model.engine.dtype"]


def test_every_engine_argument_of_vllm_is_either_an_option_or_refused() -> None:
    from vllm import AsyncEngineArgs

    options, refused = engine_options().keys(), refused_arguments().keys()
    assert not options & refused
    assert options | refused == {field.name for field in dataclasses.fields(AsyncEngineArgs)}


def _allowed(hint: object) -> set[str]:
    """Return the types of values, as EngineOption names them, that vLLM's annotation allows."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_allowed, arguments))
    if origin is Literal:
        return {"one of", *map(str, arguments)}
    if origin is list:
        return {"wholes" if arguments == (int,) else "texts"}
    if isinstance(origin or hint, type):
        kind: Any = origin or hint
        bases = {bool: "bool", int: "whole", float: "number", str: "text", enum.Enum: "text"}
        named = {name for base, name in bases.items() if issubclass(kind, base)}
        return {"null"} if kind is types.NoneType else named or {"mapping"}
    return {"text"} if hint is typing.Any else set()


@pytest.fixture(scope="module")
def vllm_types() -> dict[str, Any]:
    from vllm import AsyncEngineArgs
    from vllm.engine import arg_utils

    # vLLM imports this name only for type checkers
    names = {"QuantizationConfigArgs": dict}
    return typing.get_type_hints(AsyncEngineArgs, vars(arg_utils), names)


@pytest.mark.parametrize(("name", "option"), engine_options().items())
def test_the_type_of_an_option_is_that_of_vllms_argument(
    name: str, option: EngineOption, vllm_types: dict[str, Any]
) -> None:
    allowed = _allowed(vllm_types[name])
    if option.type == "text" or ("|" in option.type and "text" in allowed):
        assert allowed & {"text", "one of"}
    else:
        assert {*option.type.split("|")} <= allowed
    assert option.nullable == ("null" in allowed)


@pytest.mark.parametrize("name", engine_options())
def test_the_documentation_lists_every_option(name: str) -> None:
    assert f"`{name}`" in DOCS
