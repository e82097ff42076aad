"""The four kinds of task: their questions, the parsing and merging of answers, and their columns.

Pure: depends on `text`, `job` and `documents`. Start reading at `kinds.py`.
"""
