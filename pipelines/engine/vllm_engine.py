"""The vLLM engine. With `startup.py`, the only modules of `pipelines` that import vllm.

`VllmEngine` implements the `Engine` protocol of `pipelines.answering` with one `AsyncLLM`. Knows
how vLLM is started, called and ended; nothing of documents, units or Ray Data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from pipelines.answering.answer_lengths import AnswerLengths
from pipelines.documents import Usage
from pipelines.engine.admission import Admission, Hold
from pipelines.engine.config import EngineConfig
from pipelines.engine.grammars import choice_grammar, json_grammar
from pipelines.engine.proposer import draft_tokens
from pipelines.engine.startup import close_sockets, start_engine
from pipelines.engine.watchdog import Pulse, Watchdog, WatchedEngine, error_summary
from pipelines.errors import RequestRejected
from pipelines.tasks.confidence import choice_logprob
from pipelines.tasks.kinds import Completion, Sampling
from pipelines.tasks.several import label_logprobs, labels_grammar
from pipelines.text.tokens import ChatTokenizer

# Requests that may be admitted, in multiples of those that vLLM runs in one step: as many again
# wait to be scheduled next.
_REQUESTS_PER_SEQUENCE = 2
# Most likely tokens for which vLLM reports log-probabilities at each position: its default maximum.
_TOP_LOGPROBS = 20
# An engine's processes end with the thread that started them. This thread ends with the process.
_STARTER = ThreadPoolExecutor(1, "engine")


class VllmEngine:
    """One vLLM engine and its processes. Its requests must all come from one event loop.

    Attributes:
        config: the configuration that it was started with.
        tokenizer: the model's tokenizer.
        kv_cache_tokens: capacity of its KV cache, in tokens.
        max_batched_tokens: tokens that it computes in one step.
        max_model_len: the maximum length of a prompt with its answer, in tokens.
        min_request_tokens: KV cache tokens that one request counts as at least, so that no more
            requests are admitted than it can run or schedule next.
        block_tokens: the number of tokens in a block of its KV cache.
        answer_lengths: the expected lengths of answers, raised when vLLM preempts requests.
        used: tokens of all its finished requests.
    """

    def __init__(
        self, config: EngineConfig, tokenizer: ChatTokenizer, *, ray_metrics: bool = False
    ) -> None:
        """Start the engine, which takes tens of seconds.

        `tokenizer` must be that of `config.model`. With `ray_metrics`, vLLM records its own metrics
        through Ray. Raises EngineError with vLLM's reason if the engine does not start.
        """
        self.config = config
        self.tokenizer = tokenizer
        pulse = Pulse()
        self.answer_lengths = AnswerLengths()
        started = _STARTER.submit(
            start_engine, config, tokenizer, pulse, self.answer_lengths.back_off, ray_metrics
        )
        self._llm, self._processes = started.result()
        settings = self._llm.vllm_config
        self.kv_cache_tokens: int = settings.cache_config.kv_cache_size_tokens
        self.max_batched_tokens: int = settings.scheduler_config.max_num_batched_tokens
        self.max_model_len: int = config.max_model_len
        max_requests = _REQUESTS_PER_SEQUENCE * settings.scheduler_config.max_num_seqs
        self.min_request_tokens = max(1, self.kv_cache_tokens // max_requests)
        self.block_tokens: int = settings.cache_config.block_size
        self.used = Usage()
        self._admission = Admission(self.kv_cache_tokens)
        self._request_numbers = itertools.count()
        watched = WatchedEngine(lambda: self.dead, _is_death, self._kill)
        self._watchdog = Watchdog(watched, pulse, config.hang_seconds)

    @property
    def client(self) -> Any:
        """vLLM's engine client (`AsyncLLM`), for vLLM's OpenAI-compatible routes."""
        return self._llm

    @property
    def dead(self) -> bool:
        """True if the engine has died and can answer no more requests."""
        return bool(self._llm.errored) or not all(p.is_alive() for p in self._processes)

    @property
    def kv_tokens_in_flight(self) -> int:
        """KV cache tokens that admitted requests reserve now."""
        return self._admission.in_flight_tokens

    def admit(self, tokens: int | Callable[[], int]) -> AbstractAsyncContextManager[Hold]:
        """Wait until `tokens` tokens of KV cache are free, first come, first served, and reserve
        them until the block ends or gives them back. See `Admission.hold`."""
        return self._admission.hold(tokens)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        """Complete one prompt, given as token ids, as `sampling` states, and return the completion.

        `on_first_token` is called once, when the first token is generated. The caller reserves the
        prompt's KV cache with `admit`. Raises RequestRejected if vLLM rejects the request, such as
        a prompt that is too long, and EngineDied if the engine dies or hangs.
        """
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineGenerateError

        try:
            async with self.under_watchdog():
                return await self._generate(prompt, sampling, on_first_token)
        except (EngineGenerateError, VLLMValidationError, ValueError) as error:
            raise RequestRejected(error_summary(error)) from error

    def under_watchdog(self) -> AbstractAsyncContextManager[None]:
        """Watch the engine while the block waits for it. Raises EngineDied if the engine dies, and
        its subclass EngineHung if it made no step for `config.hang_seconds` and was killed."""
        return self._watchdog.watch()

    async def _generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None,
    ) -> Completion:
        generated: list[int] = []
        steps: list[Any] = []
        request_id = str(next(self._request_numbers))
        if not self.config.gpu:
            # vLLM rewinds a seeded generator after each step of a prefill in several steps, which
            # PyTorch's generators of CPUs cannot do: the engine would die
            sampling = replace(sampling, seed=None)
        parameters = _sampling_params(sampling, streamed=on_first_token is not None)
        async for output in self._llm.generate(
            {"prompt_token_ids": list(prompt)}, parameters, request_id
        ):
            completion = output.outputs[0]
            generated.extend(completion.token_ids)
            steps.extend(completion.logprobs or ())
            if on_first_token is not None:
                on_first_token()
                on_first_token = None
        drafted, accepted = draft_tokens(completion.spec_decode_metrics)
        usage = Usage(
            prompt_tokens=len(prompt),
            cached_prompt_tokens=output.num_cached_tokens or 0,
            output_tokens=len(generated),
            steps=max(1, len(generated) - accepted),
            draft_tokens=drafted,
        )
        self.used += usage
        return Completion(
            text=self.tokenizer.decode_output(generated),
            usage=usage,
            finish_reason=completion.finish_reason or "unknown",
            logprob=self._logprob(generated, steps, sampling),
            label_logprobs=self._label_logprobs(generated, steps, sampling),
        )

    def _logprob(
        self, generated: Sequence[int], steps: Sequence[Any], sampling: Sampling
    ) -> float | None:
        if sampling.choices is None:
            return None
        tokenizer = self.tokenizer
        return choice_logprob(
            generated,
            _likeliest(steps),
            sampling.choices,
            tokenizer.decode_output,
            tokenizer.control_ids,
        )

    def _label_logprobs(
        self, generated: Sequence[int], steps: Sequence[Any], sampling: Sampling
    ) -> tuple[float, ...] | None:
        if sampling.labels is None:
            return None
        return label_logprobs(generated, _likeliest(steps), self.tokenizer.decode_output)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def shutdown(self) -> None:
        """End the engine and its processes, even if it hangs. May be called from any thread."""
        loop = self._watchdog.stop()
        self._llm.shutdown()
        if loop is not None and not loop.is_running():
            close_sockets(self._llm, loop)


def _is_death(error: Exception) -> bool:
    from vllm.v1.engine.exceptions import EngineDeadError

    return isinstance(error, EngineDeadError)


def _sampling_params(sampling: Sampling, *, streamed: bool) -> Any:
    """Return vLLM's parameters of one request.

    The text is decoded once from all token ids, not by vLLM: vLLM decodes after each token, which
    takes half of the CPU time of the process around the engine.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        seed=sampling.seed,
        max_tokens=sampling.max_tokens,
        output_kind=RequestOutputKind.DELTA if streamed else RequestOutputKind.FINAL_ONLY,
        structured_outputs=_structure(sampling),
        # vLLM masks tokens that the choices do not allow before it computes log-probabilities
        logprobs=_TOP_LOGPROBS if sampling.choices or sampling.labels else None,
        detokenize=False,
        skip_clone=True,
    )


def _likeliest(steps: Sequence[Any]) -> list[dict[int, float]]:
    """Return the reported log-probabilities of each step, by token id."""
    return [{token: entry.logprob for token, entry in step.items()} for step in steps]


def _structure(sampling: Sampling) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    if sampling.labels:
        return StructuredOutputsParams(grammar=labels_grammar(sampling.labels))
    if sampling.choices:
        return StructuredOutputsParams(grammar=choice_grammar(sampling.choices))
    if sampling.schema:
        return StructuredOutputsParams(grammar=json_grammar(sampling.schema))
    return None
