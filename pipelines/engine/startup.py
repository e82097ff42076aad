"""Starts vLLM's engine and closes what vLLM leaves open.

With `vllm_engine.py`, the only modules of `pipelines` that import vllm. Knows the engine's
arguments; nothing of requests.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.engine.config import (
    EngineConfig,
    draft_settings,
    engine_arguments,
    option_hint,
    set_environment,
)
from pipelines.engine.lifeline import Lifeline
from pipelines.engine.niceness import lower_priorities
from pipelines.engine.proposer import speculation
from pipelines.engine.vocabulary import vocabulary
from pipelines.engine.watchdog import Pulse, error_summary
from pipelines.errors import EngineError
from pipelines.text.tokens import ChatTokenizer


def step_listener(pulse: Pulse, on_preemption: Callable[[], None]) -> Any:
    """Return a factory of vLLM stat loggers, which vLLM calls after every step.

    Each step counts for `pulse`. `on_preemption` is called after a step in which vLLM preempted
    requests, because the KV cache was full.
    """
    from vllm.v1.metrics.loggers import StatLoggerBase

    # vllm ships no types
    class Listener(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

        def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
            pulse.beat()
            if iteration_stats is not None and iteration_stats.num_preempted_reqs:
                on_preemption()

        def log_engine_initialized(self) -> None: ...

    return Listener


def start_engine(
    config: EngineConfig,
    tokenizer: ChatTokenizer,
    pulse: Pulse,
    on_preemption: Callable[[], None],
    ray_metrics: bool,
) -> tuple[Any, Sequence[Any]]:
    """Start an engine; return it and its processes. Raises EngineError."""
    set_environment(config)
    from vllm import AsyncEngineArgs
    from vllm.config import StructuredOutputsConfig
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    loggers = [step_listener(pulse, on_preemption)]
    if ray_metrics:
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

        loggers.append(RayPrometheusStatLogger)
    other_processes = set(multiprocessing.active_children())
    drafting = draft_settings(config, tokenizer) if config.drafting else None
    try:
        with vocabulary(tokenizer, config.model.path) as directory:
            arguments = AsyncEngineArgs(
                **engine_arguments(config),
                **(speculation(drafting) if drafting else {}),
                tokenizer=directory and str(directory),
                # of the grammars that vLLM derives itself, which no request of phifleet uses
                structured_outputs_config=StructuredOutputsConfig(
                    backend="xgrammar", disable_any_whitespace=True
                ),
                disable_log_stats=not ray_metrics,
                additional_config=Lifeline(carried=drafting),
            )
            # this context gives the larger prefill steps of vLLM's offline LLM class
            llm = AsyncLLM.from_engine_args(
                arguments, usage_context=UsageContext.LLM_CLASS, stat_loggers=loggers
            )
    except Exception as error:
        raise EngineError(
            f"the engine for {config.model.name} did not start: {error_summary(error)}. "
            f"{option_hint(config, str(error))}vLLM's "
            "own output names the cause: see the run's log, or for an endpoint Ray's logs on the "
            "engine's node, in /tmp/ray/session_latest/logs. Correct the cause, such as a setting "
            "that it names, before you start again"
        ) from error
    processes = [p for p in multiprocessing.active_children() if p not in other_processes]
    if not config.gpu:
        lower_priorities(process.pid for process in processes if process.pid is not None)
    return llm, processes


def close_sockets(llm: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Close the sockets that vLLM leaves to its event loop to close, if that loop has stopped.

    The destructor of zmq's context waits for open sockets, so that the process would never end. A
    loop that runs again would take a new socket with the file descriptor of a closed one for that
    one, and never wake up for it, so the descriptors are removed from the loop.
    """
    import zmq

    for resource in vars(llm.engine_core.resources).values():
        if isinstance(resource, zmq.Socket) and not resource.closed:
            if not loop.is_closed():
                loop.remove_reader(int(zmq.Socket.get(resource, zmq.FD)))
            # the close method of zmq's asyncio sockets needs a running event loop
            zmq.Socket.close(resource, linger=0)
