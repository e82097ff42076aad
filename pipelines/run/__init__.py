"""One run of a job on Ray: prepare, index, plan, map units over workers, finish.

The only package below `jobs` and `serve` that imports Ray. Start at `batch.py`, then `worker.py`.
"""
