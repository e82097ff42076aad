"""One vLLM engine: its arguments, requests, admission by tokens, health and replacement.

`vllm_engine.py` is the only module of `pipelines` that imports vllm; start there.
"""
