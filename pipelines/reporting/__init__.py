"""Reports on runs: what a run will cost, how it is going and what it did, its dead letters, and how
right it is.

Reads OUTPUT and the index, and computes; starts no engine. Depends on `run` and everything below
it. Start reading at `status.py`; `forecast.py` says what a job will cost, `letters.py` reads dead
letters, and `evaluation.py` compares the answers of an OUTPUT with right ones.
"""
