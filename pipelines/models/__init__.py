"""Models by name: resolving one to a directory and a revision, its lengths, and its cost model.

Holds the built-in models too (`phi3`, `noise`, `trained/`). Depends on `text` and below, and knows
no tasks. Start at `resolve.py`.
"""
