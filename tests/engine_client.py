"""`python engine_client.py FILE`: starts an engine, makes FILE, and uses the engine no more."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pipelines.engine import EngineConfig, VllmEngine
from pipelines.models import resolve
from pipelines.tokens import load_tokenizer

if __name__ == "__main__":
    model = resolve("tiny-random")
    engine = VllmEngine(EngineConfig(model, 4096, gpu=False), load_tokenizer(model.path))
    Path(sys.argv[1]).touch()
    time.sleep(600)
