"""Measures the CPU time of guessing for 128 answers over prompts of 16,000 tokens, for each step.

Needs no engine: answers are made up, and verified as an engine does it. `--cuda` compares the time
with that of one read of all keys and values from the GPU's memory, which a step of Phi-3-mini does.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from statistics import median

import numpy as np

from pipelines.engine.drafting import Drafter, DraftSettings

_START, _END, _QUESTION, _LINE = 32001, 32007, 894, 13
_VOCABULARY = 30_000
# Bytes of keys and values per token of Phi-3-mini in bf16.
_KV_BYTES = 393_216


def _row(rng: random.Random, tokens: int, question: int) -> tuple[list[int], list[int]]:
    """Return a prompt that states four values, and a form with the values and their quotes."""
    words = [int(rng.paretovariate(0.6)) % _VOCABULARY + 40 for _ in range(tokens)]
    answer, quotes = [1, 2], []
    for field in range(4):
        key, value = [50 + field, 29901], [rng.randrange(20_000) + 5_000 for _ in range(5)]
        place = rng.randrange(tokens // 4) + field * tokens // 4
        words[place : place + 9] = [_LINE, *key, *value, _LINE]
        answer += [3, 60 + field, 4, 5, *value, 6]
        quotes += [3, 60 + field, 4, 5, *key, *value, 6]
    return [*words, _QUESTION, 29901, question, 7, _END, _START], [*answer, 8, *quotes, 9, _END]


def measure(rows: int, tokens: int, calls: int, seed: int = 0) -> tuple[list[float], float]:
    """Return the CPU seconds of each call, without the first 40, and tokens per answer and step."""
    rng = random.Random(seed)  # noqa: S311
    free = 256
    settings = DraftSettings(
        12, free, (_END, _START), (_QUESTION, 29901), frozenset({_START, _END})
    )
    drafter, seconds = Drafter(settings), []
    ids = np.zeros((rows, tokens + 200), np.int32)
    lengths = np.zeros(rows, np.int32)
    answers: list[list[int]] = [[] for _ in range(rows)]
    drafts: list[list[int]] = [[] for _ in range(rows)]
    generated = 0
    for call in range(40 + calls):
        sampled: list[Sequence[int]] = []
        for row in range(rows):
            if not answers[row]:
                prompt, answers[row] = _row(rng, tokens, rng.randrange(4))
                lengths[row], drafts[row] = len(prompt), []
                ids[row, : len(prompt)] = prompt
            answer, draft, right = answers[row], drafts[row], 0
            while right < min(len(draft), len(answer) - 1) and draft[right] == answer[right]:
                right += 1
            new = answer[: right + 1]
            ids[row, lengths[row] : lengths[row] + len(new)] = new
            lengths[row] += len(new)
            del answer[: right + 1]
            sampled.append(new)
        started = time.thread_time()
        drafts = drafter.propose(sampled, lengths, ids)
        if call >= 40:
            seconds.append(time.thread_time() - started)
            generated += sum(map(len, sampled))
    return seconds, generated / rows / calls


def _cuda_seconds(rows: int, tokens: int) -> float:
    """Return the seconds in which the GPU reads the keys and values of all rows once."""
    import torch

    block = torch.empty(2**32, dtype=torch.uint8, device="cuda")
    for _ in range(3):
        block.view(torch.int64).sum()
    torch.cuda.synchronize()
    started = time.monotonic()
    for _ in range(20):
        block.view(torch.int64).sum()
    torch.cuda.synchronize()
    bytes_per_second = 20 * block.numel() / (time.monotonic() - started)
    return rows * tokens * _KV_BYTES / bytes_per_second


def main() -> None:
    """Print the median of a call and, with --cuda, its share of a step, as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=16_000)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--cuda", action="store_true")
    options = parser.parse_args()
    seconds, tokens = measure(options.rows, options.tokens, options.calls)
    result = {
        "call_ms": round(1000 * median(seconds), 2),
        "mean_call_ms": round(1000 * sum(seconds) / len(seconds), 2),
        "tokens_per_step": round(tokens, 2),
    }
    if options.cuda:
        step = _cuda_seconds(options.rows, options.tokens)
        result |= {
            "step_ms_at_least": round(1000 * step, 1),
            "share": round(median(seconds) / step, 4),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
