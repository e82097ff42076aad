"""Reports on runs: what a run did and how it is going, its dead letters, and how right it is.

Reads OUTPUT and computes; starts no engine and no cluster. Depends on `run` and everything below
it. Start reading at `status.py`; `letters.py` reads dead letters, and `evaluation.py` compares the
answers of an OUTPUT with right ones.
"""
