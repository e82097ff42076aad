"""What became of a run's documents, and how good its answers are: reads ledgers and OUTPUTs.

Starts no engine and no cluster. Depends on `run` and everything below it. Start reading at
`letters.py`, which reads dead letters, and `evaluation.py`, which compares the answers of an OUTPUT
with right ones.
"""
