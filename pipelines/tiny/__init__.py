"""Training and evaluation of `tiny`, the built-in model; nothing here is needed to use it.

Depends on everything below. Start at its README, then `lessons.py` and `train.py`.
"""
