"""One vLLM engine: its configuration, requests, admission by tokens, health and replacement.

`vllm_engine.py` is the only module of `pipelines` that imports vLLM; start reading there. Depends
on `tasks`, `models` and `text`, and knows nothing of runs, storage or Ray Data.
"""
