"""Reports on runs: what one will cost (`planning`), how it is going, what it could not answer, how
right its answers are (`evaluation`), and all of it as a page (`page`).

Reads OUTPUT and the index, and computes; starts no engine. Depends on `run` and everything below
it. Start reading at `status.py`.
"""
