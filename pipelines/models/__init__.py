"""Models: resolution of a name to a directory and a revision, effective lengths, and cost.

Contains the built-in models too (`phi3`, `noise`, `trained/`). Depends on `text` and below, and
does not know tasks. Start at `resolve.py`.
"""
