"""One run of a job on Ray: prepare, index, plan, run units on workers, finish.

With `serve`, the only package that imports Ray. Depends on all packages of `pipelines` below it.
Start reading at `batch.py`, then `worker.py` and `unit_runner.py`.
"""
