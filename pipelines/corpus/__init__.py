"""The input: files, rows, ids, the index, and the units that a plan is made of.

Depends on `storage`, `text` and `models` (for the cost of a document); knows nothing of Ray and of
ledgers. Start at `files.py`, then `index.py`.
"""
