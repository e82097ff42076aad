"""What a job will cost and what a run did: estimates from an index, sums over commits.

Reads OUTPUT and computes; starts no engine. May import all packages of `pipelines` but `tiny`.
Start reading at `forecast.py`.
"""
