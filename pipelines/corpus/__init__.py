"""The input: files, rows, document ids, the index, and the units that a plan consists of.

Depends on `storage`, `text` and `models` (for the cost of a document); knows nothing of Ray or of
ledgers. Start at `files.py` (which files), then `rows.py` (what is in them), then `index.py`.
"""
