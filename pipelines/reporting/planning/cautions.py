"""Warnings about a planned run: what will not fit, will be lost, or is not known.

Pure functions of a forecast.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.corpus.units import LONG
from pipelines.models.devices import OFFERED, gpu
from pipelines.reporting.planning.costs import cheapest
from pipelines.reporting.planning.forecast import Forecast, engine_kind, longest_prompt
from pipelines.text.lengths import SINGLE, TRUNCATE

READ_WELL_TOKENS = 32_768
"""Tokens beyond which one pass of Phi-3-mini-128k is known to be poor: its RULER score is 88 at
32k, 80 at 64k and 66 at 128k."""
FEW_SEQUENCES = 4
"""Sequences in the KV cache below which an engine mostly waits for memory."""
_GIB = 2**30


def cautions(planned: Forecast) -> list[str]:
    """Return what the user should know before the run, most serious first."""
    return [
        *_dead_letters(planned),
        *_limits(planned),
        *_memory(planned),
        *_lengths(planned),
        *_knowledge(planned),
    ]


def _dead_letters(planned: Forecast) -> Iterator[str]:
    documents = planned.indexed.documents
    dead = documents - planned.indexed.counts.documents
    limit = planned.basis.prepared.spec.limits.max_dead_letter_fraction
    if documents and dead / documents > limit:
        yield (
            f"{dead / documents:.1%} of the documents will be dead letters, more than "
            f"limits.max_dead_letter_fraction ({limit:.1%}): the run will end with exit code 1"
        )
    if not planned.indexed.counts.documents:
        yield "no document can be answered"


def _limits(planned: Forecast) -> Iterator[str]:
    limits, best = planned.basis.prepared.spec.limits, cheapest(planned.devices)
    if best is None:
        return
    row = best.replicas[0]
    if limits.max_gpu_hours is not None and row.gpu_hours > limits.max_gpu_hours:
        yield (
            f"limits.max_gpu_hours is {limits.max_gpu_hours:g}, and even {best.device} needs about "
            f"{row.gpu_hours:.1f} GPU hours"
        )
    if limits.max_cost_usd is not None and (row.cost_usd or 0) > limits.max_cost_usd:
        yield (
            f"limits.max_cost_usd is {limits.max_cost_usd:g}, and the cheapest device, "
            f"{best.device}, costs about ${row.cost_usd:,.2f}"
        )


def _memory(planned: Forecast) -> Iterator[str]:
    """Yield the GPUs on which the longest document does not fit, and those where few do."""
    engine = engine_kind(planned.basis.prepared)
    longest = longest_prompt(planned.indexed.counts, planned.basis.tasks)
    if not longest:
        return
    too_small = [name for name in OFFERED if engine.kv_tokens(gpu(name)) < longest]
    if too_small:
        size = longest * engine.kv_bytes_per_token / _GIB
        yield (
            f"the longest prompt has {longest:,} tokens with its answer and needs {size:.1f} GiB "
            f"of KV cache, which does not fit {', '.join(too_small)}: read long documents in "
            "chunks, or set compute.tensor_parallel"
        )
    if LONG in planned.workload.pools:
        context = planned.workload.pools[LONG].mean_context
        few = [
            name
            for name in OFFERED
            if name not in too_small and engine.kv_tokens(gpu(name)) < FEW_SEQUENCES * context
        ]
        if few:
            yield (
                f"fewer than {FEW_SEQUENCES} of the long pool's sequences (about {context:,.0f} "
                f"tokens) fit the KV cache of {', '.join(few)}: decoding will be slow there"
            )


def _lengths(planned: Forecast) -> Iterator[str]:
    counts, documents = planned.indexed.counts, planned.workload.documents
    beyond = counts.where(counts.lengths > READ_WELL_TOKENS).documents
    whole = sum(number for (strategy, _), number in documents.items() if strategy == SINGLE)
    limit = planned.basis.tasks.reading.max_single_pass_tokens
    if beyond and whole and limit > READ_WELL_TOKENS:
        yield (
            f"{beyond:,.0f} documents of more than {READ_WELL_TOKENS:,} tokens are read in one "
            "pass, which the model reads poorly; long_documents.strategy: auto reads them in "
            "chunks"
        )
    truncated = sum(number for (how, _), number in documents.items() if how == TRUNCATE)
    if truncated:
        yield (
            f"{truncated:,.0f} documents are longer than {limit:,} tokens, and only their "
            "beginning is read (long_documents.strategy: truncate)"
        )


def _knowledge(planned: Forecast) -> Iterator[str]:
    basis, facts = planned.basis, planned.facts
    if facts.committed_units:
        yield (
            f"OUTPUT has {facts.committed_units:,} committed units of this job: the numbers here "
            "are of the whole job, and the run does only what is left"
        )
    if basis.prepared.model.random_weights:
        yield f"model {basis.prepared.model.name!r} has random weights: its answers mean nothing"
    assumed = [task.spec.name for task in basis.tasks.all if task.spec.name not in basis.calibrated]
    if basis.speed is None:
        yield (
            "times are of a cost model that no run has confirmed: run a part of the corpus, and "
            "give its OUTPUT with --calibrate"
        )
    if assumed:
        yield (f"the lengths of the answers to {', '.join(assumed)} are assumptions, not measured")
