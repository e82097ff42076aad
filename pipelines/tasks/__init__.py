"""The four kinds of task: how each is asked, how its reply is read and merged, and its column.

Pure: depends on `text`, `job` and `documents`. Start at `kinds.py`.
"""
