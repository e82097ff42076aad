"""The options of vLLM's engine that the key `model.engine` of a job or serve file may set.

Lists every engine argument of the pinned vLLM, so that a file is checked on a machine without vLLM:
options that are passed on, with the type of their value, and arguments that are refused, with the
reason. A test compares the lists with vLLM. Knows no engine; imports no vLLM.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

# An option on each line, and the type of its value: a name of _TYPES, or the allowed words with "|"
# between them. A "?" at the end allows null, which selects vLLM's own default.

# They change speed and memory. Greedy answers depend on them no more than on which requests happen
# to be computed together.
_SAME_ANSWERS = """
async_scheduling bool?
aggregate_engine_logging bool
block_size whole?
collect_detailed_traces texts?
cpu_distributed_timeout_seconds whole?
cpu_offload_gb number
cudagraph_capture_sizes wholes?
cudagraph_metrics bool
distributed_timeout_seconds whole?
enable_layerwise_nvtx_tracing bool
enable_logging_iteration_details bool
enable_mfu_metrics bool
gpu_memory_utilization number
jit_monitor_mode warn|error
jit_monitor_verbose bool
kv_cache_memory_bytes whole?
kv_cache_metrics bool
kv_cache_metrics_sample number
kv_offloading_size number?
long_prefill_token_threshold whole
max_cudagraph_capture_size whole?
max_num_batched_tokens whole?
max_num_scheduled_tokens whole?
max_num_seqs whole?
max_parallel_loading_workers whole?
num_gpu_blocks_override whole?
numa_bind bool
numa_bind_cpus texts?
numa_bind_nodes wholes?
otlp_traces_endpoint text?
prefill_schedule_interval whole
prefix_caching_hash_algo sha256|sha256_cbor|xxhash|xxhash_cbor
pt_load_map_location text
safetensors_load_strategy lazy|eager|prefetch|torchao?
safetensors_prefetch_block_size whole
safetensors_prefetch_num_threads whole
scheduler_reserve_full_isl bool
show_hidden_metrics_for_version text?
stream_interval whole
use_tqdm_on_load bool
watermark number
"""
# They change the numbers that the model computes, and so may change answers.
_OTHER_ANSWERS = """
allow_deprecated_quantization bool
attention_backend text?
attention_config mapping
compilation_config mapping
disable_cascade_attn bool
disable_custom_all_reduce bool
disable_hybrid_kv_cache_manager bool?
dtype auto|half|float16|bfloat16|float|float32
enable_flashinfer_autotune bool
enforce_eager bool
ir_op_priority mapping
kernel_config mapping
kv_cache_dtype_skip_layers texts
load_format text
model_impl auto|vllm|transformers
model_loader_extra_config mapping
optimization_level whole
performance_mode balanced|interactivity|throughput
quantization_config mapping?
"""
_REFUSED = {
    "the model is named by model.name": "model served_model_name",
    "use model.revision": "revision code_revision tokenizer_revision",
    "use model.quantization": "quantization",
    "use model.kv_cache_dtype": "kv_cache_dtype",
    "phifleet computes it from the documents and the tasks; use long_documents.single_pass_tokens, "
    "or limits.long_model_len in a serve file": "max_model_len",
    "use compute.tensor_parallel": "tensor_parallel_size",
    # vLLM checks the value only there
    "use kernel_config: {linear_backend: ...}": "linear_backend",
    "an engine runs on the compute.tensor_parallel GPUs of one node that Ray assigns to it": """
        pipeline_parallel_size prefill_context_parallel_size decode_context_parallel_size
        dcp_comm_backend dcp_q_replicate dcp_kv_cache_interleave_size cp_kv_cache_interleave_size
        master_addr master_port nnodes node_rank device_ids distributed_executor_backend""",
    "phifleet runs several engines itself; use compute.replicas, or pools in a serve file": """
        data_parallel_size data_parallel_rank data_parallel_start_rank data_parallel_size_local
        data_parallel_address data_parallel_rpc_port data_parallel_hybrid_lb
        data_parallel_external_lb data_parallel_multi_port_external_lb data_parallel_backend
        disable_nccl_for_dp_synchronization enable_dbo ubatch_size dbo_decode_token_threshold
        dbo_prefill_token_threshold _api_process_count _api_process_rank""",
    "phifleet drafts tokens itself; use model.drafting": """
        speculative_config spec_method spec_model spec_tokens per_request_spec_decode_metrics""",
    "phifleet decides itself how answers are decoded by a schema": """
        structured_outputs_config reasoning_parser reasoning_parser_plugin reasoning_config""",
    "phifleet sets up the prefix cache, through which a document's tasks share its prefill": """
        enable_prefix_caching prefix_cache_retention_interval disable_sliding_window
        prefix_match_unit""",
    "phifleet needs prefills in parts, so that a long document does not stop the others": """
        enable_chunked_prefill""",
    "phifleet sets the sampling of every request": """
        seed generation_config override_generation_config logits_processors use_fp64_gumbel
        return_sampling_mask""",
    "phifleet computes the confidence of labels from the log-probabilities as it requests them": """
        max_logprobs logprobs_mode""",
    "phifleet orders and admits requests itself, by their tokens; an endpoint's limit is "
    "limits.outstanding_share": """
        scheduling_policy max_num_queued_reqs max_num_queued_tokens""",
    "phifleet watches and ends the engine's processes through vLLM's own classes": """
        additional_config disable_log_stats scheduler_cls worker_cls worker_extension_cls
        shutdown_timeout enable_fault_tolerance fault_tolerance_config""",
    "vLLM would write the documents into its log": "enable_log_requests",
    "phifleet tokenizes prompts itself, with the model's tokenizer": """
        tokenizer tokenizer_mode skip_tokenizer_init enable_prompt_embeds tokens_only
        renderer_num_workers io_processor_plugin""",
    "phifleet reads the model's config.json too; change it in a copy of the model, and set "
    "model.name to the path of that copy": """
        hf_overrides hf_config_path config_format model_class_overrides model_weights""",
    "phifleet downloads models itself; set HF_HOME and HF_TOKEN in the environment": """
        download_dir hf_token ignore_patterns""",
    "phifleet runs no code from a model's files": "trust_remote_code",
    "engines of different context lengths must not share a store of KV blocks": """
        kv_transfer_config kv_events_config kv_offloading_backend ec_transfer_config
        ec_manager_config""",
    "phifleet starts a program of its own and offers no way to use this": """
        enable_sleep_mode enable_cumem_allocator weight_transfer_config profiler_config
        ray_workers_use_nsight enable_trace_replay fail_on_environ_validation""",
    "phifleet answers questions about text with Phi-3, and this is for other models or uses": """
        runner convert pooler_config diffusion_config enable_return_routed_experts
        enable_expert_parallel enable_batch_sharded_sampling enable_ep_weight_filter moe_backend
        all2all_backend enable_elastic_ep eplb_config enable_eplb expert_placement_strategy
        enable_bf16x3_router_gemm kv_sharing_fast_prefill offload_backend cpu_offload_params
        offload_group_size offload_num_in_group offload_prefetch_step offload_params
        enable_lora max_loras max_lora_rank default_mm_loras fully_sharded_loras max_cpu_loras
        lora_dtype lora_target_modules enable_tower_connector_lora specialize_active_lora
        enable_mixed_moe_lora_format enable_moe_shared_loras
        mamba_config mamba_cache_dtype mamba_ssm_cache_dtype mamba_block_size mamba_cache_mode
        replayssm_buffer_len use_replayssm mamba_backend mamba_ssu_algorithm
        enable_mamba_cache_stochastic_rounding mamba_cache_philox_rounds gdn_prefill_backend
        kda_prefill_backend
        allowed_local_media_path allowed_media_domains language_model_only limit_mm_per_prompt
        enable_mm_embeds interleave_mm_strings media_io_kwargs mm_processor_kwargs
        mm_processor_cache_gb mm_processor_cache_type mm_hasher_algorithm
        mm_shm_cache_max_object_size_mb mm_encoder_only mm_encoder_tp_mode
        mm_encoder_attn_backend mm_encoder_attn_dtype mm_encoder_fp8_scale_path
        mm_encoder_fp8_scale_save_path mm_encoder_fp8_scale_save_margin skip_mm_profiling
        video_pruning_rate video_pruning_method mm_tensor_ipc mm_processor_device
        mm_ipc_gpu_memory_gb mm_device_do_normalize disable_chunked_mm_input
        enable_mm_processor_stats""",
}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and value >= 0)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_TYPES: dict[str, tuple[Callable[[object], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "whole": (_is_whole, "a whole number of at least 0"),
    "number": (_is_number, "a number of at least 0"),
    "text": (_is_text, "a non-empty string"),
    "wholes": (
        lambda value: isinstance(value, list) and all(map(_is_whole, value)),
        "a list of whole numbers of at least 0",
    ),
    "texts": (
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
        "a list of non-empty strings",
    ),
    "mapping": (lambda value: isinstance(value, dict), "a mapping, such as {key: value}"),
}


@dataclass(frozen=True, slots=True)
class EngineOption:
    """An engine argument of vLLM that a file may set.

    Attributes:
        type: a name of `_TYPES`, or the allowed words with "|" between them.
        nullable: whether the value may be null, which selects vLLM's own default.
        changes_answers: whether another value may change answers.
    """

    type: str
    nullable: bool
    changes_answers: bool

    @property
    def phrase(self) -> str:
        """A description of the valid values, which follows "must be" in a message."""
        words = f"one of {', '.join(self.type.split('|'))}"
        phrase = _TYPES[self.type][1] if self.type in _TYPES else words
        return f"{phrase}, or null" if self.nullable else phrase

    def accepts(self, value: object) -> bool:
        """Return whether the type of `value` is right; vLLM may still refuse the value."""
        if value is None:
            return self.nullable
        if self.type in _TYPES:
            return _TYPES[self.type][0](value)
        return value in self.type.split("|")


@cache
def engine_options() -> dict[str, EngineOption]:
    """Return the options that `model.engine` may set, by name."""
    return {
        name: EngineOption(kind.removesuffix("?"), kind.endswith("?"), changes_answers)
        for listed, changes_answers in ((_SAME_ANSWERS, False), (_OTHER_ANSWERS, True))
        for name, kind in map(str.split, listed.strip().splitlines())
    }


@cache
def refused_arguments() -> dict[str, str]:
    """Return vLLM's engine arguments that `model.engine` may not set, with the reason for each."""
    return {name: reason for reason, names in _REFUSED.items() for name in names.split()}


def option_violations(options: Mapping[str, Any]) -> Iterator[tuple[tuple[str], str]]:
    """Yield the path below `model.engine` of each wrong option, and what it must be."""
    known = engine_options()
    for name, value in options.items():
        if name in known:
            if not known[name].accepts(value):
                yield (name,), known[name].phrase
        elif reason := refused_arguments().get(name):
            yield (name,), f"absent: {reason}"
        else:
            similar = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{similar[0]}'? " if similar else ""
            absent = f"absent: vLLM's engine has no such option; {hint}"
            yield (name,), f"{absent}docs/engine.md lists the options"


def answer_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that may change answers."""
    return {name: options[name] for name in options if engine_options()[name].changes_answers}
