"""Reports on runs: reads dead letters from OUTPUT, and compares answers with right ones.

Starts no engine and no cluster. Depends on `run` and everything below it. Start reading at
`letters.py`, which reads dead letters, and `evaluation.py`, which compares the answers of an OUTPUT
with right ones.
"""
