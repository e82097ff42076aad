"""Checks of answers: personal data, blocked words, classified texts, values that are not shown.

Pure: no Ray, no vLLM, no torch, no files. A classification model is passed in, as `classifying.py`
states. It may use `tasks`, `text`, `job` and `documents`. Start reading at `checking.py`.
"""
