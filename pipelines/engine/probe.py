"""`python -m pipelines.engine.probe`: imports vLLM as an engine does, and prints what it found.

The output is a line of JSON: `version`, the `device` for which vLLM runs (`cpu`, `cuda`; "" if it
has none), the version of `torch`, and the number of `gpus` that torch can use; or `error`. Starts
no engine.
"""

from __future__ import annotations

import json
from typing import Any


def probe() -> dict[str, Any]:
    """Return what the module prints, as JSON values by key."""
    # broken installations fail in many ways: missing libraries, operators, or packages
    try:
        import torch
        import vllm
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    assert AsyncLLM
    return {
        "version": vllm.__version__,
        "device": current_platform.device_type,
        "torch": torch.__version__,
        "gpus": torch.cuda.device_count(),
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
