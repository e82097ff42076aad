"""What a job will cost and what a run did: estimates from an index, sums over ledgers and manifests.

Reads OUTPUT and computes; starts no engine. May import every package of `pipelines` but `tiny`.
Start reading at `forecast.py`.
"""
