"""One vLLM engine: its configuration, requests, admission by tokens, health and replacement.

Start reading at `vllm_engine.py`. Only it, `startup.py` and `proposer.py` depend on vLLM. Depends
on `answering`, `tasks`, `models` and `text`, and knows nothing of runs, storage or Ray Data.
"""
