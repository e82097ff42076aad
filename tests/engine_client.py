"""`python engine_client.py FILE` starts an engine, creates FILE, and leaves the engine idle."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.models.resolve import resolve
from pipelines.text.tokens import load_tokenizer

if __name__ == "__main__":
    model = resolve("tiny-random")
    engine = VllmEngine(EngineConfig(model, 4096, gpu=False), load_tokenizer(model.path))
    Path(sys.argv[1]).touch()
    time.sleep(600)
